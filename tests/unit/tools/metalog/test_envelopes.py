"""Envelopes from the log: what is not finished comes back as the import takes it, what is finished does not."""

import json

import pytest

from meta1g.base import sysexits
from meta1g.base.reply import Reply
from meta1g.rcb.envelope import HELD_UNTIL, RcptFlags, RcptRecord, TaRecord
from meta1g.rcb.jsonform import from_object
from meta1g.tools import rcvrenvfromlog
from meta1g.tools.metalog import envelopes
from meta1g.tools.metalog.envelopes import OpenTransactions, as_lines
from meta1g.tools.metalog.lines import parse_line
from tests.unit.tools.metalog.logs import START, written
from tests.unit.tools.metalog.test_verdict import FROM, RULE, TA, WHO, deferred, delivered, failed, message, of_rcpt, rcpt

ACCEPTED = (2.1, "qmgr.accept", "ok", {**FROM, "size": 1300, "rcpts": 1})


def rebuilt(*events):
    found = OpenTransactions()
    for raw in written(events):
        line = parse_line(raw, START)
        found.take(line)
    return list(found.envelopes())


def one(*events) -> tuple[TaRecord, tuple[RcptRecord, ...], tuple[str, ...]]:
    (envelope,) = rebuilt(*events)
    return envelope.ta, envelope.rcpts, envelope.doubts


def test_a_message_that_was_not_tried_comes_back_as_it_was_accepted():
    ta, rcpts, doubts = one(rcpt(notify="NEVER", orcpt="rfc822;x"), message(body="8BITMIME", ret="HDRS", envid="e"), ACCEPTED)
    assert ta == TaRecord(
        ta_id=TA,
        cdb_id=TA,
        mail="s@a.example",
        size_bytes=1300,
        entered=START + 2,
        rcpts=1,
        body="8BITMIME",
        ret="HDRS",
        envid="e",
    )
    assert rcpts == (
        RcptRecord(
            ta_id=TA, rcpt_idx=0, rcpt="r@b.example", notify="NEVER", orcpt="rfc822;x", entered=START + 2, next_try=START + 2
        ),
    )
    assert doubts == ()


def test_what_qmgr_says_of_a_message_comes_back():
    more = {"by": "2026-11-27T10:00:00Z;R", "priority": 4, "traits": "requiretls automatic"}
    accepted = (2.1, "qmgr.accept", "ok", {**FROM, "size": 1300, "rcpts": 1, **more})
    ta, _, doubts = one(rcpt(), message(), accepted)
    assert (ta.by, ta.by_mode, ta.priority, ta.requiretls, ta.automatic) == (1_795_773_600.0, "R", 4, True, True)
    assert (ta.smtputf8, ta.tls_optional, doubts) == (False, False, ())
    accepted = (2.1, "qmgr.accept", "ok", {**FROM, "size": 1300, "rcpts": 1, "by": "soon;R"})
    ta, _, doubts = one(rcpt(), message(), accepted)
    assert (ta.by, ta.by_mode) == (0.0, None)
    assert len(doubts) == 1


def test_a_recipient_that_waits_keeps_its_tries_its_reason_and_its_time():
    _, (record,), _ = one(rcpt(), message(), deferred(after=60.0, tries=4))
    assert (record.tries, record.last_try, record.next_try) == (4, START + 60, START + 855)
    assert record.reply == Reply(451, "4.7.1", "greylisted", "mx[127.0.0.9]")


@pytest.mark.parametrize(
    "events",
    [
        [rcpt(), message(), delivered()],
        [rcpt(), message(), failed()],
        [rcpt(), message(), failed(event="expired")],
        [rcpt(), message(), of_rcpt("removed", "by order of the operator")],
        [rcpt()],
        [(1, "smtps.rcpt_discarded", "dropped", {**FROM, "rcpt": "r@b.example", **RULE}),
         (2, "smtps.message_discarded", "250 ok", {**WHO, **FROM, "size": 1, "rcpts": 1, "reply": 250, **RULE})],
        [rcpt(), (2, "smtps.message_refused", "552 too big", {**WHO, **FROM, "reply": 552, "size": 9, "rcpts": 1})],
        [rcpt(), message(), failed(), of_rcpt("bounce", "ok", 1, "s@a.example", count=1), delivered(1, "s@a.example", 5.0)],
    ],
)  # fmt: skip
def test_what_is_finished_or_was_never_accepted_does_not_come_back(events):
    assert rebuilt(*events) == []


