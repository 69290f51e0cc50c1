"""The connection to SMAR: questions about clients, senders and recipients.

Ref: MeTA1 design, "Functional Specification: AR" (modelled on).
"""

from functools import partial
from pathlib import Path
from typing import cast

from meta1g.base.errors import Module, TempError
from meta1g.base.log import Log
from meta1g.base.rsc import Rsc
from meta1g.rcb.schema import Message
from meta1g.rcb.smtps_smar import (
    PROTOCOL,
    CheckClient,
    CheckMail,
    CheckRcpt,
    Checks,
    ClientVerdict,
    SmarHello,
    SmtpsHelloA,
    Verdict,
    VerdictFlags,
)
from meta1g.smtps.gate import Gate
from meta1g.smtps.limits import ANY_RCPT_CLIENTS, SMAR_TIMEOUT_US
from meta1g.smtps.link import PeerLink
from meta1g.st.rcbpending import Pending

_Question = CheckClient | CheckMail | CheckRcpt


class SmarLink(PeerLink):
    """The connection to SMAR, made again for ever.

    Args:
        path: socket of SMAR.
        hello: who we are.
        gate: told when the connection is up or down, and where questions wait for it.
        log: for what goes wrong on the connection.

    Attributes:
        asks_client: SMAR has an opinion on clients.
        asks_mail: SMAR has an opinion on senders.
        asks_auth: SMAR knows which senders a user may have.

    Owner: the process (all state threads of it).
    """

    def __init__(self, path: Path, hello: SmtpsHelloA, gate: Gate, log: Log) -> None:
        self.asks_client = False
        self.asks_mail = False
        self.asks_auth = False
        self._any_rcpt: Rsc[str, bool] = Rsc(ANY_RCPT_CLIENTS, Module.SMTPS)
        super().__init__("smar", path, PROTOCOL, hello, gate, log)

    def _on_up(self, reply: Message) -> None:
        checks = cast("SmarHello", reply).checks
        self.asks_client = bool(checks & Checks.CLIENT)
        self.asks_mail = bool(checks & Checks.MAIL)
        self.asks_auth = bool(checks & Checks.AUTH)
        self._log.info("smtps.smar", "connected", count=checks)

    def _on_down(self) -> None:
        self._any_rcpt.clear()  # the next SMAR may think otherwise

    def takes_any_rcpt(self, client_addr: str) -> bool:
        """Tells whether SMAR, as long as it is connected, accepts every recipient of a client: it said so."""
        return self._any_rcpt.get(client_addr) is not None

    def ask(self, msg: _Question) -> "Asked":
        """Sends a question, or keeps it until SMAR is back."""
        return Asked(self, msg, self._try(msg))

    def again(self, msg: _Question) -> Pending:
        """Waits for SMAR and sends a question once more.  Switches: yes (waits).

        Raises:
            TempError: SMAR is away.
            StError: EINTR.
        """
        self._gate.wait(lambda: self.up, self._gate.deadline())
        return self._send(msg)

    def _try(self, msg: _Question) -> Pending | None:
        try:
            return self._send(msg)
        except TempError:
            return None

    def _send(self, msg: _Question) -> Pending:
        pending = self._link.now().ask(msg)
        pending.on_answer = partial(self._learn, msg.client_addr)
        return pending

    def _learn(self, client_addr: str, verdict: Message) -> None:
        if isinstance(verdict, ClientVerdict | Verdict) and verdict.flags & VerdictFlags.ANY_RCPT:
            self._any_rcpt.put(client_addr, True)


class Asked:
    """A question on its way; it is asked once more if the connection breaks, since a restart of SMAR is short.

    Owner: the thread that asked.
    """

    __slots__ = ("_link", "_msg", "_pending")

    def __init__(self, link: SmarLink, msg: _Question, pending: Pending | None) -> None:
        self._link = link
        self._msg = msg
        self._pending = pending

    def client_verdict(self) -> ClientVerdict:
        """Waits for the answer to CheckClient; raises and switches as verdict().  Switches: yes."""
        return cast("ClientVerdict", self._answer())

    def verdict(self) -> Verdict:
        """Waits for the answer to CheckMail or CheckRcpt.  Switches: yes (waits).

        Raises:
            TempError: SMAR is away, or went away twice.
            StError: ETIME after SMAR_TIMEOUT_US, EINTR.
        """
        return cast("Verdict", self._answer())

    def _answer(self) -> Message:
        """Switches: yes."""
        if self._pending is not None:
            try:
                return self._pending.wait(SMAR_TIMEOUT_US)
            except TempError:
                pass  # the connection broke
        return self._link.again(self._msg).wait(SMAR_TIMEOUT_US)
