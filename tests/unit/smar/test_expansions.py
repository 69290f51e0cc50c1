import threading

import pytest

from meta1g.maps.base import MapStatus
from meta1g.maps.static import StaticMap
from meta1g.rcb.qmgr_smar import MEMBERS_PER_PART, Members, Resolve, Route, Unresolved
from meta1g.smar.alias import Aliases
from meta1g.smar.recipient import Recipients
from meta1g.smar.relay import RelayRules
from meta1g.smar.route import RouteDefaults, Routes
from meta1g.smar.turns import Turns, advance
from meta1g.smtp.address import parse_path

from .conftest import Heard


class Changing(StaticMap):
    """A map whose content a test replaces."""

    def __init__(self, entries):
        super().__init__("changing", entries)
        self.number, self.asked = 0, 0

    def change(self, entries):
        self._entries = entries
        self.number += 1

    def version(self):
        return self.number

    def lookup(self, key):
        self.asked += 1
        return super().lookup(key)


@pytest.fixture
def make(asker, tmp_path):
    def recipients(table):
        routes = Routes(StaticMap("mt", {".": "[192.0.2.1]"}), RouteDefaults(25, "lmtpsock", tmp_path))
        relay = RelayRules((), (), ["x.org"], routes)
        aliases = Aliases(table, localpart=True, local_domains=True, delimiter="+", relay=relay, hostname="gw.example")
        return Recipients(routes, aliases, asker.resolver, "gw.example", asker.system.log)

    return recipients


def question(rcpt, part=None):
    more = {} if part is None else {"offset": part.offset + len(part.members), "expansion": part.expansion}
    return Resolve(ta_id="S0", rcpt_idx=0, rcpt=rcpt, **more)


def ask(recipients, rcpt, part=None):
    reply = Heard()
    steps = recipients.resolve(question(rcpt, part), reply)
    if steps is not None:
        assert not advance(steps, float("inf"))
    return reply.get()


def people(count, name="m"):
    return " ".join(f"{name}{number}@far.org" for number in range(count))


def all_parts(recipients, rcpt):
    parts = [ask(recipients, rcpt)]
    while parts[-1].more:
        parts.append(ask(recipients, rcpt, parts[-1]))
    return parts


@pytest.mark.parametrize("count", [1, MEMBERS_PER_PART, MEMBERS_PER_PART + 1, 2500, 60_000])
def test_a_list_comes_in_parts_that_fit_together(make, count):
    recipients = make(Changing({"list": people(count), "owner-list": "boss@far.org"}))
    parts = all_parts(recipients, "list@x.org")
    assert [member for part in parts for member in part.members] == people(count).split()
    assert all(len(part.members) <= MEMBERS_PER_PART and part.owner == "boss@far.org" for part in parts)
    assert [part.offset for part in parts] == list(range(0, count, MEMBERS_PER_PART))


def test_further_parts_cost_no_second_expansion(make):
    table = Changing({"list": people(3000)})
    recipients = make(table)
    parts = all_parts(recipients, "list@x.org")
    once = table.asked
    assert len(parts) == 3
    assert len(all_parts(recipients, "list@x.org")) == 3
    assert table.asked == once


def test_the_parts_of_one_expansion_fit_together_though_the_map_changes(make):
    table = Changing({"list": people(2500)})
    recipients = make(table)
    first = ask(recipients, "list@x.org")
    table.change({"list": people(2500, "new")})
    second = ask(recipients, "list@x.org", first)
    assert second.members == tuple(people(2500).split()[1000:2000])
    assert ask(recipients, "list@x.org").members[0] == "new0@far.org"


def test_an_expansion_that_is_not_known_any_more_begins_anew(make):
    first = ask(make(Changing({"list": people(2500)})), "list@x.org")
    changed = make(Changing({"list": people(2500, "new")}))
    answer = ask(changed, "list@x.org", first)
    assert (answer.offset, answer.members[0]) == (0, "new0@far.org")
    assert answer.expansion != first.expansion
    same = make(Changing({"list": people(2500)}))
    assert ask(same, "list@x.org", first).offset == 1000


