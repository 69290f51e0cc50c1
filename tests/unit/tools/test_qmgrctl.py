import io
import json
import re
import subprocess
import sys

import pytest

from meta1g.base import sysexits
from meta1g.base.cli import CliError
from meta1g.qmgr.defer import Change
from meta1g.rcb.envelope import HELD_UNTIL, RcptFlags
from meta1g.tools import mailq, qmgrctl
from meta1g.tools.ctlclient import CommandFailedError
from tests.fakes.envelopes import rcpt, ta
from tests.fakes.qmgr_peers import new_id, route
from tests.fakes.qmgr_system import QmgrSystem, wait_until
from tests.manual.blocks import shown


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
    assert (lines["mode_since"], lines["limits_changed"]) == ("-", "-")
    ctl("limits", "min_retry_delay=7s", "max_retry_delay=2h")
    assert "limits_changed   max_retry_delay min_retry_delay\n" in ctl("status")
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
    assert [(row["where"], row["next_try"]) for row in json.loads(ctl("--json", "queue"))] == [("held", None)] * 2
    assert json.loads(ctl("--json", "retry", "all")) == {"retried": 0, "held": 2}
    qmgr.smar()
    agent = qmgr.agent()
    assert json.loads(ctl("--json", "release", f"{ta_id}-0001")) == {"released": 1}
    assert agent.wait_jobs(1)[0].rcpts == ["b@to.example"]
    wait_until(lambda: len(json.loads(ctl("--json", "queue"))) == 1, "the other one")
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
    titles, line = ctl("queue").splitlines()
    assert titles.split() == ["id", "age", "size", "where", "sender", "recipient", "tries", "status"]
    assert line.startswith(f"{ta_id}-0000")
    assert line.endswith("450 4.0.0 come back")
    assert "<s@from.example>" in line
    for name in (ta_id, f"{ta_id}-0000"):
        text = ctl("show", name)
        assert all(part in text for part in (f"transaction  {ta_id}", f"{ta_id}-0000  <r@to.example>", "450 4.0.0 come back"))
    assert "192.0.2.1:25" in ctl("destinations")


def test_retry_and_remove_say_how_many(qmgr, ctl):
    qmgr.smar()
    qmgr.agent(script=lambda job: job.done(450))
    ta_id = qmgr.smtps().mail("a@to.example", "b@to.example")
    qmgr.wait_deferred(2)
    assert ctl("remove", f"{ta_id}-0001").split() == ["removed", "1"]
    assert ctl("remove", ta_id, "--dry-run").split()[-2:] == ["removed", "1"]
    assert json.loads(ctl("--json", "remove", ta_id)) == {"removed": 1}
    qmgr.wait_empty()


def test_what_matches_nothing_and_what_is_unknown_have_an_exit_code_and_a_message(qmgr, capsys):
    """A domain that is mistyped must not look like success to a script."""
    qmgr.smtps().mail("a@to.example")
    wait_until(qmgr.states, "it is here")
    for words, told in (
        (["retry", "exmaple.org"], "no recipient in the queues matches exmaple.org"),
        (["remove", unknown := new_id()], f"in no queue: {unknown}"),
        (["hold", "age=9d"], "no recipient in the queues matches age=9d"),
    ):
        assert qmgrctl.main(["-f", str(qmgr.conf), *words]) == sysexits.EX_NOINPUT
        out, err = capsys.readouterr()
        assert (out.split()[-1], err) == ("0", f"qmgrctl: {told}\n")
    assert len(qmgr.states()) == 1


