"""milter-spamd over the real protocols, with a scripted spamd: what it asks, what it does by the score, and without spamd."""

import socket

import pytest

from contrib.lib.gateway import ROOT
from meta1g.base.errors import Meta1Error
from meta1g.base.log import Log
from meta1g_filters.spamd.filter import SpamdFilter
from meta1g_filters.spamd.settings import read_spamd_settings
from tests.fakes.filter_program import FilterProgram
from tests.fakes.spamd import FakeSpamd, reply
from tests.unit.filters.filtersession import FilterSession
from tests.unit.pmilter.conftest import checked_locks, make_system, serve, system
from tests.unit.pt.conftest import MemorySink

__all__ = ["checked_locks", "make_system", "serve", "system"]

MAIL = b"X-Spam-Flag: NO\r\nFrom: Ada <ada@example.net>\r\nSubject: test\r\nx-spam-flag: NO\r\nX-Spam-Score: 0\r\n\r\nHello\r\n"
TESTS = b"BAYES_99,GTUBE,URIBL_BLACK"


@pytest.fixture
def spamd():
    with FakeSpamd() as spamd:
        yield spamd


@pytest.fixture
def session(serve, spamd, tmp_path):
    """Gives session(options), a session with a filter of this configuration."""

    def session(text="", servers=None):
        file = tmp_path / "milter-spamd.conf"
        file.write_text(f"{servers or f'spamd {{ {spamd.conf} }}'}\n{text}")
        made = SpamdFilter(file, Log("milter-spamd", level=9, sink=(sink := MemorySink())))
        session = FilterSession(serve(made)())
        session.log = sink.lines
        return session

    return session


def spam(spamd, score=7.5, content=TESTS):
    spamd.answer = reply(score, 5.0, content)


def test_the_message_is_asked_about_with_where_it_comes_from(session, spamd):
    made = session("user = filter;").send(MAIL, ip="198.51.100.7", helo="evil)\r\nhelo", mail="ada@example.net")
    ((head, message),) = spamd.asked
    assert head == ["SYMBOLS SPAMC/1.5", f"Content-length: {len(message)}", "User: filter"]
    assert message.endswith(MAIL)
    lines = message[: -len(MAIL)].decode().split("\r\n")
    assert lines[:2] == ["X-Envelope-From: <ada@example.net>", "Received: from evil???helo (unknown [198.51.100.7])"]
    assert lines[2].startswith("\tby mx (meta1g) with ESMTP id ")
    assert made.said == ""


def test_spam_is_marked_and_fields_of_others_go(session, spamd):
    spam(spamd)
    made = session('subject_tag = "[SPAM]";').send(MAIL)
    assert made.header == [
        "X-Spam-Flag: YES",
        "X-Spam-Score: 7.5",
        "X-Spam-Level: *******",
        "X-Spam-Status: Yes, score=7.5 required=5.0\ttests=BAYES_99,GTUBE,URIBL_BLACK",
        "Received: from client by gateway",
        "From: Ada <ada@example.net>",
        "Subject: [SPAM] test",
    ]
    assert (made.said, made.held) == ("", "")


def test_ham_is_marked_unless_it_is_not_wanted(session, spamd):
    made = session().send(MAIL)
    assert made.values("X-Spam-Status") == ["No, score=1.5 required=5.0"]
    assert (made.values("X-Spam-Flag"), made.values("X-Spam-Score"), made.values("Subject")) == ([], ["1.5"], ["test"])
    made = session("flags = { dont_mark_ham }; subject_tag = x;").send(MAIL)
    assert made.header == ["Received: from client by gateway", "From: Ada <ada@example.net>", "Subject: test"]


@pytest.mark.parametrize(
    ("score", "said", "held"),
    [
        (7.4, "", ""),
        (7.5, "", "spam, score 7.5 of 5"),
        (9.99, "", "spam, score 9.99 of 5"),
        (10, "550 5.7.1 no spam please", ""),
        (20, "discard", ""),
        (1000, "discard", ""),
    ],
)
def test_the_greatest_score_that_is_reached_acts(session, spamd, score, said, held):
    spam(spamd, score)
    one = session('hold_score = 7.5; reject_score = 10; discard_score = 20; reject_text = "no spam please";')
    made = one.send(MAIL)
    assert (made.said, made.held) == (said, held)
    (line,) = [line for line in one.log if "func=pmilter.decided" in line]
    assert f"key=score {score:g} of 5, " in line
    assert ": BAYES_99 GTUBE URIBL_BLACK" in line


