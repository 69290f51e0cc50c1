"""An address resolver for tests of smtps: accepts everything unless told otherwise."""

from collections.abc import Callable
from pathlib import Path

from meta1g.base.reply import Reply
from meta1g.rcb.schema import Message
from meta1g.rcb.smtps_smar import (
    PROTOCOL,
    CheckClient,
    CheckMail,
    CheckRcpt,
    Checks,
    ClientVerdict,
    FindUser,
    SmarHello,
    SmtpsHelloA,
    UserEntry,
    Verdict,
)
from tests.fakes.rcb_server import FakeConn, RcbServer


class FakeSmar(RcbServer):
    """Answers are attributes; client, mail, rcpt and user give a verdict, or None for no answer.

    By default domains of recipients decide: `refused.example` gets 550, `later.example` 451, `drop.example` discard.
    """

    def __init__(self, path: Path, *, checks: Checks = Checks.RCPT) -> None:
        super().__init__(path, PROTOCOL, self._handle)
        self.checks = checks
        self.client: Callable[[CheckClient], ClientVerdict | None] = lambda msg: ClientVerdict(
            reply=Reply(220), client_name="client.example"
        )
        self.mail: Callable[[CheckMail], Verdict | None] = lambda msg: Verdict(reply=Reply(250))
        self.rcpt: Callable[[CheckRcpt], Verdict | None] = by_domain
        self.user: Callable[[FindUser], UserEntry | None] = lambda msg: UserEntry(reply=Reply(550))

    def _handle(self, conn: FakeConn, request_id: int, msg: Message) -> None:
        answer: Message | None = None
        if isinstance(msg, SmtpsHelloA):
            answer = SmarHello(checks=self.checks)
        elif isinstance(msg, CheckClient):
            answer = self.client(msg)
        elif isinstance(msg, CheckMail):
            answer = self.mail(msg)
        elif isinstance(msg, CheckRcpt):
            answer = self.rcpt(msg)
        elif isinstance(msg, FindUser):
            answer = self.user(msg)
        if answer is not None:
            conn.send(answer, request_id)


def by_domain(msg: CheckRcpt) -> Verdict:
    """Decides by the domain of the recipient."""
    domain = msg.rcpt.rpartition("@")[2]
    if domain == "refused.example":
        return Verdict(reply=Reply(550, "5.1.1", "No such user"))
    if domain == "later.example":
        return Verdict(reply=Reply(451, "4.7.1", "Greylisted"))
    return Verdict(reply=Reply(250), flags=4 if domain == "drop.example" else 0)
