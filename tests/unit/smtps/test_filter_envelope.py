"""A real smtps process and a filter that changes the envelope: parameters, addresses without a domain."""

import time
from types import SimpleNamespace

import pytest

from meta1g.milter.changes import AddRcpt, DeleteRcpt
from meta1g.milter.limits import CHANGES_MAX
from meta1g.rcb.smtps_qmgr import CloseTransaction, NewRecipient, NewTransaction
from meta1g.rcb.smtps_smar import Checks
from meta1g.smtp.esmtp import NO_MAIL_PARAMS
from meta1g.smtps.filterenvelope import EnvelopeEdit
from tests.fakes.milter import FakeMilter
from tests.fakes.policymilter import FakePolicy
from tests.fakes.smtps_process import SmtpsProcess
from tests.unit.smtps.filterscenes import MESSAGE, quit_, stored


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    directory = tmp_path_factory.mktemp("e")
    with FakePolicy(directory) as policy, FakeMilter(directory, "a") as milter:
        conf = f"policy_milter {{ {policy.conf} }} milter a {{ {milter.conf} }}"
        with SmtpsProcess(directory / "q", conf, checks=Checks.RCPT) as smtps:
            smtps.wait_log(r"func=smtps\.policy, ")
            yield smtps, policy, milter


@pytest.fixture
def scene(both):
    smtps, policy, milter = both
    policy.script()
    milter.turn += 1
    milter.script()
    for file in smtps.content_files():
        file.unlink()
    smtps.qmgr.messages.clear()
    return both


def sent(scene, *answers, code="250", mail="MAIL FROM:<s@example.org>", rcpts=("r@example.org",)):
    """Sends a message that the milter changes; gives the last announcement and the recipients with it."""
    smtps, policy, milter = scene
    milter.script(answers={"BODYEOB": [*answers, ["CONTINUE"]]})
    with smtps.client() as client:
        client.command(mail, "250")
        for rcpt in rcpts:
            client.command(f"RCPT TO:<{rcpt}>", "250")
        client.command("DATA", "354")
        client.send(MESSAGE + b".\r\n")
        client.expect(code)
        quit_(client)
    policy.heard(), milter.heard()
    if code != "250":
        return None, []
    stored(smtps)
    smtps.qmgr.wait_for(CloseTransaction)
    messages = smtps.qmgr.messages
    at = max(index for index, msg in enumerate(messages) if isinstance(msg, NewTransaction))
    return messages[at], [one for one in messages[at:] if isinstance(one, NewRecipient)]


@pytest.mark.parametrize(
    ("params", "field", "value"),
    [
        ("RET=HDRS", "ret", "HDRS"),
        ("ENVID=QQ314159", "envid", "QQ314159"),
        ("REQUIRETLS", "requiretls", True),
        ("MT-PRIORITY=3", "priority", 3),
        ("BY=600;R", "by_mode", "R"),
        ("XVERP", "verp", "+="),
    ],
)
def test_parameters_of_a_new_sender_have_effect(scene, params, field, value):
    announced, rcpts = sent(scene, ["CHGFROM", "<new@example.org>", params])
    assert (announced.mail, getattr(announced, field)) == ("new@example.org", value)
    assert [one.rcpt for one in rcpts] == ["r@example.org"]


def test_parameters_alone_change_the_envelope_and_others_stay(scene):
    before, _ = sent(scene, mail="MAIL FROM:<s@example.org> ENVID=own RET=FULL BY=100000;N")
    after, _ = sent(scene, ["CHGFROM", "<s@example.org>", "RET=HDRS"], mail="MAIL FROM:<s@example.org> ENVID=own BY=100000;N")
    assert (after.mail, after.ret, after.envid, after.by_mode) == ("s@example.org", "HDRS", "own", "N")
    assert abs(after.by - before.by) < 60
    scene[0].wait_log(rf"smtps\.message,.*ss_ta={after.ta_id},.*ret=HDRS")


def test_the_null_sender_has_no_senders_made_of_it(scene):
    announced, _ = sent(scene, ["CHGFROM", "<new@example.org>", "XVERP"], ["CHGFROM", "<>"])
    assert (announced.mail, announced.verp) == ("", None)


@pytest.mark.parametrize("param", ["SIZE=10", "BODY=7BIT", "SMTPUTF8", "AUTH=x"])
def test_parameters_that_are_the_clients_are_refused_by_name(scene, param):
    sent(scene, ["CHGFROM", "<new@example.org>", param], code="451")
    scene[0].wait_log(rf"smtps\.milter_failed.*a sender with {param.partition('=')[0]}: leave it away")


@pytest.mark.parametrize("param", ["RET=SOME", "FOO=1", "MT-PRIORITY=99"])
def test_parameters_that_are_none_are_refused(scene, param):
    sent(scene, ["CHGFROM", "<new@example.org>", param], code="451")
    scene[0].wait_log("smtps.milter_failed.*a sender with parameters that are none")


@pytest.mark.parametrize("path", ["bob", "<bob>", '<"a@b">', "postmaster"])
def test_an_address_without_a_domain_gets_ours(scene, path):
    bare = path.strip("<>")
    full = bare if bare == "postmaster" else f"{bare}@mx.example"
    _, rcpts = sent(scene, ["ADDRCPT", path], ["ADDRCPT_PAR", "carl", "NOTIFY=NEVER"])
    assert [one.rcpt for one in rcpts] == ["r@example.org", full, "carl@mx.example"]
    announced, rcpts = sent(scene, ["DELRCPT", path], ["CHGFROM", path], rcpts=("r@example.org", full))
    assert (announced.mail, [one.rcpt for one in rcpts]) == (full, ["r@example.org"])