def test_check_asks_for_the_score_alone(session, spamd):
    spam(spamd, content=b"")
    made = session("method = check;").send(MAIL)
    assert spamd.asked[0][0][0] == "CHECK SPAMC/1.5"
    assert made.values("X-Spam-Status") == ["Yes, score=7.5 required=5.0"]


HEADERS = (
    b"Received: from client by x\r\nSubject: %s\r\nX-Spam-Checker-Version: SA 4\r\nX-Spam-Status: Yes, tests=\r\n\tA\r\n\r\n"
)


def test_headers_takes_what_spamassassin_writes(session, spamd):
    spam(spamd, content=HEADERS % b"*SPAM* test")
    made = session("method = headers;").send(MAIL)
    assert spamd.asked[0][0][0] == "HEADERS SPAMC/1.5"
    assert made.header == [
        "X-Spam-Checker-Version: SA 4",
        "X-Spam-Status: Yes, tests=\tA",
        "Received: from client by gateway",
        "From: Ada <ada@example.net>",
        "Subject: *SPAM* test",
    ]
    spam(spamd, content=HEADERS % b"test")
    assert session("method = headers; subject_tag = Spam:;").send(MAIL).values("Subject") == ["Spam: test"]


def test_process_replaces_spam_by_what_spamassassin_makes_of_it(session, spamd):
    one = session("method = process; subject_tag = [SPAM];")

    def answer():
        head = spamd.asked[-1][1].removesuffix(MAIL) if spamd.asked else b""
        return head + b"Subject: test\r\nX-Spam-Flag: YES\r\n\r\nreport\r\n"

    one.send(MAIL)
    spam(spamd, content=answer())
    made = one.send(MAIL)
    assert spamd.asked[1][0][0] == "PROCESS SPAMC/1.5"
    assert made.replaced == b"X-Spam-Flag: YES\r\nSubject: [SPAM] test\r\n\r\nreport\r\n"
    spam(spamd, score=1, content=HEADERS % b"test" + b"Hello\r\n")
    made = one.send(MAIL)
    assert (made.replaced, made.values("X-Spam-Checker-Version"), made.values("Subject")) == (None, ["SA 4"], ["test"])


@pytest.mark.parametrize(
    ("option", "rcpts", "user"),
    [
        ("", ["bob@example.org"], "any"),
        ("user_of_recipient = local;", ["bob@example.org"], "bob"),
        ("user_of_recipient = address;", ["bob@example.org"], "bob@example.org"),
        ("user_of_recipient = local;", ["bob@example.org", "carol@example.org"], "any"),
        ("user_of_recipient = local;", ['"a b"@example.org'], "any"),
    ],
)
def test_whose_preferences_hold(session, spamd, option, rcpts, user):
    session(f"user = any; {option}").send(MAIL, rcpts=rcpts)
    assert spamd.asked[0][0][2] == f"User: {user}"
    assert (f"for <{rcpts[0]}>;".encode() in spamd.asked[0][1]) is (len(rcpts) == 1 and " " not in rcpts[0])


@pytest.mark.parametrize(
    ("text", "client", "is_asked"),
    [
        ("", {"ip": "127.0.0.1"}, False),
        ("", {"ip": "::1"}, False),
        ("", {"ip": ""}, False),
        ("", {"user": "ada"}, False),
        ("flags = { ask_authenticated };", {"user": "ada"}, True),
        ("not_asked = { 192.0.2.0/24 };", {"ip": "192.0.2.1"}, False),
        ("not_asked = { 192.0.2.0/24 };", {"ip": "::ffff:192.0.2.1"}, False),
        ("not_asked = { 192.0.2.0/24 };", {"ip": "127.0.0.1"}, True),
    ],
)
def test_who_is_not_asked_about(session, spamd, text, client, is_asked):
    spam(spamd)
    made = session(text).send(MAIL, **client)
    assert bool(spamd.asked) is is_asked
    assert made.values("X-Spam-Flag") == (["YES"] if is_asked else ["NO", "NO"])
    if "user" in client and is_asked:
        assert b" with ESMTPA id" in spamd.asked[0][1]


