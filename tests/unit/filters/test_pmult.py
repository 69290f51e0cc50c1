"""pmult between a real smtps process and two filters of sendmail 8: what they hear, and what becomes of what they say."""

import contextlib

import pytest

from meta1g.milter.macros import MACROS
from meta1g.rcb.smtps_qmgr import CloseTransaction, NewRecipient, NewTransaction
from meta1g.rcb.smtps_smar import Checks
from meta1g_filters.pmult.settings import read_settings
from tests.fakes.filter_program import FilterProgram
from tests.fakes.milter import FakeMilter, summary
from tests.fakes.smtps_process import SmtpsProcess
from tests.unit.smtps.filterscenes import (  # noqa: F401  tests of both kinds of filters
    HEADER,
    MESSAGE,
    OWN,
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

MODULE = "meta1g_filters.pmult.main"
BIG_BODY = (b"0123456789" * 9 + b"\r\n") * 9000
#: What depends on TLS and AUTH, which tests/unit/smtps/test_filter_macros.py has, with the values that pmult is told.
SECRET = {"tls_version", "cipher", "cipher_bits", "alg_bits", "verify"} | {
    f"{kind}_{of}" for kind in ("cert", "cn") for of in ("subject", "issuer")
} | {"auth_type", "auth_authen", "auth_author"}  # fmt: skip


def conf(a, b, action="tempfail", timeout="30s"):
    times = f"reply_timeout = {timeout}; end_timeout = {timeout}; connect_timeout = {timeout};"
    return f"""
milter a {{ {a.conf} {times} default_action = {action}; macros = {{ "daemon_name=ORIGINATING" }}; }}
milter b {{ {b.conf} }}
"""


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    directory = tmp_path_factory.mktemp("x")
    with contextlib.ExitStack() as stack:
        a = stack.enter_context(FakeMilter(directory, "a"))
        b = stack.enter_context(FakeMilter(directory, "b", tcp=True))
        pmult = stack.enter_context(FilterProgram(MODULE, directory, conf(a, b)))
        options = f"policy_milter {{ {pmult.conf} }}"
        smtps = stack.enter_context(SmtpsProcess(directory / "q", options, checks=Checks.RCPT | Checks.CLIENT))
        smtps.wait_log(r"func=smtps\.policy, ")
        yield smtps, pmult, a, b


@pytest.fixture
def scene(everything):
    """All of them, and filters that agree with everything."""
    smtps, _pmult, a, b = everything
    for one in (a, b):
        one.turn += 1
        one.script()
    for file in smtps.content_files():
        file.unlink()
    smtps.qmgr.messages.clear()
    return smtps, a, b


def talk(scene, message=MESSAGE, start="250 2.0.0", rcpts=("r@example.org",)):
    """Sends a message; gives what both filters heard."""
    smtps, a, b = scene
    with smtps.client() as client:
        client.message(message, start, rcpts)
        quit_(client)
    return a.heard(), b.heard()


def test_filters_get_their_macros(scene):
    smtps, a, _b = scene
    a.script(negotiate={"lists": [[stage, " ".join(MACROS)] for stage in range(7)]})
    heard, _ = talk(scene, b"Message-ID: <1@x>\r\n" + MESSAGE)
    got = {name.strip("{}"): value for one in heard if one[0] == "MACRO" for name, value in one[2]}
    assert MACROS - set(got) == SECRET
    assert (got["daemon_name"], got["j"], got["s"], got["r"]) == ("ORIGINATING", "mx.example", "client.example", "ESMTP")
    assert (got["msg_id"], got["c"], got["f"], got["rcpt_host"]) == ("<1@x>", "0", "s@example.org", "example.org")
    assert got["daemon_port"] == str(smtps.port)
    stored(smtps)


# -- decisions


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "HEADER", "BODY", "BODYEOB"])
def test_a_message_is_discarded_wherever_a_filter_says_so(scene, step):
    smtps, a, b = scene
    b.script(answers={step: [["DISCARD"]]})
    with smtps.client() as client:
        client.message(MESSAGE)
        b.script()
        client.command("RSET", "250")
        quit_(client)
    a.heard(), b.heard()
    assert smtps.content_files() == []
    assert smtps.qmgr.of(CloseTransaction) == []


