"""A real smtps process between filters: what they hear, what their answers come to, what a broken one costs."""

import errno
import socket
import struct
from contextlib import suppress
from pathlib import Path

import pytest

from contrib.lib.gateway import wait_until
from meta1g.base.reply import Reply
from meta1g.rcb.smtps_qmgr import CloseTransaction, DiscardTransaction, NewRecipient, NewTransaction
from meta1g.rcb.smtps_smar import Checks, ClientVerdict
from meta1g.smtps.limits import SMALL_CONTENT_BYTES
from meta1g.tools.metalog.cases import judge
from meta1g.tools.metalog.lines import LogLine, parse_line
from tests.fakes.milter import FakeMilter, summary
from tests.fakes.smtps_process import SmtpsProcess
from tests.unit.smtps.filterscenes import (  # noqa: F401  tests of both kinds of filters
    HEADER,
    MESSAGE,
    OWN,
    STEPS,
    WHOLE,
    kinds,
    quit_,
    stored,
    test_a_refusal_is_told_at_its_step,
    test_a_refused_client_is_sent_away,
    test_a_refused_helo_stays_refused,
    test_an_unknown_command_may_be_refused_in_other_words,
    test_both_filters_hear_the_whole_session_and_the_file_is_what_came,
    until_refused,
)

