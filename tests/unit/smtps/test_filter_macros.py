"""A real smtps process: every macro that a filter of either kind can ask for has its value in one session or another."""

import base64
import smtplib
import ssl

import pytest

from meta1g.milter.macros import DEFAULT_MACROS, MACROS
from meta1g.pmilter.machine import MACRO_NAMES
from meta1g.pmilter.stages import MACRO_STAGES
from meta1g.rcb.smtps_pmilter import Pmm
from meta1g.rcb.smtps_smar import Checks
from meta1g.sasl.stored import make_stored
from tests.fakes.certificates import make_certificate
from tests.fakes.milter import FakeMilter
from tests.fakes.policymilter import FakePolicy
from tests.fakes.smtps_process import WAIT_S, SmtpsProcess

ANN = "ann@example.org"
MESSAGE = b"Received: from a by b\r\nReceived: from b by c\r\nMessage-ID: <1@x>\r\n\r\nbody\r\n"
CONF = """
tls {{ cert_file = {0}/mx.example.pem; key_file = {0}/mx.example.key; CAcert_file = {0}/client.example.pem; }}
auth {{ password_file = {0}/users; failure_delay = 0; }}
policy_milter {{ {1} }}
milter a {{ {2} }}
"""


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    """What both filters heard of one session with TLS, AUTH and a message."""
    directory = tmp_path_factory.mktemp("m")
    for name in ("mx.example", "client.example"):
        make_certificate(directory, name)
    stored = make_stored("SCRAM-SHA-256", "pencil", b"salt" * 4, 4096)
    (directory / "users").write_text(f":a-secret-of-the-file\n{ANN}:{stored}\n")
    policy = FakePolicy(directory)
    policy.script(macros=True)
    with policy, FakeMilter(directory, "a") as milter:
        milter.script(negotiate={"lists": [[stage, " ".join(MACROS)] for stage in range(7)]})
        conf = CONF.format(directory, policy.conf, milter.conf)
        with SmtpsProcess(directory / "q", conf, checks=Checks.RCPT | Checks.CLIENT) as smtps:
            smtps.wait_log(r"func=smtps\.policy, ")
            talk(smtps.port, directory)
            return policy.heard(), milter.heard()


def talk(port, directory):
    context = ssl._create_unverified_context()
    context.load_cert_chain(directory / "client.example.pem", directory / "client.example.key")
    with smtplib.SMTP("127.0.0.1", port, timeout=WAIT_S) as smtp:
        smtp.ehlo("client.example")
        smtp.starttls(context=context)
        smtp.ehlo("client.example")
        initial = base64.b64encode(f"\0{ANN}\0pencil".encode()).decode()
        assert smtp.docmd(f"AUTH PLAIN {initial}")[0] == 235
        smtp.ehlo("client.example")
        assert smtp.docmd("MAIL FROM:<s@example.org> AUTH=boss+2Bx@example.org BY=3600;R")[0] == 250
        assert smtp.rcpt("r@example.org")[0] == 250
        assert smtp.data(MESSAGE)[0] == 250


def test_filters_of_sendmail_get_all(heard):
    got = {name.strip("{}") for one in heard[1] if one[0] == "MACRO" for name, value in one[2] if value}
    assert MACROS - got == set()


def test_what_is_sent_without_being_asked_for_is_among_them():
    assert {name for names in DEFAULT_MACROS.values() for name in names} - MACROS == set()


def test_policy_milters_get_all_at_all_stages_that_they_may_ask_at(heard):
    got = {(Pmm(int(macro)), one[1]) for one in heard[0] if one[0] == "macros" for macro, value in one[2].items() if value}
    asked = {(macro, stage.name) for macro, stages in MACRO_STAGES.items() for stage in stages}
    assert set(MACRO_STAGES) == set(Pmm)
    assert asked - got == set()


def test_the_names_of_both_kinds_are_the_same_macros():
    assert {name for macro, name in MACRO_NAMES.items() if name not in MACROS} == set()
    assert set(MACRO_NAMES) == set(Pmm)


def test_values_are_those_of_the_session(heard):
    got = {name.strip("{}"): value for one in heard[1] if one[0] == "MACRO" for name, value in one[2]}
    assert (got["cn_subject"], got["cn_issuer"], got["verify"]) == ("client.example", "client.example", "OK")
    assert (got["auth_authen"], got["auth_author"], got["auth_type"]) == (ANN, "boss+x@example.org", "PLAIN")
    assert (got["c"], got["r"], got["s"], got["f"]) == ("2", "ESMTPSA", "client.example", "s@example.org")
    assert got["alg_bits"].isdigit()
    assert int(got["alg_bits"]) >= int(got["cipher_bits"])
    assert got["if_name"] == "mx.example"


def test_filters_are_told_all_parameters_of_mail(heard):
    mail = next(one for one in heard[1] if one[0] == "MAIL")
    assert sorted(mail[1]) == ["<s@example.org>", "AUTH=boss+2Bx@example.org", "BY=3600;R"]
