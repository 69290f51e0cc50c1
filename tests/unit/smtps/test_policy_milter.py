"""A real smtps process and a policy milter: what it hears, what its answers come to, what its absence costs."""

import re

import pytest

from meta1g.rcb import smtps_pmilter as pm
from meta1g.rcb.smtps_qmgr import CloseTransaction, NewRecipient, NewTransaction
from meta1g.rcb.smtps_smar import Checks
from tests.fakes.policymilter import FakePolicy
from tests.fakes.rcb_server import RcbServer
from tests.fakes.smtps_process import SmtpsProcess
from tests.unit.smtps.filterscenes import HEADER, MESSAGE, kinds, quit_, stored, until_refused

BIG = HEADER + b"\r\n" + b"0123456789" * 9 + b"\r\n"
CONNECTED = r"func=smtps\.policy, "


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    directory = tmp_path_factory.mktemp("p")
    with FakePolicy(directory) as policy:
        conf = f"policy_milter {{ timeout = 1s; {policy.conf} }}"
        with SmtpsProcess(directory / "q", conf, checks=Checks.RCPT | Checks.CLIENT) as smtps:
            smtps.wait_log(CONNECTED)
            yield smtps, policy


@pytest.fixture
def scene(both):
    smtps, policy = both
    policy.script()
    for file in smtps.content_files():
        file.unlink()
    smtps.qmgr.messages.clear()
    return smtps, policy


def test_it_hears_the_whole_session_and_the_file_is_what_came(scene):
    smtps, policy = scene
    with smtps.client() as client:
        client.message(MESSAGE.replace(b"\r\n\r\n", b"\r\nMessage-ID: <1@x>\r\n\r\n", 1))
        client.command("RSET", "250")
        client.command("MAIL FROM:<s@example.org> SIZE=10", "250")
        client.command("XYZZY", "500")
        quit_(client)
    content = MESSAGE.replace(b"\r\n\r\n", b"\r\nMessage-ID: <1@x>\r\n\r\n", 1)
    assert policy.heard() == [
        ("connect", "127.0.0.1"),
        ("helo", "client.example", True),
        ("mail", "<s@example.org>"),
        ("rcpt", "<r@example.org>"),
        ("data",),
        ("msg", content.decode(), len(content)),
        ("eom", True, "<1@x>"),
        ("mail", "<s@example.org>", "SIZE=10"),
        ("unknown", "XYZZY"),
        ("abort",),
    ]
    assert stored(smtps) == content


def test_quarantine_is_told_to_the_queue_manager(scene):
    smtps, policy = scene
    policy.script(eom={"quarantine": "looks odd"})
    with smtps.client() as client:
        client.message(MESSAGE)
        policy.script()
        quit_(client)
    policy.heard()
    stored(smtps)
    assert smtps.qmgr.of(CloseTransaction)[-1].hold == "policy_milter: looks odd"


def test_content_comes_in_chunks_while_it_arrives(scene):
    smtps, policy = scene
    body = (b"0123456789" * 9 + b"\r\n") * 2000
    with smtps.client() as client:
        client.message(HEADER + b"\r\n" + body)
        quit_(client)
    sizes = [one[2] for one in policy.heard() if one[0] == "msg"]
    assert sum(sizes) == len(HEADER + b"\r\n" + body)
    assert max(sizes) == 32768
    assert stored(smtps) == HEADER + b"\r\n" + body


@pytest.mark.parametrize("step", ["helo", "mail", "rcpt", "data", "msg", "eom"])
@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (550, "550 5.7.1 Refused by a filter"),
        (452, "452 4.7.1 Refused by a filter, try again later"),
        ("554 5.7.9 own words",) * 2,
    ],
)
def test_a_refusal_is_told_at_its_step(scene, step, answer, text):
    smtps, policy = scene
    policy.script(**{step: answer})
    with smtps.client(hello=False) as client:
        client.expect("220")
        asked, reply = until_refused(client)
        quit_(client)
    assert (asked, reply) == ({"helo": "EHLO"}.get(step, step.upper() if step in ("mail", "rcpt", "data") else "end"), text)
    policy.heard()
    assert smtps.content_files() == []
    assert smtps.wait_log(r"reply=\d\d\d, .*map=policy_milter")


def test_421_ends_the_session_and_a_refused_client_is_sent_away(scene):
    smtps, policy = scene
    policy.script(mail=421)
    with smtps.client() as client:
        client.command("MAIL FROM:<s@example.org>", "421")
        client.expect("")
    policy.script(connect="554 5.7.9 not you")
    with smtps.client(hello=False) as client:
        client.expect("554 5.7.9 not you")
        quit_(client)
    assert [kinds(policy.heard()) for _ in range(2)] == [["connect", "helo", "mail", "abort"], ["connect"]]


