from meta1g.db.aq_types import DestKey
from meta1g.db.dadb import Agent, Dadb, DaSession

KEY = DestKey(0, "a", 25)


def agent(free, index=0):
    return Agent(object(), index, 1, free)


def use(it, *names):
    for name in names:
        it.sessions[name] = DaSession(name, it, KEY, 1)


def test_the_agent_with_the_most_free_sessions_is_picked():
    dadb, small, big = Dadb(), agent(2), agent(3)
    dadb.add(small)
    dadb.add(big)
    assert dadb.pick() is big
    use(big, "C1", "C2")
    assert (dadb.pick(), big.free, dadb.sessions) == (small, 1, 2)


def test_nobody_is_picked_if_all_are_busy_or_none_is_there():
    dadb, only = Dadb(), agent(1)
    assert dadb.pick() is None
    dadb.add(only)
    use(only, "C1")
    assert dadb.pick() is None


def test_an_agent_that_is_gone_leaves_its_sessions():
    dadb, first, second = Dadb(), agent(2), agent(2)
    dadb.add(first)
    dadb.add(second)
    use(first, "C1", "C2")
    assert [session.session_id for session in dadb.remove(first)] == ["C1", "C2"]
    assert (dadb.agents, len(dadb), dadb.sessions) == ((second,), 1, 0)
    dadb.remove(first)
    assert len(dadb) == 1


def test_a_new_session_is_idle_since_never_and_has_no_work():
    session = DaSession("C1", agent(1), KEY, 1)
    assert (session.rcpts, session.deliveries, session.idle_since) == ([], 0, 0.0)