def test_only_those_of_a_message_come_back_who_have_nothing_yet():
    events = [rcpt(n, f"r{n}@b.example") for n in range(4)]
    ta, rcpts, _ = one(
        *events, message(4), delivered(0, "r0@b.example"), failed(2, "r2@b.example"), deferred(3, "r3@b.example")
    )
    assert [(record.rcpt_idx, record.rcpt, record.tries) for record in rcpts] == [
        (1, "r1@b.example", 0),
        (3, "r3@b.example", 1),
    ]
    assert ta.rcpts == 2


def test_what_is_held_stays_held():
    _, (record,), _ = one(rcpt(), message(), deferred(), of_rcpt("hold", "by order of the operator"))
    assert (record.flags, record.next_try) == (RcptFlags.HOLD, HELD_UNTIL)
    _, (record,), _ = one(
        rcpt(),
        message(),
        of_rcpt("hold", "by order of the operator"),
        of_rcpt("released", "by order of the operator", after=5.0),
    )
    assert (record.flags, record.next_try) == (0, START + 2)


def test_a_report_that_was_on_its_way_is_made_again():
    events = [rcpt(), rcpt(1, "q@b.example"), message(2), failed(), failed(1, "q@b.example", 3.5, "expired")]
    _, (record,), _ = one(*events, of_rcpt("bounce", "ok", 2, "s@a.example", count=2), deferred(2, "s@a.example", 5.0))
    assert (record.rcpt, record.sender, record.notify, record.flags) == ("s@a.example", "", "NEVER", RcptFlags.IS_BNC)
    assert [(about.rcpt, str(about.reply), about.expired, about.last_try) for about in record.failed] == [
        ("r@b.example", "550 5.1.1 no such user", False, START + 3),
        ("q@b.example", "550 5.1.1 no such user", True, START + 3.5),
    ]
    _, (record,), _ = one(*events, of_rcpt("bounce", "ok", 2, "postmaster@x.example", count=2))
    assert record.flags == RcptFlags.IS_DBNC


def test_members_of_an_alias_come_back_each_once_and_the_alias_does_not():
    alias = of_rcpt("alias", "ok", after=2.5, count=3, members="m@b.example n@b.example o@b.example")
    _, rcpts, doubts = one(rcpt(notify="FAILURE"), message(), alias, delivered(1, "m@b.example"), deferred(2, "n@b.example"))
    assert [(record.rcpt_idx, record.rcpt) for record in rcpts] == [(2, "n@b.example"), (3, "o@b.example")]
    for record in rcpts:
        assert (record.orig_rcpt, record.flags, record.sender) == ("r@b.example", RcptFlags.EXPANDED, None)
        assert record.notify == "FAILURE"
    assert doubts == ()


def test_members_of_a_list_keep_its_owner_and_what_is_not_named_is_said():
    alias = of_rcpt("alias", "ok", count=3, members="m@b.example nobody@exam...", owner="owner@b.example")
    _, (record,), doubts = one(rcpt(notify="SUCCESS"), message(), alias)
    assert (record.rcpt, record.sender, record.notify) == ("m@b.example", "owner@b.example", None)
    assert record.flags == RcptFlags.EXPANDED | RcptFlags.LIST
    assert doubts == ("2 members of r@b.example are not named",)


def test_recipients_that_no_line_names_are_said():
    _, _, doubts = one(rcpt(), message(3))
    assert doubts == ("2 recipients are in no line",)


def test_an_address_that_is_no_ascii_asks_for_smtputf8():
    ta, _, _ = one(rcpt(0, "gr\u00fc\u00dfe@b.example"), message())
    assert ta.smtputf8