def test_kept_members_are_bounded(make, monkeypatch):
    monkeypatch.setattr("meta1g.smar.expansions.KEPT_MEMBERS_MAX", 5000)
    recipients = make(Changing({f"l{number}": people(2000, f"l{number}-") for number in range(9)}))
    for number in range(9):
        assert len(all_parts(recipients, f"l{number}@x.org")) == 2
    assert len(recipients._expansions._kept) <= 3
    assert recipients._expansions._kept_members <= 5000


def test_the_same_question_is_worked_on_once(make):
    table = Changing({"list": people(5000)})
    recipients = make(table)
    replies = [Heard() for _ in range(5)]
    steps = [recipients.resolve(question("list@x.org"), reply) for reply in replies]
    assert steps[0] is not None
    assert steps[1:] == [None] * 4
    assert not any(reply.came for reply in replies)
    asked = table.asked
    assert not advance(steps[0], float("inf"))
    assert {reply.get().members[0] for reply in replies} == {"m0@far.org"}
    assert table.asked <= asked + 6 * 5000


def test_a_walk_that_fails_or_is_given_up_answers_all_who_wait(make):
    table = Changing({"list": people(5000)})
    recipients = make(table)
    for end in ("fail", "close"):
        replies = [Heard() for _ in range(3)]
        steps, *_ = [recipients.resolve(question("list@x.org"), reply) for reply in replies]
        if end == "fail":
            table.lookup = lambda key: 1 / 0
            assert not advance(steps, float("inf"))
            del table.lookup
        else:
            steps.close()
        assert {reply.get().reply.code for reply in replies} == {451}
    assert isinstance(ask(recipients, "list@x.org"), Members)


def test_more_expansions_than_the_limit_are_a_temporary_failure(make, monkeypatch):
    monkeypatch.setattr("meta1g.smar.expansions.EXPANSIONS_MAX", 2)
    recipients = make(Changing({f"l{number}": people(5000) for number in range(3)}))
    under_way = [recipients.resolve(question(f"l{number}@x.org"), Heard()) for number in range(2)]
    refused = Heard()
    assert recipients.resolve(question("l2@x.org"), refused) is None
    assert (refused.get().reply.code, refused.get().reply.ecode) == (451, "4.3.2")
    for steps in under_way:
        advance(steps, float("inf"))
    assert isinstance(ask(recipients, "l2@x.org"), Members)


def test_an_alias_that_stands_for_itself_is_routed(make):
    recipients = make(Changing({"joe": "joe"}))
    assert isinstance(ask(recipients, "joe@x.org"), Route)
    assert isinstance(ask(recipients, "nobody@x.org"), Route)


def test_other_questions_are_answered_while_a_long_list_is_expanded(make, asker):
    recipients = make(Changing({"list": people(60_000)}))
    turns = Turns(asker.system.evthr, asker.system.log)
    long, order, done = Heard(), [], threading.Event()

    def answered(answer):
        order.append("list")
        done.set()
        long(answer)

    turns.run("qmgr", lambda: recipients.resolve(question("list@x.org"), answered), pytest.fail)
    for number in range(100):
        reply = Heard()
        turns.run(
            "qmgr", lambda number=number, reply=reply: recipients.resolve(question(f"u{number}@far.org"), reply), pytest.fail
        )
        assert isinstance(reply.get(), Route)
        order.append(number)
    assert order[:50] == list(range(50))
    assert long.get().more


def test_a_wrong_address_has_an_answer(make):
    assert isinstance(ask(make(Changing({})), "no address"), Unresolved)
    assert make(Changing({}))._aliases.known(parse_path("u@x.org")) is MapStatus.NOTFOUND
