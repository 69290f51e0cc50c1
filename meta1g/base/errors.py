"""Errors of all modules: temporary, permanent, and bugs.

Modelled on MeTA1's `sm_ret_T`: an error says whether trying again can help, which module it comes from and what
caused it.  Expected answers are values, never exceptions: a refused recipient is an SMTP reply.

Ref: MeTA1 design, "Implementation: Error codes" (modelled on).
"""

from enum import StrEnum
from typing import Final

from meta1g.base.reply import Reply

#: Problems of one file that are told in one run.
TOLD_MAX: Final = 20


class Module(StrEnum):
    """The module an error comes from (modelled on MeTA1's SM_EM_ names)."""

    AQ = "aq"
    CDB = "cdb"
    CONF = "conf"
    DA = "da"
    DEFEDB = "defedb"
    DNS = "dns"
    DSN = "dsn"
    EVTHR = "evthr"
    IBDB = "ibdb"
    IO = "io"
    IQDB = "iqdb"
    LOG = "log"
    MAP = "map"
    MCP = "mcp"
    MILTER = "milter"
    PMILTER = "pmilter"
    QMGR = "qmgr"
    RCB = "rcb"
    SMAR = "smar"
    SMTPC = "smtpc"
    SMTPS = "smtps"
    ST = "st"
    TLS = "tls"


class Meta1Error(Exception):
    """Root of all errors that meta1g raises on purpose.

    Args:
        module: where the error was found.
        cause: what happened and what to do about it, one line, no line ends.
        code: the SMTP reply code this error means to a client, 200 to 599.
        ecode: the enhanced status code (RFC 3463) that goes with it.
    """

    default_code = 451
    default_ecode = "4.3.0"

    def __init__(self, module: Module, cause: str, *, code: int | None = None, ecode: str | None = None) -> None:
        super().__init__(f"{module}: {cause}")
        self.module = module
        self.cause = cause
        self.code = self.default_code if code is None else code
        self.ecode = self.default_ecode if ecode is None else ecode

    @property
    def reply(self) -> Reply:
        """What this error means to a client, in our own words."""
        return Reply(self.code, self.ecode, self.cause)


class TempError(Meta1Error):
    """Trying again later can help: a peer is away, a store is full, a look-up timed out."""


class PermError(Meta1Error):
    """Trying again does not help: the input or the configuration has to change."""

    default_code = 554
    default_ecode = "5.3.0"


class FullError(TempError):
    """A bounded store has no room; the caller answers with a temporary failure (invariant I4)."""

    default_code = 452
    default_ecode = "4.3.1"


class ProtocolError(PermError):
    """A peer sent what the record table does not allow; the connection is closed."""

    def __init__(self, cause: str) -> None:
        super().__init__(Module.RCB, cause)


class UnsendableError(ProtocolError):
    """What we wanted to tell a peer does not fit its record: our mistake, which costs that message."""


class BugError(Meta1Error):
    """An invariant is broken; the process ends through its main program."""
