import json
import subprocess
import sys

import pytest

from meta1g.base import sysexits
from meta1g.qmgr.defer import Change
from meta1g.qmgr.limits import HELD_UNTIL
from meta1g.rcb.envelope import RcptFlags
from meta1g.tools import mailq, qmgrctl
from tests.fakes.envelopes import rcpt, ta
from tests.fakes.qmgr_peers import new_id
from tests.fakes.qmgr_system import QmgrSystem, wait_until


@pytest.fixture
def qmgr(tmp_path):
    system = QmgrSystem(tmp_path).start()
    conf = tmp_path / "meta1.conf"
    conf.write_text(f'queue_directory = "{tmp_path}";\n')
    system.conf = conf
    yield system
    system.stop()


@pytest.fixture
def ctl(qmgr, capsys):
    """Runs a command and gives what it prints."""

    def run(*words):
        assert qmgrctl.main(["-f", str(qmgr.conf), *words]) == 0
        return capsys.readouterr().out

    return run


def program(*words):
    command = [sys.executable, "-m", "meta1g.tools.qmgrctl", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_status_shows_the_counters_and_exits_with_0_if_all_is_well(qmgr, ctl):
    qmgr.smar()
    qmgr.agent()
    qmgr.smtps()
    wait_until(lambda: qmgr.context.status()["trouble"] == [], lambda: qmgr.context.status()["trouble"])
    lines = dict(line.split(None, 1) for line in ctl("status").splitlines() if len(line.split()) > 1)
    assert (lines["aq"], lines["defedb"], lines["smar"]) == ("0", "0", "1")
    assert json.loads(ctl("--json", "status"))["aq"] == 0


def test_status_names_what_is_not_well_and_has_an_exit_code_for_it(qmgr, capsys):
    qmgr.smar()
    qmgr.smtps()
    wait_until(lambda: qmgr.context.resolver.up, "up")
    (qmgr.queue / "lost+found" / "thing").touch()
    qmgr.context.defer.add(Change(ta=ta(1), put=(rcpt(1, flags=RcptFlags.HOLD, next_try=HELD_UNTIL),)))
    wait_until(lambda: qmgr.context.defer.held, "held")
    for options in ([], ["--json"]):
        assert qmgrctl.main(["-f", str(qmgr.conf), *options, "status"]) == qmgrctl.EX_TROUBLE
        out = capsys.readouterr().out
        assert all(text in out for text in ("no smtpc is connected", "1 recipients are held", "1 damaged things"))


def test_held_recipients_are_shown_stay_at_retry_and_go_when_they_are_released(qmgr, ctl):
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: job.damaged("it is shorter"))
    ta_id = qmgr.smtps().mail("a@to.example", "b@to.example")
    wait_until(lambda: qmgr.context.defer.held == 2, "held")
    qmgr.restart()
    wait_until(lambda: qmgr.context.defer.held == 2, "still held")
    assert "held, 0 tries" in "\n".join(mailq.listing(json.loads(ctl("--json", "queue")), 0.0))
    assert json.loads(ctl("--json", "retry", "all")) == {"retried": 0, "held": 2}
    qmgr.smar()
    agent = qmgr.agent()
    assert json.loads(ctl("--json", "release", f"{ta_id}-0001")) == {"released": 1}
    assert agent.wait_jobs(1)[0].rcpts == ["b@to.example"]
    assert json.loads(ctl("--json", "release", "all")) == {"released": 1}
    qmgr.wait_empty()
    assert len(agent.jobs) == 2


def test_usage_shows_the_resources(ctl):
    assert "disk_cdb" in ctl("usage")


def test_an_empty_queue_says_so(ctl):
    assert ctl("queue") == "the queues are empty\n"
    assert ctl("destinations") == "no destination is known\n"


def test_the_queue_and_a_transaction_are_shown_as_tables(qmgr, ctl):
    qmgr.smar()
    qmgr.agent(script=lambda job: job.done(450, text="come back"))
    ta_id = qmgr.smtps().mail("r@to.example")
    qmgr.wait_deferred(1)
    for words in (("queue",), ("show", ta_id)):
        titles, line = ctl(*words).splitlines()
        assert titles.split() == ["id", "age", "size", "where", "sender", "recipient", "tries", "status"]
        assert line.startswith(f"{ta_id}-0000")
        assert line.endswith("450 4.0.0 come back")
        assert "<s@from.example>" in line
    assert "192.0.2.1:25" in ctl("destinations")


def test_retry_and_remove_say_how_many(qmgr, ctl):
    qmgr.smar()
    qmgr.agent(script=lambda job: job.done(450))
    ta_id = qmgr.smtps().mail("a@to.example", "b@to.example")
    qmgr.wait_deferred(2)
    assert ctl("remove", f"{ta_id}-0001").split() == ["removed", "1"]
    assert ctl("retry", "other.example").split() == ["retried", "0"]
    assert json.loads(ctl("--json", "remove", ta_id)) == {"removed": 1}
    qmgr.wait_empty()


@pytest.mark.parametrize(
    ("words", "told"),
    [(["no"], "unknown command 'no'"), (["show"], "usage: qmgrctl show ID"), (["status", "x"], "usage: qmgrctl status")],
)
def test_a_wrong_command_line_is_refused(words, told):
    result = program(*words)
    assert (result.returncode, result.stdout) == (sysexits.EX_USAGE, "")
    assert told in result.stderr


def test_the_help_lists_all_commands():
    out = program("--help").stdout
    assert all(f"  {word}" in out for word in qmgrctl.SENTENCES)


def test_a_qmgr_that_does_not_run_is_told_in_one_line(tmp_path):
    conf = tmp_path / "meta1.conf"
    conf.write_text(f'queue_directory = "{tmp_path}";\n')
    result = program("-f", str(conf), "status")
    assert result.returncode == sysexits.EX_UNAVAILABLE
    assert result.stderr.startswith("qmgrctl: cannot reach qmgr at ")
    assert len(result.stderr.splitlines()) == 1


def test_what_qmgr_refuses_is_told_with_its_exit_code(qmgr):
    result = program("-f", str(qmgr.conf), "show", new_id())
    assert result.returncode == sysexits.EX_NOINPUT
    assert result.stderr.endswith(": no such transaction in the queues\n")