def test_the_lines_are_those_that_import_reads():
    lines = [json.loads(line) for line in as_lines(rebuilt(rcpt(), message(), deferred()))]
    assert [next(iter(line)) for line in lines] == ["meta1g_queue", "transaction", "recipients", "end", "total"]
    assert from_object(TaRecord, lines[1]["transaction"]).ta_id == TA
    assert from_object(RcptRecord, lines[2]["recipients"][0]).tries == 1
    assert lines[3]["end"] == {"recipients": 1, "bytes": None}
    assert lines[4] == {"total": 1}


def test_what_is_finished_is_forgotten_and_what_is_open_is_not(monkeypatch):
    monkeypatch.setattr(envelopes, "_REMEMBERED", 10)
    found = OpenTransactions()
    for number in range(200):
        events = [rcpt(), message(), *([] if number % 10 == 0 else [delivered()])]
        for raw in written(events):
            found.take(parse_line(raw.replace(TA, f"S{number:016X}00"), START))
    assert len(found._cases) < 60
    assert [one.ta.ta_id for one in found.envelopes()] == [f"S{number:016X}00" for number in range(0, 200, 10)]


def log_of(tmp_path, *events):
    path = tmp_path / "log"
    path.write_text("".join(f"{line}\n" for line in written(events)))
    return path


def test_the_list_for_people(tmp_path, capsys):
    log = log_of(tmp_path, rcpt(), rcpt(1, "q@b.example"), message(2), deferred())
    assert rcvrenvfromlog.main(["--log", str(log), "--list"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        f"{TA}  content {TA}, 1234 bytes  2026-11-27T04:55:47Z  from <s@a.example>",
        "    0000  <r@b.example>  tries 1, waits until 2026-11-27T05:10:00Z: 451 4.7.1 greylisted",
        "    0001  <q@b.example>  tries 0",
    ]
    assert said.err == ""


def test_single_transactions_and_contents_that_are_not_there(tmp_path, capsys):
    log = log_of(tmp_path, rcpt(), message())
    for digit in "0123456789ABCDEF":
        (tmp_path / "queue/cdb" / digit).mkdir(parents=True)
    assert rcvrenvfromlog.main(["--log", str(log), "--queue", str(tmp_path / "queue"), TA]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[-1]) == {"total": 1}
    assert "is missing: its recipients will be held" in said.err


def test_an_id_that_is_not_found_is_named_and_the_others_are_given(tmp_path, capsys):
    log, unknown = log_of(tmp_path, rcpt(), message()), "S" + "0" * 18
    for other in (unknown, f"{unknown}-0001", "nonsense"):
        assert rcvrenvfromlog.main(["--log", str(log), TA, other]) == sysexits.EX_DATAERR
        said = capsys.readouterr()
        assert json.loads(said.out.splitlines()[-1]) == {"total": 1}
        assert said.err == f"rcvrenvfromlog: {other}: the log has no unfinished transaction of this id\n"


def test_the_id_of_a_recipient_names_its_transaction(tmp_path, capsys):
    log = log_of(tmp_path, rcpt(), message())
    assert rcvrenvfromlog.main(["--log", str(log), f"{TA}-0000"]) == sysexits.EX_OK
    said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[-1]) == {"total": 1}
    assert said.err == ""


def test_a_file_that_cannot_be_read_to_its_end_is_told(tmp_path, capsys):
    (tmp_path / "log.gz").write_bytes(b"no gzip")
    assert rcvrenvfromlog.main(["--log", str(tmp_path / "log.gz")]) == sysexits.EX_DATAERR
    assert "cannot be read to its end" in capsys.readouterr().err


def test_each_process_may_have_its_own_log(tmp_path, capsys):
    lines = written([rcpt(), message(), ACCEPTED, deferred(after=70), delivered(after=80.0)])
    for name in ("smtps", "qmgr"):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines if f" {name}[" in line))
    logs = [f"--log={tmp_path}/qmgr", f"--log={tmp_path}/smtps"]
    assert rcvrenvfromlog.main(logs) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"total": 0}
