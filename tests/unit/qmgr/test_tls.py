"""TLS as qmgr sees it: sessions of different demands, recipients that may not go to a server, messages that ask for less."""

import json
from dataclasses import replace

import pytest

from meta1g.base.reply import Reply
from meta1g.base.tlspolicy import TlsLevel, TlsPolicy
from meta1g.qmgr import dsn
from meta1g.qmgr.resolve import relaxed
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.envelope import DsnRcpt, RcptFlags
from meta1g.rcb.qmgr_smar import Members, Route, Unresolved
from meta1g.rcb.smtpc_qmgr import Retry
from tests.fakes.envelopes import rcpt, ta
from tests.fakes.qmgr_peers import Ctl, route
from tests.fakes.qmgr_system import settings, wait_until

A, B = "192.0.2.1", "192.0.2.2"
DANE = TlsPolicy(TlsLevel.DANE, names=("mx.example",), server_name="mx.example", source="TLSA")
FIXED = TlsPolicy(TlsLevel.VERIFY, names=("mx.example",), fixed=True, source="tls_policy x")


def with_tls(answer, policy):
    return replace(
        answer, servers=tuple(replace(one, tls=policy.demands(), tls_source=policy.source) for one in answer.servers)
    )


def test_sessions_of_different_demands_are_kept_apart(qmgr):
    smar = qmgr.smar()
    smar.answers |= {"may.example": route(A), "dane.example": with_tls(route(A), DANE)}
    agent = qmgr.agent()
    smtps = qmgr.smtps()
    for name in ("may", "dane", "may", "dane"):
        smtps.mail(f"r@{name}.example")
        qmgr.wait_empty()
    assert [job.msg.server[0].tls for job in agent.jobs] == ["", DANE.demands()] * 2
    first, second, *again = [job.msg.session_id for job in agent.jobs]
    assert first != second
    assert again == [first, second]
    with Ctl(qmgr.queue / "qmgr/control") as client:
        assert sorted((row["server"], row["tls"]) for row in client.ask("destinations")) == [(A, "dane"), (A, "may")]


def test_what_is_demanded_is_kept_once_however_many_servers_and_recipients_have_it(qmgr):
    smar = qmgr.smar()
    smar.answers |= {"one.example": with_tls(route(A, B), DANE), "two.example": with_tls(route(A, B), DANE)}
    qmgr.agent(script=lambda job: None)
    qmgr.smtps().mail("r@one.example", "r@two.example")
    wait_until(lambda: list(qmgr.states().values()).count("SCHEDULED") == 2, "they are on their way")
    with qmgr.context.active.lock:
        kept = [one.tls for it in qmgr.aq.tas() for rcpt in it.rcpts.values() for one in rcpt.servers]
    assert kept == [DANE.demands()] * 4
    assert len(set(map(id, kept))) == 1


@pytest.mark.parametrize("code", [451, 554])
def test_the_next_server_is_tried_for_those_who_may_not_go_to_one(qmgr, code):
    qmgr.smar().answers["a.example"] = route(A, B)
    refused = {"secret@a.example": code}

    def script(job):
        job.done(rcpts=refused, retry=Retry.OTHER_SERVER) if job.server == A else job.done()

    agent = qmgr.agent(script=script)
    qmgr.smtps().mail("open@a.example", "secret@a.example")
    qmgr.wait_empty()
    assert [(job.server, job.rcpts) for job in agent.jobs] == [
        (A, ["open@a.example", "secret@a.example"]), (B, ["secret@a.example"]),
    ]  # fmt: skip


def test_after_the_last_server_the_code_tells(qmgr):
    qmgr.smar().answers |= {"a.example": route(A, B), "from.example": route(B)}
    refused = {"later@a.example": 451, "never@a.example": 554}

    def script(job):
        job.done(rcpts={one: refused[one] for one in job.rcpts}, retry=Retry.OTHER_SERVER) if job.msg.mail else job.done()

    agent = qmgr.agent(script=script)
    qmgr.smtps().mail("later@a.example", "never@a.example")
    wait_until(lambda: agent.jobs and not agent.jobs[-1].msg.mail, "a report")
    qmgr.wait_deferred(1)
    assert [one.rcpt for one in qmgr.defedb.scan(None, 9)] == ["later@a.example"]
    assert b"never@a.example" in agent.jobs[-1].told