def test_one_that_has_decided_hears_no_more_and_the_other_goes_on(scene):
    _smtps, a, _b = scene
    a.script(answers={"MAIL": [["ACCEPT"]]})
    heard, other = talk(scene)
    assert kinds(heard) == [*WHOLE[:4], "QUIT"]
    assert kinds(other) == WHOLE
    stored(scene[0])


def test_unknown_commands_and_refused_recipients_are_told(scene):
    smtps, a, b = scene
    a.script(answers={"UNKNOWN": OWN}, negotiate={"steps": 0x800})
    with smtps.client() as client:
        client.command("FOO bar", "554 5.7.9 own words")
        client.command("MAIL FROM:<s@example.org>", "250")
        client.command("RCPT TO:<no@refused.example>", "550 5.1.1")
        quit_(client)
    heard = a.heard()
    assert ["UNKNOWN", "FOO bar"] in heard
    assert ["RCPT", ["<no@refused.example>"]] in heard
    macros = [dict(map(tuple, one[2])) for one in heard if one[:2] == ["MACRO", "RCPT"]]
    assert (macros[0]["{rcpt_mailer}"], macros[0]["{rcpt_host}"]) == ("error", "5.1.1")
    assert "RCPT" not in kinds(b.heard())


# -- changes


def test_the_next_filter_sees_what_the_first_made_of_the_message_and_the_file_has_all(scene):
    smtps, a, b = scene
    a.script(
        answers={
            "BODYEOB": [
                ["ADDHEADER", "X-Last", "a"],
                ["INSHEADER", 1, "X-First", "a\n b"],
                ["CHGHEADER", 1, "Subject", "changed"],
                ["REPLBODY", "new\nbody\r\n"],
                ["CONTINUE"],
            ]
        }
    )
    b.script(answers={"BODYEOB": [["CHGHEADER", 1, "X-Last", ""], ["ADDHEADER", "X-B", "b"], ["CONTINUE"]]})
    _, other = talk(scene)
    assert [one[1:] for one in other if one[0] == "HEADER"] == [
        ["X-First", "a\n b"],
        ["From", "a@example.org"],
        ["Subject", "changed"],
        ["X-Last", "a"],
    ]
    assert [one[1] for one in other if one[0] == "BODY"] == ["new\r\nbody\r\n"]
    wanted = b"X-First: a\r\n b\r\nFrom: a@example.org\r\nSubject: changed\r\nX-B: b\r\n\r\nnew\r\nbody\r\n"
    assert stored(smtps) == wanted


def test_a_field_above_our_received_field_is_above_it(scene):
    smtps, a, _b = scene
    a.script(answers={"BODYEOB": [["INSHEADER", 0, "X-Top", "t"], ["CONTINUE"]]})
    talk(scene)
    (file,) = smtps.content_files()
    assert file.read_bytes().startswith(b"X-Top: t\r\nReceived: ")
    file.unlink()


def test_a_big_message_is_told_in_whole_and_again_and_may_be_replaced_by_another(scene):
    smtps, a, b = scene
    piece = "y" * 78 + "\r\n"
    a.script(answers={"BODYEOB": [*([["REPLBODY", piece * 800]] * 8), ["CONTINUE"]]})
    heard, other = talk(scene, HEADER + b"\r\n" + BIG_BODY)
    assert sum(int(one[1].split()[0]) for one in heard if one[0] == "BODY") == len(BIG_BODY)
    new = piece.encode() * 6400
    assert next(one[1] for one in other if one[0] == "BODY") == summary(new[:65535])
    assert stored(smtps) == HEADER + b"\r\n" + new
    a.script(), b.script()
    talk(scene, HEADER + b"\r\n" + BIG_BODY)
    assert stored(smtps) == HEADER + b"\r\n" + BIG_BODY


