"""The connection to SMAR: questions about clients, senders and recipients.

Ref: MeTA1 design, "Functional Specification: AR" (modelled on).
"""

from pathlib import Path
from typing import cast

from meta1g.base.log import Log
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
)
from meta1g.smtps.limits import SMAR_TIMEOUT_US
from meta1g.st.rcbconn import Pending, RcbConn
from meta1g.st.rcblink import RcbLink


class SmarLink:
    """The connection to SMAR, made again for ever.

    Args:
        path: socket of SMAR.
        hello: who we are.
        log: for what goes wrong on the connection.

    Attributes:
        up: SMAR has answered the hello.
        asks_client: SMAR has an opinion on clients.
        asks_mail: SMAR has an opinion on senders.

    Owner: the process (all state threads of it).
    """

    def __init__(self, path: Path, hello: SmtpsHelloA, log: Log) -> None:
        self.up = False
        self.asks_client = False
        self.asks_mail = False
        self._log = log
        self._link = RcbLink(path, PROTOCOL, hello, self._on_up, self._on_down, self._on_message, log)

    def start(self) -> None:
        """Starts connecting.  Switches: no."""
        self._link.start()

    def close(self) -> None:
        """Closes the connection for good.  Switches: no."""
        self._link.close()

    def _on_up(self, reply: Message) -> None:
        checks = cast("SmarHello", reply).checks
        self.asks_client = bool(checks & Checks.CLIENT)
        self.asks_mail = bool(checks & Checks.MAIL)
        self.up = True
        self._log.info("smtps.smar", "connected", count=checks)

    def _on_down(self) -> None:
        if self.up:
            self._log.warn("smtps.smar", "connection lost")
        self.up = False

    def _on_message(self, conn: RcbConn, request_id: int, msg: Message) -> None:
        """Takes nothing: SMAR only answers."""

    def ask(self, msg: CheckClient | CheckMail | CheckRcpt) -> "Pending":
        """Sends a question.  Switches: no.

        Raises:
            TempError: SMAR is away.
        """
        return self._link.ask(msg)

    @staticmethod
    def client_verdict(pending: "Pending") -> ClientVerdict:
        """Waits for the answer to CheckClient.  Switches: yes (waits).

        Raises:
            TempError: the connection broke.
            StError: ETIME after SMAR_TIMEOUT_US, EINTR.
        """
        return cast("ClientVerdict", pending.wait(SMAR_TIMEOUT_US))

    @staticmethod
    def verdict(pending: "Pending") -> Verdict:
        """Waits for the answer to CheckMail or CheckRcpt.  Switches: yes (waits).

        Raises:
            TempError: the connection broke.
            StError: ETIME after SMAR_TIMEOUT_US, EINTR.
        """
        return cast("Verdict", pending.wait(SMAR_TIMEOUT_US))