def test_the_configuration_of_a_recipient_goes_with_it(qmgr):
    conf = "tls_requirements { flags = { encrypted }; }"
    qmgr.smar().answers["one@a.example"] = replace(route(A), rcpt_conf=conf)
    agent = qmgr.agent()
    qmgr.smtps().mail("one@a.example", "two@a.example")
    qmgr.wait_empty()
    assert {one.rcpt: one.conf for job in agent.jobs for one in job.msg.rcpts} == {"one@a.example": conf, "two@a.example": ""}


@pytest.mark.parametrize(
    ("policy", "level"), [(DANE, None), (FIXED, FIXED), (TlsPolicy(refused="no answer", source="TLSA"), None)]
)
def test_what_the_other_side_demands_can_be_relaxed_and_what_the_configuration_demands_cannot(policy, level):
    server = ServerAddr(addr=A, port=25, tls=policy.demands(), tls_source=policy.source)
    found = relaxed(server)
    assert found.tls == ("" if level is None else level.demands())
    assert (found is server) == (level is not None)


@pytest.mark.parametrize(("optional", "tls"), [(False, DANE.demands()), (True, "")])
def test_a_message_may_ask_for_less(qmgr, optional, tls):
    qmgr.smar().answers["a.example"] = with_tls(route(A), DANE)
    agent = qmgr.agent()
    qmgr.smtps().mail("r@a.example", tls_optional=optional)
    qmgr.wait_empty()
    assert [job.msg.server[0].tls for job in agent.jobs] == [tls]


# -- explain


@pytest.fixture
def explain(qmgr):
    smar = qmgr.smar()
    with Ctl(qmgr.queue / "qmgr/control") as client:
        wait_until(lambda: client.ask("status")["smar"], "a resolver")

        def ask(answer, word="r@a.example"):
            smar.answers["a.example"] = answer
            code, text, _ = client.command("explain", word)
            return code, json.loads(text) if code == 0 else text

        yield ask


def test_explain_tells_each_server_with_its_demands(explain):
    found = replace(with_tls(route(A, B), DANE), rcpt_conf="x = 1;")
    code, rows = explain(replace(found, servers=(found.servers[0], ServerAddr(addr=B, port=26))), "a.example")
    assert code == 0
    assert [(row["server"], row["addr"], row["port"], row["tls"], row["source"]) for row in rows] == [
        (f"mx-{A}", A, 25, "dane", "TLSA"), (B, B, 26, "may", "nothing else is demanded"),
    ]  # fmt: skip
    assert rows[0]["demands"] == ["smtpc_rcpt_conf: x = 1;"]


def test_explain_tells_why_no_mail_may_go(explain):
    code, (row,) = explain(with_tls(route(A), TlsPolicy(refused="no answer", source="TLSA")))
    assert (code, row["refused"]) == (0, "no answer")


def test_explain_tells_members_and_errors(explain):
    code, rows = explain(Members(members=("x@b.example", "y@b.example")))
    assert (code, [(row["server"], row["da"]) for row in rows]) == (0, [("x@b.example", "alias"), ("y@b.example", "alias")])
    assert explain(Unresolved(reply=Reply(550, "5.1.2", "no such domain"))) == (67, "550 5.1.2 no such domain")
    assert explain(Unresolved(reply=Reply(451, "4.4.3", "later")))[0] == 75
    assert explain(Route(da=0, servers=()))[1] == []


def test_explain_without_a_resolver(qmgr):
    with Ctl(qmgr.queue / "qmgr/control") as client:
        assert client.command("explain", "a.example")[:2] == (75, "address resolver is not available")
        assert client.command("explain")[0] == 64


# -- reports


def test_a_report_about_requiretls_asks_for_it_and_returns_no_body():
    record = rcpt(1, 3, sender="", flags=RcptFlags.IS_BNC, failed=(DsnRcpt(rcpt="x@y.example", reply=Reply(550)),))
    made = {needs: dsn.make(ta(1, ret="FULL", requiretls=needs), record, settings(), 0.0).full for needs in (False, True)}
    assert made == {False: True, True: False}