def test_one_recipient_of_two_is_refused_and_others_are_told(scene):
    smtps, policy = scene
    policy.script(rcpt={"<b@example.org>": "550 5.7.1 not b"})
    smtps.smar.rcpt_codes = {}
    with smtps.client() as client:
        client.command("MAIL FROM:<s@example.org>", "250")
        client.command("RCPT TO:<a@example.org>", "250")
        client.command("RCPT TO:<b@example.org>", "550 5.7.1 not b")
        client.command("DATA", "354")
        client.send(MESSAGE + b".\r\n")
        client.expect("250")
        quit_(client)
    assert [one.rcpt for one in smtps.qmgr.of(NewRecipient)] == ["a@example.org"]
    policy.heard()
    stored(smtps)


@pytest.mark.parametrize(("step", "code"), [("mail", 2), ("data", 2), ("msg", 2), ("eom", 2)])
def test_a_message_is_discarded(scene, step, code):
    smtps, policy = scene
    policy.script(**{step: code})
    with smtps.client() as client:
        client.message(MESSAGE)
        quit_(client)
    policy.heard()
    assert smtps.content_files() == []
    assert smtps.qmgr.of(CloseTransaction) == []


def test_after_accept_no_more_is_asked_of_this_message_or_session(scene):
    smtps, policy = scene
    policy.script(rcpt=1)
    with smtps.client() as client:
        client.message(MESSAGE)
        policy.script(helo=1)
        client.command("EHLO again.example", "250")
        client.message(MESSAGE)
        quit_(client)
    assert kinds(policy.heard()) == ["connect", "helo", "mail", "rcpt", "abort", "helo"]
    for file in smtps.content_files():
        file.unlink()


def test_header_sender_and_recipients_are_changed(scene):
    smtps, policy = scene
    policy.script(
        eom={
            "header": [
                ["PREPEND", 0, "X-First: 1"],
                ["APPEND", 0, "X-Last: 2\n 3"],
                ["REPLACE", 0, "Subject: two"],
                ["REMOVE", 0, "From"],
            ],
            "add": ["new@example.org"],
            "remove": ["<R@EXAMPLE.ORG>", "<r@example.org>"],
            "mail": "other@example.org",
        }
    )
    with smtps.client() as client:
        client.message(MESSAGE)
        quit_(client)
    (file,) = smtps.content_files()
    text = file.read_bytes()
    file.unlink()
    assert text.startswith(b"X-First: 1\r\nReceived: ")
    assert text.endswith(b"\r\nSubject: two\r\nX-Last: 2\r\n 3\r\n\r\nbody\r\n")
    assert b"From: " not in text
    assert smtps.qmgr.of(NewTransaction)[-1].mail == "other@example.org"
    assert smtps.qmgr.of(NewRecipient)[-1].rcpt == "new@example.org"
    policy.heard()


@pytest.mark.parametrize("times", [1, 200_000])
def test_another_message_takes_the_place(scene, times):
    smtps, policy = scene
    policy.script(
        eom={
            "replace": [["Subject: new\r\nX-N", 1], [": 1\r\n\r\n", 1], ["line\r\n", times]],
            "header": [["APPEND", 0, "Z: 1"]],
        }
    )
    with smtps.client() as client:
        client.message(MESSAGE)
        quit_(client)
    assert stored(smtps) == b"Subject: new\r\nX-N: 1\r\nZ: 1\r\n\r\n" + b"line\r\n" * times
    assert policy.heard()[-1] == ("replaced", 250)


@pytest.mark.parametrize(
    ("flags", "at_mail"), [("", "451 4.7.1"), ("flags = { abort };", "421 4.3.2"), ("flags = { accept_but_reconnect };", "250")]
)
@pytest.mark.parametrize("fault", ["hang", "die"])
def test_without_it_its_flags_say_what_becomes_of_the_session_and_it_comes_back(tmp_path, flags, at_mail, fault):
    policy = FakePolicy(tmp_path).start()
    conf = f"policy_milter f {{ timeout = 1s; {policy.conf} {flags} }}"
    try:
        with SmtpsProcess(tmp_path / "q", conf, checks=Checks.RCPT | Checks.CLIENT) as smtps:
            smtps.wait_log(CONNECTED)
            policy.script(mail=fault)
            with smtps.client() as client:
                client.command("MAIL FROM:<s@example.org>", at_mail)
            smtps.wait_log(r"func=smtps\.milter_failed, .*key=f")
            policy.stop()
            smtps.wait_log(r"func=rcb\.down")
            with smtps.client(hello=False) as client:
                client.expect({"4": "421"}.get(at_mail[0], "220"))
            smtps.wait_log(r"func=smtps\.milter_failed, .*it is not there: \w")
            policy.script()
            policy.start()
            smtps.wait_log(CONNECTED, 2)
            with smtps.client() as client:
                client.message(MESSAGE)
                quit_(client)
    finally:
        policy.stop()


