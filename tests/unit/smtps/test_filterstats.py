"""A real smtps process: what its filters did is told to the queue manager, by kind of failure and with times."""

import pytest

from meta1g.milter.errors import FilterFault
from meta1g.rcb.smtps_qmgr import FilterReport
from meta1g.rcb.smtps_smar import Checks
from meta1g.smtps.filterstats import FilterPresence, FilterStats
from tests.fakes.milter import FakeMilter
from tests.fakes.policymilter import FakePolicy
from tests.fakes.qmgr_model import HandClock
from tests.fakes.smtps_process import SmtpsProcess
from tests.unit.smtps.filterscenes import MESSAGE, quit_

CONF = """
milter a {{ {a} default_action = accept; reply_timeout = 1s; connect_timeout = 1s; }}
policy_milter p {{ {p} timeout = 1s; flags = {{ accept_but_reconnect }}; }}
"""


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    directory = tmp_path_factory.mktemp("t")
    with FakeMilter(directory, "a") as milter, FakePolicy(directory) as policy:
        conf = CONF.format(a=milter.conf, p=policy.conf)
        limits = {"FILTER_REPORT_US": 20_000}
        with SmtpsProcess(directory / "q", conf, checks=Checks.RCPT, limits=limits) as smtps:
            smtps.wait_log(r"func=smtps\.policy, ")
            yield smtps, milter, policy


def told(scene, kind, wanted):
    """Waits until the figures of a filter fit."""
    qmgr, number = scene[0].qmgr, 1
    while True:
        got = [one for one in qmgr.wait_for(FilterReport, number) if one.kind == kind]
        if got and wanted(got[-1]):
            return got[-1]
        number = len(qmgr.of(FilterReport)) + 1


def talk(scene, expected="250", **answers):
    smtps, milter, policy = scene
    milter.script(**answers)
    with smtps.client() as client:
        client.message(MESSAGE, expected)
        quit_(client)
    milter.heard(), policy.heard()
    for file in smtps.content_files():
        file.unlink()


def test_what_filters_do_is_counted(scene):
    smtps, milter, policy = scene
    talk(scene, answers={"BODYEOB": [["ADDHEADER", "X", " y"], ["CONTINUE"]]})
    talk(scene, answers={"MAIL": [["DISCARD"]]})
    talk(scene, "55", answers={"BODYEOB": [["REJECT"]]})
    one = told(scene, "milter", lambda one: (one.sessions, one.refused) == (3, 1))
    assert (one.name, one.state, one.messages, one.discarded, one.changed) == ("a", "up", 3, 1, 1)
    assert 0 < one.answers_us / one.answers <= one.worst_us < 1_000_000
    assert one.faults == ()
    policy.script(rcpt="550 5.7.1 no")
    with smtps.client() as client:
        client.command("MAIL FROM:<s@example.org>", "250")
        client.command("RCPT TO:<r@example.org>", "550")
        quit_(client)
    policy.script()
    milter.heard(), policy.heard()
    one = told(scene, "policy_milter", lambda one: one.refused == 1)
    assert (one.name, one.state, one.sessions, one.discarded, one.changed) == ("p", "up", 4, 0, 0)


@pytest.mark.parametrize(("fault", "kind"), [("hang", "timeout"), ("die", "closed"), ("nonsense", "protocol")])
def test_failures_are_counted_by_kind_and_a_good_session_ends_the_trouble(scene, fault, kind):
    talk(scene, faults={"RCPT": fault})
    told(scene, "milter", lambda one: one.state == "down" and kind in {row.fault for row in one.faults})
    talk(scene)
    told(scene, "milter", lambda one: one.state == "up")
    scene[0].wait_log(r"func=smtps\.milter_back, .*key=a, ")


def test_who_cannot_be_reached_is_away_and_one_connection_tells_of_the_policy_milter(scene):
    smtps, milter, policy = scene
    hidden = milter.path.with_suffix(".hidden")
    milter.path.rename(hidden)
    policy.stop()
    told(scene, "policy_milter", lambda one: one.state == "down")
    with smtps.client() as client:
        client.message(MESSAGE)
        quit_(client)
    hidden.rename(milter.path)
    for kind in ("milter", "policy_milter"):
        one = told(scene, kind, lambda one: "away" in {row.fault for row in one.faults})
        assert one.state == "down"


def test_nothing_new_is_not_told_again():
    clock = HandClock()
    stats = FilterStats(clock)
    tally = stats.of("milter", "a")
    assert stats.of("milter", "a") is tally
    assert [one.state for one in stats.news()] == ["unknown"]
    assert list(stats.news()) == []
    clock.time_s += 5
    tally.became(FilterPresence.UP)
    tally.became(FilterPresence.UP)
    tally.answered(3), tally.answered(1 << 40)
    tally.faults[FilterFault.AWAY] += 1
    (one,) = stats.news()
    assert (one.state, one.since, one.answers, one.worst_us) == ("up", clock.time_s, 2, 0xFFFFFFFF)