def test_a_message_that_is_too_big_passes_without_the_marks_of_others(session, spamd):
    one = session("max_size = 1024;")
    made = one.send(MAIL + b"x" * 2000)
    assert (spamd.asked, made.said, made.values("X-Spam-Flag")) == ([], "", [])
    assert any("too big to be looked at" in line for line in one.log)
    assert one.send(b"X-Spam-Level: *\r\nX: " + b"y" * 3000 + b"\r\n\r\n").values("X-Spam-Level") == []


def test_a_large_message_arrives_whole(session, spamd):
    message = MAIL + b"0123456789\r\n" * 30000
    session().send(message, size=32768)
    assert spamd.asked[0][1].endswith(message)


ANSWERS = [b"", b"SPAMD/1.1 0 EX_OK\r\n\r\n", b"SPAMD/1.0 75 timeout\r\n", b"garbage" * 100000, reply(7, 5, TESTS)[:-3]]


@pytest.mark.parametrize("answer", ANSWERS, ids=range(len(ANSWERS)))
def test_without_an_answer_mail_passes_or_comes_again(session, spamd, answer):
    spamd.answer = answer
    one = session()
    made = one.send(MAIL)
    assert (made.said, made.values("X-Spam-Flag")) == ("", [])
    assert any("sevr=WARN, func=pmilter.no_answer" in line and f"server=127.0.0.1:{spamd.port}, " in line for line in one.log)
    assert session("without_spamd = tempfail;").send(MAIL).said == "451 4.7.1 Message cannot be looked at now, try again later"


def test_the_next_server_is_asked_and_a_hanging_one_leaves_it_time(session, spamd, tmp_path):
    with socket.socket() as closed, FakeSpamd(tmp_path / "sock") as hanging:
        closed.bind(("127.0.0.1", 0))
        hanging.answer = None
        spam(spamd)
        places = [f"port = {closed.getsockname()[1]};", hanging.conf, spamd.conf]
        one = session("timeout = 1s; connect_timeout = 1s;", " ".join(f"spamd {{ {place} }}" for place in places))
        assert one.send(MAIL).values("X-Spam-Flag") == ["YES"]
    failed = [line for line in one.log if "func=pmilter.no_answer" in line]
    assert ["connection refused" in failed[0], "no answer in time" in failed[1]] == [True, True]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("reject_score = many;", "1:16: reject_score: many is no score such as 15 or 7.5"),
        ("reject_score = 5; hold_score = 5;", "1:19: hold_score: is that of reject_score, which would act alone; change one"),
        ('spamd { path = "/x"; }', "1:9: path: a spamd with a path has type = unix;"),
        ("spamd { type = unix; }", "1:1: a spamd of type unix needs path"),
        ("spamd { port = 0; }", "1:16: port: 0 cannot be connected to"),
        ("connect_timeout = 2m;", "1:1: connect_timeout: is longer than timeout"),
        ('user = "a b";', "1:8: user: a b is no user"),
        ('reject_text = "caf\u00e9";', "1:15: reject_text: has to be 1 to 100 printable characters of ASCII"),
        ("method = guess;", "1:10: method: guess is not known; "),
        ("max_sise = 1MB;", "1:1: unknown option max_sise outside of all sections; did you mean max_size?"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path, text, told):
    file = tmp_path / "conf"
    file.write_text(text)
    with pytest.raises(Meta1Error) as raised:
        read_spamd_settings(file)
    assert f"{file}:{told}" in raised.value.cause


def test_the_sample_is_right():
    settings = read_spamd_settings(ROOT / "contrib/filters/etc/milter-spamd.conf")
    assert (settings.limits, settings.subject_tag) == (((15.0, "reject"),), "[SPAM]")


def test_the_program_reads_its_file_again(tmp_path, spamd):
    with FilterProgram("meta1g_filters.spamd.main", tmp_path, f"spamd {{ {spamd.conf} }}") as program:
        program.reload("reject_score = x;")
        program.wait_log("sevr=ERROR, func=pmilter.conf_wrong", "x is no score")
        program.reload("reject_score = 7;")
        program.wait_log("func=pmilter.conf,")
        assert program.check() == (0, "")
