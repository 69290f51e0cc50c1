"""The connection to SMAR: questions about clients, senders and recipients.

Ref: MeTA1 design, "Functional Specification: AR" (modelled on).
"""

import errno
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
    FindUser,
    SmarHello,
    SmtpsHelloA,
    UserEntry,
    Verdict,
    VerdictFlags,
)
from meta1g.smtps.gate import Gate
from meta1g.smtps.limits import ANY_RCPT_CLIENTS, SMAR_TIMEOUT_US
from meta1g.smtps.link import PeerLink
from meta1g.st import StError
from meta1g.st.rcbpending import Pending

_Question = CheckClient | CheckMail | CheckRcpt | FindUser


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

    def user(self, name: str, timeout_us: int) -> UserEntry:
        """Asks what is stored of the password of a user.  Switches: yes (waits).

        Args:
            name: of the user, in lower case.
            timeout_us: how long that may take.

        Raises:
            TempError: SMAR is away, or does not answer in time.
            StError: EINTR.
        """
        try:
            return cast("UserEntry", self.ask(FindUser(name=name)).answer(timeout_us))
        except StError as error:
            if error.errno != errno.ETIME:
                raise
            raise TempError(Module.SMTPS, "SMAR does not answer in time") from error

    def again(self, msg: _Question) -> Pending:
        """Waits for SMAR and sends a question once more.  Switches: yes (waits).

        Raises:
            TempError: SMAR is away.
            StError: EINTR.
        """
        self._gate.wait(lambda: self.up or self._gate.closed, self._gate.deadline())
        return self._send(msg)

    def _try(self, msg: _Question) -> Pending | None:
        try:
            return self._send(msg)
        except TempError:
            return None

    def _send(self, msg: _Question) -> Pending:
        pending = self._link.now().ask(msg)
        if not isinstance(msg, FindUser):
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
        return cast("ClientVerdict", self.answer(SMAR_TIMEOUT_US))

    def verdict(self) -> Verdict:
        """Waits for the answer to CheckMail or CheckRcpt.  Switches: yes (waits).

        Raises:
            TempError: SMAR is away, or went away twice.
            StError: ETIME after SMAR_TIMEOUT_US, EINTR.
        """
        return cast("Verdict", self.answer(SMAR_TIMEOUT_US))

    def answer(self, timeout_us: int) -> Message:
        """Waits for the answer, as verdict() does, for as long as is said.  Switches: yes (waits)."""
        if self._pending is not None:
            try:
                return self._pending.wait(timeout_us)
            except TempError:
                pass  # the connection broke
        return self._link.again(self._msg).wait(timeout_us)