BIG = HEADER + b"\r\n" + b"x" * 998 + b"\r\n"
BIG_BODY = (b"0123456789" * 9 + b"\r\n") * (4 * SMALL_CONTENT_BYTES // 92)
CONF = """
milter a {{ {a} {times} default_action = {action};
  macros = {{ "daemon_name=ORIGINATING" }}; }}
milter b {{ {b} }}
"""


@pytest.fixture(scope="module")
def filters(tmp_path_factory):
    """One by a path, whose type is unix, and one by address and port."""
    directory = tmp_path_factory.mktemp("f")
    with FakeMilter(directory, "a") as a, FakeMilter(directory, "b", tcp=True) as b:
        yield a, b


def started(directory, filters, action="tempfail", more="", times="", limits=None):
    a, b = filters
    conf = CONF.format(a=a.conf, b=b.conf, action=action, times=times) + more
    return SmtpsProcess(directory / "q", conf, checks=Checks.RCPT | Checks.CLIENT, limits=limits)


@pytest.fixture(scope="module")
def smtps(tmp_path_factory, filters):
    with started(tmp_path_factory.mktemp("s"), filters) as process:
        yield process


@pytest.fixture(scope="module")
def impatient(tmp_path_factory, filters):
    """A process that soon gives a filter up."""
    times = "reply_timeout = 1s; end_timeout = 1s; connect_timeout = 1s;"
    with started(tmp_path_factory.mktemp("i"), filters, times=times) as process:
        yield process


@pytest.fixture
def scene(smtps, filters):
    """The process, and filters that agree with everything; afterwards all they heard is taken."""
    return ready(smtps, filters)


def ready(smtps, filters):
    a, b = filters
    for one in (a, b):
        one.turn += 1
        one.script()
    for file in smtps.content_files():
        file.unlink()
    smtps.qmgr.messages.clear()
    return smtps, a, b


def test_macros_are_those_of_the_session_and_of_the_configuration(scene):
    smtps, a, b = scene
    b.script(negotiate={"lists": [[0, "j {client_addr}"], [5, "i {msg_id}"]]})
    with smtps.client() as client:
        reply = client.message(MESSAGE.replace(b"\r\n\r\n", b"\r\nMessage-ID: <1@x>\r\n\r\n", 1))
        quit_(client)
    ta_id = reply.rpartition(" ")[2]
    macros = {one[1]: dict(map(tuple, one[2])) for one in a.heard() if one[0] == "MACRO"}
    assert macros["CONNECT"]["{daemon_name}"] == "ORIGINATING"
    assert macros["CONNECT"]["j"] == "mx.example"
    assert macros["CONNECT"]["_"] == "client.example [127.0.0.1]"
    assert macros["MAIL"] == {"i": ta_id, "{mail_addr}": "s@example.org", "{mail_host}": "example.org", "{mail_mailer}": "smtp"}
    assert macros["RCPT"]["{rcpt_addr}"] == "r@example.org"
    assert macros["BODYEOB"] == {"i": ta_id, "{msg_id}": "<1@x>"}
    macros = {one[1]: dict(map(tuple, one[2])) for one in b.heard() if one[0] == "MACRO"}
    assert macros["CONNECT"] == {"j": "mx.example", "{client_addr}": "127.0.0.1"}
    stored(smtps)


# -- refusals


def test_a_message_is_discarded(scene):
    smtps, a, b = scene
    a.script(answers={"BODY": [["DISCARD"]]})
    with smtps.client() as client:
        client.message(MESSAGE)
        a.script()
        client.message(MESSAGE)
        quit_(client)
    assert kinds(a.heard())[10:] == ["ABORT", *WHOLE[3:9], "BODY", "ABORT", "QUIT"], "the script was read before"
    assert smtps.content_files() == []
    assert smtps.qmgr.of(CloseTransaction) == []
    b.heard()


def test_who_accepts_hears_no_more(scene):
    smtps, a, b = scene
    a.script(answers={"MAIL": [["ACCEPT"]]})
    b.script(answers={"CONNECT": [["ACCEPT"]]})
    with smtps.client() as client:
        client.message(MESSAGE)
        client.message(MESSAGE)
        quit_(client)
    assert kinds(a.heard()) == ["OPTNEG", "CONNECT", "HELO", "MAIL", "ABORT", "MAIL", "ABORT", "QUIT"]
    assert kinds(b.heard()) == ["OPTNEG", "CONNECT", "QUIT"]
    for file in smtps.content_files():
        file.unlink()


def test_refused_recipients_are_told_to_who_wants_them(scene):
    smtps, a, b = scene
    a.script(negotiate={"steps": 0x800})
    with smtps.client() as client:
        client.command("MAIL FROM:<s@example.org>", "250")
        client.command("RCPT TO:<x@refused.example>", "550")
        client.command("RSET", "250")
        quit_(client)
    heard = a.heard()
    assert [one[1] for one in heard if one[0] == "RCPT"] == [["<x@refused.example>"]]
    macros = [dict(map(tuple, one[2])) for one in heard if one[:2] == ["MACRO", "RCPT"]]
    assert macros[0]["{rcpt_mailer}"] == "error"
    assert "RCPT" not in kinds(b.heard())


# -- changes

CHANGES = {
    "add": ([["ADDHEADER", "X-A", "v"]], HEADER + b"X-A: v\r\n\r\nbody\r\n"),
    "insert": ([["INSHEADER", 1, "X-A", "v\n w"]], b"X-A: v\r\n w\r\n" + MESSAGE),
    "change": ([["CHGHEADER", 1, "subject", "three"]], b"From: a@example.org\r\nsubject: three\r\n\r\nbody\r\n"),
    "delete": ([["CHGHEADER", 1, "Subject", ""]], b"From: a@example.org\r\n\r\nbody\r\n"),
    "body": ([["REPLBODY", "new\r\n"], ["REPLBODY", "lines\r\n"]], HEADER + b"\r\nnew\r\nlines\r\n"),
    "body with other line ends": (
        [["REPLBODY", "new\nli"], ["REPLBODY", "nes\r"], ["REPLBODY", "\n.\rx"]],
        HEADER + b"\r\nnew\r\nlines\r\n.\r\nx\r\n",
    ),
    "all": (
        [["ADDHEADER", "X-A", "v"], ["REPLBODY", "new\r\n"], ["CHGHEADER", 1, "From", ""]],
        b"Subject: one\r\n two\r\nX-A: v\r\n\r\nnew\r\n",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_content_is_what_the_filter_makes_of_it_and_the_next_one_sees_that(scene, name):
    smtps, a, b = scene
    changes, expected = CHANGES[name]
    a.script(answers={"BODYEOB": [*changes, ["CONTINUE"]]})
    with smtps.client() as client:
        client.message(MESSAGE)
        quit_(client)
    a.heard()
    heard = b.heard()
    assert stored(smtps) == expected
    header, _, body = expected.partition(b"\r\n\r\n")
    assert [one[1] for one in heard if one[0] == "HEADER"] == [
        line.partition(b":")[0].decode() for line in header.split(b"\r\n") if line[:1] != b" "
    ]
    assert "".join(one[1] for one in heard if one[0] == "BODY") == body.decode()
    smtps.wait_log(r"smtps\.milter_changed.*key=a")


def test_the_changes_of_both_are_made_in_order(scene):
    smtps, a, b = scene
    a.script(answers={"BODYEOB": [["INSHEADER", 1, "X", "a"], ["CONTINUE"]]})
    b.script(answers={"BODYEOB": [["INSHEADER", 1, "X", "b"], ["CHGHEADER", 2, "X", "c"], ["ACCEPT"]]})
    with smtps.client() as client:
        client.message(MESSAGE)
        quit_(client)
    assert stored(smtps) == b"X: b\r\nX: c\r\n" + MESSAGE
    a.heard(), b.heard()


@pytest.mark.parametrize("name", ["insert", "body", "none"])
def test_a_big_message_is_changed_too(scene, name):
    smtps, a, b = scene
    changes, _ = CHANGES.get(name, ([], b""))
    a.script(answers={"BODYEOB": [*changes, ["CONTINUE"]]})
    with smtps.client() as client:
        client.message(HEADER + b"\r\n" + BIG_BODY)
        quit_(client)
    head, body = {
        "insert": (b"X-A: v\r\n w\r\n" + HEADER, BIG_BODY),
        "body": (HEADER, b"new\r\nlines\r\n"),
        "none": (HEADER, BIG_BODY),
    }[name]
    assert stored(smtps) == head + b"\r\n" + body
    chunks = [BIG_BODY[at : at + 65535] for at in range(0, len(BIG_BODY), 65535)]
    assert [one[1] for one in a.heard() if one[0] == "BODY"] == [summary(one) for one in chunks]
    heard = [one[1] for one in b.heard() if one[0] == "BODY"]
    assert heard == ([body.decode()] if name == "body" else [summary(one) for one in chunks])
    closed = smtps.qmgr.of(CloseTransaction)[0]
    assert closed.size_bytes > len(head) + len(body)


def test_a_body_bigger_than_memory_holds_replaces_another(scene):
    smtps, a, b = scene
    piece = "y" * 78 + "\r\n"
    a.script(answers={"BODYEOB": [*([["REPLBODY", piece * 800]] * 12), ["CONTINUE"]]})
    with smtps.client() as client:
        client.message(MESSAGE)
        quit_(client)
    assert stored(smtps) == HEADER + b"\r\n" + piece.encode() * 9600
    a.heard(), b.heard()


def test_the_envelope_is_changed(scene):
    smtps, a, b = scene
    a.script(
        answers={
            "BODYEOB": [
                ["ADDRCPT", "<new@example.org>"],
                ["ADDRCPT_PAR", "plain@example.org", "NOTIFY=NEVER"],
                ["DELRCPT", "<r@EXAMPLE.org>"],
                ["CHGFROM", "<other@example.org>"],
                ["CONTINUE"],
            ]
        }
    )
    with smtps.client() as client:
        client.message(MESSAGE, rcpts=("r@example.org", "stay@example.org"))
        quit_(client)
    stored(smtps)
    a.heard(), b.heard()
    smtps.qmgr.wait_for(CloseTransaction)
    received = smtps.qmgr.messages
    at = max(index for index, msg in enumerate(received) if isinstance(msg, NewTransaction))
    assert isinstance(received[at - 1], DiscardTransaction)
    assert received[at].mail == "other@example.org"
    told = [(one.rcpt, one.notify, one.rcpt_idx) for one in received[at:] if isinstance(one, NewRecipient)]
    assert told == [("stay@example.org", None, 1), ("new@example.org", None, 2), ("plain@example.org", "NEVER", 3)]
    assert smtps.qmgr.of(CloseTransaction)[-1].rcpts == 3
    ta_id = received[at].ta_id
    smtps.wait_log(rf"smtps\.message,.*ss_ta={ta_id},.*mail=other@example\.org")
    lines = [line for line in (parse_line(text, 0) for text in smtps.log) if isinstance(line, LogLine)]
    case = judge([line for line in lines if line.get("ss_ta") == ta_id], ta_id)
    assert case.mail == "other@example.org"
    fates = {one.rcpt: one.fate.name for one in case.rcpts.values()}
    assert fates == {
        "r@example.org": "DISCARDED", "stay@example.org": "QUEUED", "new@example.org": "QUEUED", "plain@example.org": "QUEUED",
    }  # fmt: skip


def test_a_recipient_that_is_only_added_is_told_as_others_are(scene):
    smtps, a, b = scene
    a.script(answers={"BODYEOB": [["ADDRCPT", "<new@example.org>"], ["ADDRCPT", "<r@example.org>"], ["CONTINUE"]]})
    with smtps.client() as client:
        client.message(MESSAGE)
        quit_(client)
    stored(smtps)
    a.heard(), b.heard()
    assert [one.rcpt for one in smtps.qmgr.of(NewRecipient)] == ["r@example.org", "new@example.org"]
    assert smtps.qmgr.of(CloseTransaction)[-1].rcpts == 2


def test_a_message_without_recipients_is_dropped(scene):
    smtps, a, b = scene
    a.script(answers={"BODYEOB": [["DELRCPT", "<r@example.org>"], ["CONTINUE"]]})
    with smtps.client() as client:
        client.message(MESSAGE)
        quit_(client)
    a.heard(), b.heard()
    assert (smtps.content_files(), smtps.qmgr.of(CloseTransaction)) == ([], [])


def test_quarantine_is_told_to_the_queue_manager(scene):
    smtps, a, b = scene
    a.script(answers={"BODYEOB": [["QUARANTINE", "virus"], ["CONTINUE"]]})
    with smtps.client() as client:
        client.message(MESSAGE)
        a.script()
        quit_(client)
    stored(smtps)
    a.heard(), b.heard()
    assert smtps.qmgr.of(CloseTransaction)[-1].hold == "milter a: virus"


def test_filters_that_do_not_answer_each_step_hear_the_same(scene):
    smtps, a, b = scene
    silent = 0x1000 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x80 | 0x40000 | 0x80000
    a.script(negotiate={"steps": silent | 0x20000000}, answers={"BODYEOB": [["ADDHEADER", "X", "a"], ["CONTINUE"]]})
    with smtps.client() as client:
        client.message(HEADER + b"\r\n" + BIG_BODY)
        quit_(client)
    assert stored(smtps) == HEADER + b"X: a\r\n\r\n" + BIG_BODY
    assert [one for one in a.heard() if one[0] == "BODY"] == [["BODY", summary(BIG_BODY)]]
    b.heard()


def test_a_header_without_an_empty_line_and_a_body_without_header_are_told_apart(scene):
    smtps, a, b = scene
    a.script(answers={"BODYEOB": [["ADDHEADER", "X", "a"], ["CONTINUE"]]})
    for content, expected in [
        (b"no header\r\n", b"X: a\r\n\r\nno header\r\n"),
        (b" fold\r\n", b"X: a\r\n\r\n fold\r\n"),
        (b"A: 1\r\n", b"A: 1\r\nX: a\r\n\r\n"),
        (b"", b"X: a\r\n\r\n"),
    ]:
        with smtps.client() as client:
            client.message(content)
            quit_(client)
        assert stored(smtps) == expected
        a.heard(), b.heard()


# -- without a filter


def test_what_a_filter_takes_while_the_content_arrives_is_not_the_time_of_the_client(tmp_path, filters):
    with started(tmp_path, filters, "accept", times="reply_timeout = 3s;", limits={"CONTENT_GRACE_S": 1}) as process:
        _smtps, a, _b = ready(process, filters)
        a.script(faults={"HEADER": "hang"})
        with process.client() as client:
            client.command("MAIL FROM:<s@example.org>", "250")
            client.command("RCPT TO:<r@example.org>", "250")
            client.command("DATA", "354")
            client.send(MESSAGE)
            process.wait_log(r"func=smtps\.milter_failed")
            client.send(b".\r\n")
            client.expect("250")
            quit_(client)
        [one.heard() for one in filters]


BROKEN = ["hang", "die", "trickle", "nonsense", "huge", "disorder", "busy"]


@pytest.mark.parametrize("fault", BROKEN)
def test_a_filter_that_breaks_costs_its_session_what_its_default_action_says(impatient, filters, fault):
    smtps, a, b = ready(impatient, filters)
    a.script(faults={"BODYEOB" if fault == "busy" else "RCPT": fault})
    with smtps.client(hello=False) as client:
        client.expect("220")
        asked, reply = until_refused(client)
        assert (asked, reply) == ("end" if fault == "busy" else "RCPT", "451 4.7.1 Service unavailable - try again later")
        client.command("RSET", "250")
        client.command("MAIL FROM:<s@example.org>", "451 4.7.1")
        a.script()
        with smtps.client() as other:
            other.message(MESSAGE)
            quit_(other)
        quit_(client)
    stored(smtps)
    smtps.wait_log(r"smtps\.milter_failed.*key=a")
    [a.heard(), a.heard(), b.heard(), b.heard()]


@pytest.mark.parametrize(("option", "step", "fault"), [("connect_timeout", "OPTNEG", "hang"), ("send_timeout", "BODY", "deaf")])
def test_a_filter_has_a_time_to_greet_in_and_a_time_to_read_in(tmp_path, filters, option, step, fault):
    """What is sent fills the buffers of a filter that does not read; all other times are longer than this test may take."""
    with started(tmp_path, filters, times=f"{option} = 1s;") as process:
        smtps, a, b = ready(process, filters)
        a.script(faults={step: fault}, negotiate={"steps": 0x80000})
        with smtps.client(hello=step != "OPTNEG") as client:
            if step == "OPTNEG":
                client.expect("421 4.7.1 Service unavailable")
            else:
                client.command("MAIL FROM:<s@example.org>", "250")
                client.command("RCPT TO:<r@example.org>", "250")
                client.command("DATA", "354")
                client.send(HEADER + b"\r\n" + BIG_BODY + b".\r\n")
                client.expect("451 4.7.1")
        smtps.wait_log(r"smtps\.milter_failed.*key=a")
        [one.heard() for one in (a, b) if one is a or step != "OPTNEG"]


@pytest.mark.parametrize("action", ["reject", "accept", "quarantine"])
def test_default_actions(tmp_path, filters, action):
    a, b = filters
    with started(tmp_path, filters, action) as smtps:
        for step in ("CONNECT", "MAIL", "BODYEOB"):
            a.turn, b.turn = a.turn + 1, b.turn + 1
            a.script(faults={step: "die"}), b.script()
            with smtps.client(hello=False) as client:
                if action == "reject" and step == "CONNECT":
                    client.expect("554 5.7.1")
                else:
                    client.expect("220")
                    assert until_refused(client)[1].startswith("550 5.7.1" if action == "reject" else "250 2.0.0")
                quit_(client)
            a.heard(), b.heard()
            if action != "reject":
                assert smtps.qmgr.of(CloseTransaction)[-1].hold == ("milter a failed" if action == "quarantine" else None)
                assert stored(smtps) == MESSAGE


def test_a_filter_that_is_not_there(tmp_path, filters):
    _a, b = filters
    b.turn += 1
    b.script()
    gone = FakeMilter(tmp_path, "gone")
    with started(tmp_path, (gone, b)) as smtps:
        with smtps.client(hello=False) as client:
            client.expect("421 4.7.1 Service unavailable")
            client.expect("")
        with gone, smtps.client() as client:
            client.message(MESSAGE)
            quit_(client)
            gone.heard()
        b.heard()
        stored(smtps)


def test_a_client_may_have_other_filters(tmp_path, filters):
    a, b = filters
    for one in (a, b):
        one.turn += 1
        one.script()
    with started(tmp_path, filters, more="milters = b;") as smtps:
        for conf, expected in (("", b), ("milters = { a };", a), ("milters = { };", None)):
            smtps.smar.client = lambda msg, conf=conf: ClientVerdict(reply=Reply(220), session_conf=conf)
            with smtps.client() as client:
                client.message(MESSAGE)
                quit_(client)
            if expected is not None:
                assert kinds(expected.heard()) == WHOLE
            stored(smtps)


# -- other ways in


def test_a_message_by_bdat_passes_the_filters(scene):
    smtps, a, b = scene
    a.script(answers={"BODYEOB": [["ADDHEADER", "X", "a"], ["CONTINUE"]]})
    half = len(MESSAGE) // 2
    with smtps.client() as client:
        client.command("MAIL FROM:<s@example.org>", "250")
        client.command("RCPT TO:<r@example.org>", "250")
        client.send(b"BDAT %d\r\n%s" % (half, MESSAGE[:half]))
        client.expect("250")
        client.send(b"BDAT %d LAST\r\n%s" % (len(MESSAGE) - half, MESSAGE[half:]))
        client.expect("250")
        quit_(client)
    assert kinds(a.heard()) == [*kinds(b.heard())[:6], "HEADER", "HEADER", "EOH", "BODY", "BODYEOB", "QUIT"]
    assert stored(smtps) == HEADER + b"X: a\r\n\r\nbody\r\n"


@pytest.mark.parametrize("step", ["DATA", "EOH", "BODYEOB"])
def test_a_message_by_bdat_is_refused(scene, step):
    smtps, a, b = scene
    a.script(answers={step: OWN})
    with smtps.client() as client:
        client.command("MAIL FROM:<s@example.org>", "250")
        client.command("RCPT TO:<r@example.org>", "250")
        client.send(b"BDAT %d LAST\r\n%s" % (len(MESSAGE), MESSAGE))
        client.expect("554 5.7.9 own words")
        quit_(client)
    a.heard(), b.heard()
    assert smtps.content_files() == []


@pytest.mark.parametrize("content", [b"Subject: x\r\n\r\nbody\r\n", b"Subject: x\r\nno field\r\n", b"no field\r\n"])
def test_filters_see_what_a_submission_server_completes(tmp_path, filters, content):
    a, b = filters
    for one in (a, b):
        one.turn += 1
        one.script(answers={"BODYEOB": [["ADDHEADER", "X", one.name], ["CONTINUE"]]})
    with started(tmp_path, filters, more="flags = { submission };") as smtps:
        with smtps.client() as client:
            client.message(content)
            quit_(client)
        names = [one[1] for one in a.heard() if one[0] == "HEADER"]
        assert names[:3] == ["Message-ID", "Date", "From"]
        assert [one[1] for one in b.heard() if one[0] == "HEADER"] == [*names, "X"]
        header, _, body = stored(smtps).partition(b"\r\n\r\n")
    assert header.endswith(b"\r\nX: a\r\nX: b")
    assert content.endswith(body)


def test_a_client_that_another_one_speaks_for_is_told_to_new_filters(tmp_path, filters):
    a, b = filters
    for one in (a, b):
        one.turn += 1
        one.script()
    with started(tmp_path, filters, more="xclient_from = 127.0.0.1;") as smtps:
        with smtps.client() as client:
            client.command("XCLIENT ADDR=192.0.2.7 NAME=other.example HELO=hello.example PROTO=ESMTP", "220")
            client.message(MESSAGE)
            quit_(client)
        assert kinds(a.heard()) == ["OPTNEG", "CONNECT", "HELO", "QUIT"]
        heard = {one[0]: one[1:] for one in a.heard()}
        assert heard["CONNECT"][1] == ["INET", 0, "192.0.2.7"]
        assert heard["HELO"] == ["hello.example"]
        stored(smtps)


# -- what must not go wrong


def test_a_refused_helo_ends_the_transaction(scene):
    smtps, a, b = scene
    a.script(answers={"HELO again": OWN})
    with smtps.client() as client:
        client.command("MAIL FROM:<s@example.org>", "250")
        client.command("RCPT TO:<r@example.org>", "250")
        client.command("EHLO other.example", "554 5.7.9")
        client.command("DATA", "503")
        client.send(b"BDAT 1\r\nx")
        client.expect("503")
        quit_(client)
    a.heard(), b.heard()


def test_the_null_address_is_no_recipient(scene):
    smtps, a, b = scene
    a.script(answers={"BODYEOB": [["ADDRCPT", "<>"], ["CONTINUE"]]})
    with smtps.client() as client:
        assert client.message(MESSAGE, "451 4.7.1").startswith("451")
        quit_(client)
    smtps.wait_log(r"smtps\.milter_failed.*null address")
    a.heard(), b.heard()


def test_content_that_cannot_be_read_back_is_refused_and_the_session_goes_on(scene):
    smtps, a, b = scene
    big = HEADER + b"\r\n" + BIG_BODY
    with smtps.client() as client:
        for line, code in (("MAIL FROM:<s@example.org>", "250"), ("RCPT TO:<r@example.org>", "250"), ("DATA", "354")):
            client.command(line, code)
        client.send(big[: len(big) // 2])
        wait_until(smtps.content_files, 20, "a file")
        smtps.content_files()[0].unlink()
        client.send(big[len(big) // 2 :] + b".\r\n")
        client.expect("451 4.3.0")
        client.message(MESSAGE)
        quit_(client)
    stored(smtps)
    a.heard(), b.heard()


def test_a_header_of_very_many_fields_is_refused(scene):
    smtps, a, b = scene
    with smtps.client() as client:
        for content in (b"a:\r\n" * 6000 + b"\r\nbody\r\n", b"a:\r\n" * 6000):
            assert client.message(content, "552 5.3.4").startswith("552")
        client.message(b"a:\r\n" * 4000 + b"\r\n")
        quit_(client)
    assert stored(smtps) == b"a:\r\n" * 4000 + b"\r\n"
    a.heard(), b.heard()


def _open_below_cdb(pid):
    """Gives the directories of files below cdb/ that a process has open."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            name = entry.readlink()
            found += [name.parent.name] if "/cdb/" in str(name) else []
    return found


def _sockets(pid):
    """Counts the sockets that a process has open."""
    count = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            count += str(entry.readlink()).startswith("socket:")
    return count


def test_a_new_body_is_kept_where_smtps_may_write(tmp_path, filters):
    a, _b = filters
    a.turn += 1
    a.script()
    with FakeMilter(tmp_path, "own") as own, started(tmp_path, (a, own)) as smtps, smtps.client(hello=False) as client:
        own.script(answers={"BODYEOB": [["REPLBODY", "x" * 60_000]] * 6})  # and never a decision
        client.expect("220")
        own.process.poll()
        for line, code in (("EHLO c.example", "250"), ("MAIL FROM:<s@example.org>", "250"), ("RCPT TO:<r@x.example>", "250")):
            client.command(line, code)
        client.command("DATA", "354")
        client.send(MESSAGE + b".\r\n")
        wait_until(lambda: _open_below_cdb(smtps.process.pid), 20, "a file for the new body")
        assert all(len(name) == 1 for name in _open_below_cdb(smtps.process.pid))
        own.process.kill()
        client.expect("451")
        quit_(client)
        a.heard()


def test_a_client_that_is_gone_while_a_filter_is_asked_is_no_failure_of_ours(tmp_path, filters):
    _a, b = filters
    b.turn += 1
    b.script()
    own = FakeMilter(tmp_path, "own")
    with socket.socket(socket.AF_UNIX) as listener, started(tmp_path, (own, b), "accept") as smtps:
        listener.bind(str(own.path))
        listener.listen()
        client = socket.create_connection(("127.0.0.1", smtps.port))
        filter_side, _ = listener.accept()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        filter_side.close()
        smtps.wait_log(r"smtps\.gone")
        assert not [line for line in smtps.log if "smtps.session" in line]
    b.heard()


def test_a_filter_whose_queue_is_full_is_waited_for(tmp_path, filters):
    _a, b = filters
    own = FakeMilter(tmp_path, "own")
    with socket.socket(socket.AF_UNIX) as listener, started(tmp_path, (own, b)) as smtps:
        listener.bind(str(own.path))
        listener.listen(0)
        before = _sockets(smtps.process.pid)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(str(own.path))
            with socket.create_connection(("127.0.0.1", smtps.port)):
                with socket.socket(socket.AF_UNIX) as other:
                    other.setblocking(False)
                    assert other.connect_ex(str(own.path)) == errno.EAGAIN  # there is no place
                wait_until(lambda: _sockets(smtps.process.pid) >= before + 2, 20, "client and filter")
                held = listener.accept(), listener.accept()  # it came again
                for sock, _name in held:
                    sock.close()


def test_every_octet_counts_of_a_binary_body_that_a_filter_makes(scene):
    smtps, a, b = scene
    a.script(answers={"BODYEOB": [["REPLBODY", "a\nb\r"], ["CONTINUE"]]})
    with smtps.client() as client:
        client.command("MAIL FROM:<s@example.org> BODY=BINARYMIME", "250")
        client.command("RCPT TO:<r@example.org>", "250")
        client.send(b"BDAT %d LAST\r\n" % len(MESSAGE) + MESSAGE)
        client.expect("250 2.0.0 Ok")
        quit_(client)
    assert stored(smtps) == HEADER + b"\r\na\nb\r"
    a.heard(), b.heard()


def test_a_filter_that_has_ended_before_its_session_does_costs_nothing(tmp_path, filters):
    _a, b = filters
    b.turn += 1
    b.script()
    with FakeMilter(tmp_path, "own") as own, started(tmp_path, (own, b)) as smtps:
        with smtps.client() as client, smtps.client() as other:
            client.message(MESSAGE)
            own.process.kill()
            own.process.wait(20)
            quit_(client)
            other.command("NOOP", "250")
        assert smtps.process.poll() is None
        assert not [line for line in smtps.log if "failure." in line]
    b.heard(), b.heard()