def test_ids_on_standard_input_are_done_by_few_questions(qmgr, capsys, monkeypatch):
    """A command a recipient would start a program for each."""
    ids = [qmgr.smtps().mail("a@to.example", "b@to.example") for _ in range(5)]
    wait_until(lambda: len(qmgr.states()) == 10, "they are here")
    monkeypatch.setattr("meta1g.tools.listed._BATCH", 2)
    unknown = new_id()
    lines = ["# some", "", f"{ids[0]}-0001 further words", *ids[1:], ids[1], unknown]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    assert qmgrctl.main(["-f", str(qmgr.conf), "--json", "remove", "-"]) == sysexits.EX_NOINPUT
    out, err = capsys.readouterr()
    assert json.loads(out) == {"removed": 9, "unknown": [unknown], "unknown_count": 1}
    assert err == f"qmgrctl: in no queue: {unknown}\n"
    assert list(qmgr.states()) == [(ids[0], 0)]
    assert len(qmgr.sink.find("func=qmgr.control.*command=remove")) == 3


@pytest.mark.parametrize(("text", "code"), [("S1\n", sysexits.EX_DATAERR), ("# none\n\n", sysexits.EX_NOINPUT)])
def test_a_list_that_is_none_changes_nothing(qmgr, monkeypatch, text, code):
    one = qmgr.smtps().mail("a@to.example")
    wait_until(qmgr.states, "it is here")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{one if code == sysexits.EX_DATAERR else ''}\n{text}"))
    with pytest.raises(CliError, match="nothing was done") as caught:
        qmgrctl.main(["-f", str(qmgr.conf), "remove", "-"])
    assert caught.value.exit_code == code
    assert len(qmgr.states()) == 1


def test_what_is_busy_is_told(qmgr, ctl):
    qmgr.smar()
    agent = qmgr.agent(script=lambda job: None)
    qmgr.smtps().mail("a@to.example")
    (job,) = agent.wait_jobs(1)
    assert ctl("remove", "all").split() == ["removed", "0", "marked", "1"]
    job.done(450)
    qmgr.wait_empty()


def test_show_tells_the_envelope_and_every_attempt_with_its_reply(qmgr, ctl):
    qmgr.smar().answers["to.example"] = route("192.0.2.1", "192.0.2.2")
    qmgr.agent(script=lambda job: job.failed(text=f"no route to {job.server}"))
    ta_id = qmgr.smtps().mail("r@to.example NOTIFY=NEVER", envid="me", ret="HDRS")
    qmgr.wait_deferred(1)
    ctl("retry", "all")
    wait_until(lambda: [one.tries for one in qmgr.defedb.scan(None, 9)] == [2] and not qmgr.states(), "tried again")
    shown = json.loads(ctl("--json", "show", ta_id))
    assert {key: shown["transaction"][key] for key in ("ta", "mail", "envid", "ret")} == {
        "ta": ta_id, "mail": "s@from.example", "envid": "me", "ret": "HDRS",
    }  # fmt: skip
    (row,) = shown["recipients"]
    assert [(one["reply"], one["count"]) for one in row["attempts"]] == [
        ("451 4.4.1 no route to 192.0.2.1", 2), ("451 4.4.1 no route to 192.0.2.2", 2),
    ]  # fmt: skip
    assert all(one["first"].endswith("Z") and one["last"].endswith("Z") for one in row["attempts"])
    text = ctl("show", ta_id)
    assert text.count("attempt    2 times from ") == 2
    assert "no route to 192.0.2.1" in text