def test_the_envelope_is_changed_and_the_last_word_counts(scene):
    smtps, a, b = scene
    a.script(
        answers={
            "BODYEOB": [
                ["ADDRCPT", "bob"],
                ["ADDRCPT_PAR", "carl@example.org", "NOTIFY=NEVER"],
                ["DELRCPT", "<r@example.org>"],
                ["DELRCPT", "<s@example.org>"],
                ["CHGFROM", "<x@example.org>"],
                ["CONTINUE"],
            ]
        }
    )
    b.script(
        answers={
            "BODYEOB": [
                ["ADDRCPT", "<r@EXAMPLE.org>"],
                ["DELRCPT", "bob"],
                ["CHGFROM", "<y@example.org>", "RET=HDRS"],
                ["CONTINUE"],
            ]
        }
    )
    talk(scene, rcpts=("r@example.org", "s@example.org"))
    stored(smtps)
    smtps.qmgr.wait_for(CloseTransaction)
    messages = smtps.qmgr.messages
    at = max(index for index, msg in enumerate(messages) if isinstance(msg, NewTransaction))
    assert (messages[at].mail, messages[at].ret) == ("y@example.org", "HDRS")
    rcpts = [(one.rcpt, one.notify) for one in messages[at:] if isinstance(one, NewRecipient)]
    assert rcpts == [("r@example.org", None), ("carl@example.org", "NEVER")]


def test_quarantine_is_told_with_who_wants_it(scene):
    smtps, _a, b = scene
    b.script(answers={"BODYEOB": [["QUARANTINE", "vir\x01us"], ["CONTINUE"]]})
    talk(scene)
    stored(smtps)
    assert smtps.qmgr.wait_for(CloseTransaction)[-1].hold == "policy_milter: milter b: vir?us"


# -- without a filter


@pytest.fixture
def acting(everything, scene):
    """Lets pmult act in one way without filter a; afterwards all is as it was."""
    _, pmult, a, b = everything

    def act(action):
        pmult.reload(conf(a, b, action, "1s"))
        pmult.wait_log("func=pmilter.conf,")

    yield act
    act("tempfail")


@pytest.mark.parametrize("fault", ["hang", "die", "trickle", "nonsense", "huge", "disorder"])
def test_a_broken_filter_is_lost_to_its_session_only(scene, acting, everything, fault):
    smtps, a, _b = scene
    acting("tempfail")
    a.script(faults={"RCPT": fault})
    with smtps.client() as client, smtps.client() as other:
        client.command("MAIL FROM:<s@example.org>", "250")
        client.command("RCPT TO:<r@example.org>", "451 4.7.1")
        client.command("RSET", "250")
        client.command("MAIL FROM:<s@example.org>", "451 4.7.1")
        a.script()
        quit_(client)
        other.command("MAIL FROM:<s@example.org>", "250")
        quit_(other)
    assert "key=a" in everything[1].wait_log("func=pmilter.milter_failed,")
    a.turn, scene[2].turn = a.turn + 1, scene[2].turn + 1


@pytest.mark.parametrize("step", ["OPTNEG", "CONNECT", "MAIL", "BODYEOB"])
@pytest.mark.parametrize(("action", "codes"), [("tempfail", "4"), ("reject", "5"), ("accept", "250"), ("quarantine", "250")])
def test_what_comes_without_a_filter_says_its_default_action(scene, acting, step, action, codes):
    smtps, a, b = scene
    acting(action)
    a.script(faults={step: "die"})
    with smtps.client(hello=False) as client:
        greeting = client.reply()
        if greeting.startswith("220"):
            _asked, reply = until_refused(client)
        else:
            reply = greeting
        assert reply.startswith(codes)
    if codes == "250":
        held = smtps.qmgr.wait_for(CloseTransaction)[-1].hold
        assert held == ("policy_milter: milter a failed" if action == "quarantine" else None)
        stored(smtps)
    a.turn, b.turn = a.turn + 1, b.turn + 1


# -- the configuration


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no filter is asked"),
        ("milter a { }", "section milter a has no socket"),
        ("milter a { socket { type = inet; } }", "needs port"),
        ("milter a { socket { path = x; } } milters = { b };", "there is no section milter b"),
        ('milter a { socket { path = x; } macros = { "x" }; }', "is no macro"),
        ("milter a { socket { path = x; } flags = { abort }; }", "unknown option flags"),
    ],
)
def test_a_wrong_configuration_is_told(tmp_path, text, told):
    code, said = FilterProgram(MODULE, tmp_path, text).check()
    assert code == 78
    assert told in said


def test_paths_are_relative_to_the_file(tmp_path):
    text = "milter a { socket { path = x; } } milter b { socket { port = 9; } } milters = { b, a };"
    (tmp_path / "pmult.conf").write_text(text)
    made = read_settings(tmp_path / "pmult.conf")
    assert [one.address for one in made.milters] == [("127.0.0.1", 9), str(tmp_path / "x")]