def test_a_hung_session_does_not_hold_up_another_one(scene):
    smtps, policy = scene
    policy.script(mail={"<slow@example.org>": "hang"})
    with smtps.client() as slow, smtps.client() as other:
        slow.send(b"MAIL FROM:<slow@example.org>\r\n")
        other.message(MESSAGE)
        slow.expect("451 4.7.1")
        quit_(other)
        slow.command("QUIT", "221")
    stored(smtps)


def test_two_filters_are_passed_in_order(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with FakePolicy(tmp_path / "a") as first, FakePolicy(tmp_path / "b") as second:
        conf = f"policy_milter a {{ {first.conf} }} policy_milter b {{ {second.conf} }}"
        first.script(eom={"header": [["APPEND", 0, "X: 1"]]})
        with SmtpsProcess(tmp_path / "q", conf, checks=Checks.RCPT | Checks.CLIENT) as smtps:
            smtps.wait_log(CONNECTED, 2)
            with smtps.client() as client:
                client.message(MESSAGE)
                quit_(client)
            assert b"X: 1\r\n" in stored(smtps)
        first.heard()
        assert any("X: 1" in one[1] for one in second.heard() if one[0] == "msg")


def test_a_filter_on_a_port(tmp_path):
    from contrib.lib.gateway import free_port

    port = free_port()
    policy = FakePolicy(tmp_path)
    policy.place = f"inet:{port}@127.0.0.1"
    policy.conf = f"socket {{ type = inet; address = 127.0.0.1; port = {port}; }}"
    conf = f"policy_milter {{ {policy.conf} }}"
    with SmtpsProcess(tmp_path / "q", conf, checks=Checks.RCPT | Checks.CLIENT) as smtps, policy:
        smtps.wait_log(CONNECTED)
        policy.script(mail="550 5.7.1 no")
        with smtps.client() as client:
            client.command("MAIL FROM:<s@example.org>", "550 5.7.1 no")


NONSENSE = {
    "what was not offered": lambda msg: pm.PmWanted(name="x", version=pm.PM_VERSION, capabilities=1 << 20, functions=0),
    "another version": lambda msg: pm.PmWanted(name="x", version=0x0300, capabilities=1, functions=0),
    "more macros than there are": lambda msg: pm.PmWanted(
        name="x",
        version=pm.PM_VERSION,
        capabilities=1,
        functions=0,
        macros=(pm.WantedMacro(stage=int(pm.Stage.MAIL), macro=int(pm.Pmm.MAIL_TAID)),) * (pm.PM_MACROS_MAX + 1),
    ),
    "a wrong answer": lambda msg: (
        pm.PmWanted(name="x", version=pm.PM_VERSION, capabilities=3, functions=0)
        if isinstance(msg, pm.PmHello)
        else pm.PmDotVerdict(code=0)
        if isinstance(msg, pm.PmHelo)
        else pm.PmVerdict(code=0)
    ),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_of_a_filter_is_named_and_costs_what_its_flags_say(tmp_path, name):
    def answer(conn, request_id, msg):
        if request_id:
            conn.send(NONSENSE[name](msg), request_id)

    server = RcbServer(tmp_path / "sock", pm.PROTOCOL, answer)
    conf = f'policy_milter n {{ socket {{ type = unix; path = "{server.path}"; }} flags = {{ accept_but_reconnect }}; }}'
    server.start()
    try:
        with SmtpsProcess(tmp_path / "q", conf, checks=Checks.RCPT | Checks.CLIENT) as smtps:
            event = {"a wrong answer": "smtps.policy"}.get(name, "smtps.policy_refused")
            smtps.wait_log(rf"func={re.escape(event)}, .*key=n")
            with smtps.client() as client:
                client.message(MESSAGE)
            smtps.wait_log(r"func=smtps\.milter_failed, .*key=n")
    finally:
        server.stop()