@pytest.mark.parametrize("path", ["<bob@>", "a b", "bob@-x"])
def test_what_is_no_address_with_a_domain_either_is_refused(scene, path):
    sent(scene, ["ADDRCPT", path], code="451")
    scene[0].wait_log("smtps.milter_failed.*is no address")


def test_a_policy_milter_may_leave_the_domain_away_too(scene):
    _smtps, policy, _milter = scene
    policy.script(eom={"add": ["bob"], "remove": ["r@example.org"], "mail": "carl"})
    announced, rcpts = sent(scene)
    assert (announced.mail, [one.rcpt for one in rcpts]) == ("carl@mx.example", ["bob@mx.example"])


U_LABEL, A_LABEL = "r@b\u00fccher.example", "r@XN--bcher-kva.example"


@pytest.mark.parametrize(("one", "other"), [(U_LABEL, A_LABEL), (A_LABEL, U_LABEL), (A_LABEL, A_LABEL.lower())])
def test_a_recipient_is_the_same_however_its_domain_is_written(scene, one, other):
    mail, more = "MAIL FROM:<s@example.org> SMTPUTF8", (one, "x@example.org")
    said = f"<{other.encode().decode('latin-1')}>"  # the filter says each character as a byte
    sent(scene, ["ADDRCPT", said], mail=mail, rcpts=more)
    assert [rcpt.rcpt for rcpt in scene[0].qmgr.of(NewRecipient)] == list(more)
    _, rcpts = sent(scene, ["DELRCPT", said], mail=mail, rcpts=more)
    assert [rcpt.rcpt for rcpt in rcpts] == ["x@example.org"]


def said_as_bytes(address):
    """The form in which the filter says each character as a byte."""
    return address.encode().decode("latin-1")


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ("<x@b\u00fccher.example>", "x@xn--bcher-kva.example"),
        ("x@B\u00dcCHER.example", "x@xn--bcher-kva.example"),
        ("<x@\u4f8b\u3048.example>", "x@xn--r8jz45g.example"),
        ('<"x y"@b\u00fccher.example>', '"x y"@xn--bcher-kva.example'),
    ],
)
def test_a_domain_in_u_labels_is_taken_in_a_message_without_smtputf8(scene, said, taken):
    _, rcpts = sent(scene, ["ADDRCPT", said_as_bytes(said)])
    assert [one.rcpt for one in rcpts] == ["r@example.org", taken]
    announced, rcpts = sent(scene, ["CHGFROM", said], ["DELRCPT", said_as_bytes(said)], rcpts=("r@example.org", taken))
    assert (announced.mail, [one.rcpt for one in rcpts]) == (taken, ["r@example.org"])


@pytest.mark.parametrize("said", ["<\u00fc@b\u00fccher.example>", "\u00fc", "<x@b\u00fc_cher.example>", "<x@\u2024.example>"])
def test_an_address_that_has_no_form_without_smtputf8_is_a_mistake_of_the_filter(scene, said):
    sent(scene, ["ADDRCPT", said_as_bytes(said)], code="451 4.7.1")
    assert scene[0].wait_log(r"func=smtps\.milter_failed, .*is no address")


def test_a_recipient_that_was_named_twice_goes_as_a_whole_and_may_come_back(scene):
    twice = ("r@example.org", "x@example.org", "r@EXAMPLE.org")
    _, rcpts = sent(scene, ["DELRCPT", "<r@Example.org>"], rcpts=twice)
    assert [one.rcpt for one in rcpts] == ["x@example.org"]
    _, rcpts = sent(scene, ["DELRCPT", "<r@Example.org>"], ["ADDRCPT", "<r@example.org>"], rcpts=twice)
    assert [(one.rcpt, one.rcpt_idx) for one in rcpts] == [("x@example.org", 1), ("r@example.org", 3)]
    assert len({one.rcpt_idx for one in rcpts}) == 2


@pytest.mark.parametrize("change", ["ADDRCPT", "DELRCPT"])
@pytest.mark.parametrize(
    "address", ["<\xfc@example.org>", "x@b\xfccher.example", '<"\xfc"@example.org>', "<a..\xfc@example.org>"]
)
def test_an_address_that_is_no_utf_8_is_a_mistake_of_the_filter(scene, change, address):
    """It is what mail comes to whose filter failed, and the session goes on."""
    assert sent(scene, [change, address], mail="MAIL FROM:<s@example.org> SMTPUTF8", code="451 4.7.1") == (None, [])
    assert scene[0].wait_log(r"func=smtps\.milter_failed, .*is no address")


def test_many_recipients_that_a_filter_adds_and_removes_cost_the_same_each():
    session = SimpleNamespace(settings=SimpleNamespace(hostname="mx.example"))
    ta = SimpleNamespace(posted=1000, params=NO_MAIL_PARAMS, ta_id="S" + "0" * 18)
    came = [NewRecipient(ta_id=ta.ta_id, rcpt_idx=number, rcpt=f"r{number}@example.org") for number in range(1000)]
    edit = EnvelopeEdit(SimpleNamespace(announced=None, rcpts=came, dialogue=session), ta)
    begun_s = time.process_time()
    for number in range(CHANGES_MAX):
        edit.apply(AddRcpt(b"<x%d@example.net>" % number))
        edit.apply(DeleteRcpt(b"<r%d@EXAMPLE.ORG>" % (number * 2)))
    assert time.process_time() - begun_s < 1.0  # each compared with all of the others takes many seconds
    assert [one.rcpt for one in edit.rcpts][:2] == ["r1@example.org", "r3@example.org"]
    assert [one.rcpt_idx for one in edit.rcpts] == [*range(1, 1000, 2), *range(1000, 1000 + CHANGES_MAX)]