def test_show_prints_header_and_body_as_they_are(qmgr):
    ta_id = qmgr.smtps().mail("r@to.example", body="BINARYMIME", content=b"Subject: \xff\r\nTo: x\r\n\r\nbody\r\n\r\nmore\r\n")
    wait_until(qmgr.states, "it is here")
    header, body = b"Subject: \xff\r\nTo: x\r\n", b"body\r\n\r\nmore\r\n"
    for options, wanted in ((["--header"], header), (["--body"], body), (["--body", "--header"], header + b"\r\n" + body)):
        result = subprocess.run(
            [sys.executable, "-m", "meta1g.tools.qmgrctl", "-f", str(qmgr.conf), "show", ta_id, *options],
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert (result.returncode, result.stdout) == (0, wanted), result.stderr
    facts = json.loads(program("-f", str(qmgr.conf), "--json", "show", "--header", "--body", ta_id).stdout)
    assert facts["transaction"]["body"] == "BINARYMIME"
    parts = {name: text.encode("utf-8", "surrogateescape") for name, text in facts["content"].items()}
    assert parts == {"header": header, "body": body}
    qmgr.cdb.path(ta_id).write_bytes(b"another")
    assert program("-f", str(qmgr.conf), "show", "--body", ta_id).returncode == sysexits.EX_DATAERR


def test_limits_are_shown_and_changed(ctl, qmgr):
    assert {row["name"]: row["changed"] for row in json.loads(ctl("--json", "limits"))}["AQ_max_entries"] is False
    assert "changed" in ctl("limits", "aq_max_entries=50", "min_retry_delay=10m")
    assert qmgr.aq.limit == 50
    with pytest.raises(CommandFailedError, match="min_retry_delay would be greater than max_retry_delay"):
        ctl("limits", "min_retry_delay=2d")


def test_drain_stop_and_resume(qmgr, ctl):
    qmgr.smar()
    agent = qmgr.agent()
    smtps = qmgr.smtps()
    wait_until(lambda: not qmgr.context.status()["trouble"], "all is well")
    assert ctl("stop").split() == ["mode", "stop"]
    assert smtps.connect(session=new_id()).code == 421
    assert qmgrctl.main(["-f", str(qmgr.conf), "status"]) == qmgrctl.EX_TROUBLE
    ctl("resume")
    smtps.mail("a@to.example")
    assert agent.wait_jobs(1)
    qmgr.wait_empty()


def test_a_time_is_shown_as_a_time(ctl, qmgr):
    qmgr.smar()
    qmgr.agent()
    qmgr.smtps()
    wait_until(lambda: qmgr.context.status()["trouble"] == [], "all is well")
    started = json.loads(ctl("--json", "status"))["started"]
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", started)
    assert f"started          {started}" in ctl("status")


@pytest.mark.parametrize("words", [("queue", "sender=\udcff@x.example"), ("show", "\udcff"), ("limits", "x=\udcff")])
def test_a_word_that_is_no_utf_8_is_a_mistake_of_the_command_line(qmgr, words):
    with pytest.raises(CliError, match="no UTF-8") as error:
        qmgrctl.main(["-f", str(qmgr.conf), *words])
    assert error.value.exit_code == sysexits.EX_USAGE


def test_ids_on_the_command_line_are_as_good_as_those_on_standard_input(qmgr, capsys):
    ids = [new_id() for _ in range(20_000)]
    assert qmgrctl.main(["-f", str(qmgr.conf), "remove", *ids]) == sysexits.EX_NOINPUT
    assert "and 19990 others" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["no"], "unknown command 'no'"),
        (["show"], "usage: qmgrctl show ID"),
        (["status", "x"], "usage: qmgrctl status"),
        (["remove"], "usage: qmgrctl remove SELECTOR ..."),
        (["status", "--dry-run"], "status has no --dry-run"),
        (["queue", "--body"], "queue has neither --header nor --body"),
    ],
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


@pytest.mark.parametrize("options", [("--counts", "age"), ("--shape", "domain"), ("--json", "--counts", "sender")])
def test_a_count_of_nothing_is_a_mistake_of_the_selector(qmgr, options):
    with pytest.raises(CliError, match=r"no recipient in the queues matches exmaple\.org") as caught:
        mailq.main(["-f", str(qmgr.conf), *options, "exmaple.org"])
    assert caught.value.exit_code == sysexits.EX_NOINPUT
    assert mailq.main(["-f", str(qmgr.conf), *options]) == sysexits.EX_OK


@pytest.mark.parametrize(
    ("page", "what", "known"),
    [("milters.md", "what status shows", qmgrctl._FILTERS), ("tls.md", "what the DNS says", qmgrctl._EXPLAINED)],
)
def test_the_tables_of_the_manual_have_the_columns_of_today(page, what, known):
    first = next(line for line in shown(page, what).splitlines() if not line.startswith("$ "))
    assert first.split() == " ".join(one.title for one in known).split()
