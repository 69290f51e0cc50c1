"""One SMTP session as a filter sees it (pmse_ctx), and the server it came from (pmss_ctx).

Ref: MeTA1 pmilter API (sm_pmfi_getmac, setreply, hdr_mod, rcpt_add, rcpt_del, mail_set, msg_replace, setmacs modelled on).
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from meta1g.base.dataclass import dataclass
from meta1g.base.reply import NO_REPLY, Reply
from meta1g.milter.replycode import parse_reply
from meta1g.pmilter.modify import ModificationError, Modifications
from meta1g.pmilter.stages import MACRO_STAGES, STAGES
from meta1g.rcb.smtps_pmilter import (
    PM_MACROS_MAX,
    PMILTER_CHUNK_SIZE,
    Capability,
    Function,
    HeaderChange,
    MacroValue,
    Pmm,
    Stage,
)

_PRINTABLE: Final = re.compile(r"[ -~\r\n]*")


class PmServer:
    """A server that is connected: what it offers, what the filter wants of that (pmss_ctx).

    Args:
        hostname: name of the server.
        offered: what it can send.
        offered_functions: what a filter may change there.
        capabilities: what the filter wants to be sent; negotiate() may change it.
        functions: what it wants to change; negotiate() may change it.

    Attributes:
        macros: what the filter asks for at each stage.
        data: for the filter.

    Owner: the connection; changed before its first session only.
    """

    def __init__(
        self, hostname: str, offered: Capability, offered_functions: Function, capabilities: Capability, functions: Function
    ) -> None:
        self.hostname = hostname
        self.offered = offered
        self.offered_functions = offered_functions
        self.capabilities = capabilities
        self.functions = functions
        self.macros: dict[Stage, tuple[Pmm, ...]] = {}
        self.data: Any = None

    def setmaclist(self, stage: Stage, *macros: Pmm) -> None:
        """Asks for macros at a stage, which is then sent too (sm_pmfi_setmacs); to be called by negotiate().

        Raises:
            ValueError: a macro has no value at this stage, or there are more than PM_MACROS_MAX.
        """
        for macro in macros:
            if stage not in MACRO_STAGES[macro]:
                stages = ", ".join(one.name for one in MACRO_STAGES[macro])
                raise ValueError(f"macro {macro.name} is known at {stages}, not at {stage.name}")
        if len(macros) > PM_MACROS_MAX:
            raise ValueError(f"{len(macros)} macros at {stage.name}; at most {PM_MACROS_MAX} are possible")
        self.macros[stage] = macros
        self.capabilities |= STAGES[stage].capability

    def lacks(self) -> str:
        """Names what the filter cannot do without and the server does not have; empty if all is there."""
        missing = self.capabilities & ~self.offered & ~Capability.RCPT_ST
        names = [one.name or "" for one in (*missing, *(self.functions & ~self.offered_functions))]
        return " ".join(names)


@dataclass(slots=True)
class PmTransaction:
    """One transaction: id, sender and recipients, with their brackets.  Owner: the session."""

    ta_id: str
    mail: str
    rcpts: list[str]


def reply_of(text: str) -> Reply:
    r"""Reads a reply as setreply() takes it: `450 4.3.2 text`, or several lines `450-4.3.2 text` with CR LF or LF between them.

    Raises:
        ValueError: it is none of 4xx or 5xx in printable ASCII, or its lines do not belong together.
    """
    text = text.rstrip("\r\n")
    if not _PRINTABLE.fullmatch(text):
        raise ValueError(f"not a reply of 4xx or 5xx in printable ASCII: {text[:80]!r}")
    try:
        return parse_reply(text.encode())
    except ValueError as error:
        raise ValueError(f"not a reply: {error}: {text[:80]!r}") from None


class PmSession:
    """One SMTP session (pmse_ctx).

    Args:
        server: where it takes place.
        session_id: its id, as in the logs of the gateway.
        client_addr: IPv4 or IPv6 address of the client, empty for a local one.
        client_name: its name, empty if it is not known.

    Attributes:
        helo: what the client calls itself; known to a filter that has a callback helo().
        ehlo: it said EHLO.
        transaction: the open transaction, None without; its recipients are known to a filter that has a callback rcpt().
        data: for the filter.

    Owner: the session: its callbacks run one at a time.
    """

    def __init__(self, server: PmServer, session_id: str, client_addr: str = "", client_name: str = "") -> None:
        self.server = server
        self.id = session_id
        self.client_addr = client_addr
        self.client_name = client_name
        self.helo = ""
        self.ehlo = False
        self.transaction: PmTransaction | None = None
        self.data: Any = None
        self.reply: Reply = NO_REPLY
        self.changes: Modifications | None = None
        self.pieces: Iterator[bytes] | None = None
        self._macros: dict[int, str] = {}

    def note_macros(self, macros: tuple[MacroValue, ...]) -> None:
        """Keeps the values that came with a stage."""
        self._macros.update((one.macro, one.value) for one in macros)

    def getmac(self, macro: Pmm) -> str | None:
        """Gives the value of a macro that was asked for at this stage or an earlier one, None without (sm_pmfi_getmac)."""
        return self._macros.get(macro)

    def setreply(self, text: str) -> None:
        """Sets the words of the reply that the status of this callback stands for (sm_pmfi_setreply).

        Args:
            text: `550 5.7.1 text`; its code is that of the status, else the callback has failed.

        Raises:
            ValueError: see reply_of().
        """
        self.reply = reply_of(text)

    def hdr_mod(self, change: HeaderChange, field: str | bytes, position: int = 0) -> None:
        """Changes the header (sm_pmfi_hdr_mod); only in eom(), as the other changes.

        Args:
            change: PREPEND: first of all; INSERT: before field number `position` of the header; APPEND: last of all; REPLACE,
                REMOVE: field number `position` of those of this name.
            field: `Name: value`; to remove one `Name` is enough.
            position: counted from 0.

        Raises:
            ModificationError: it is not possible; what was asked for before still holds.
        """
        self._changes().change_header(change, position, field.encode() if isinstance(field, str) else field)

    def rcpt_add(self, rcpt: str, *args: str) -> None:
        """Adds a recipient (sm_pmfi_rcpt_add); raises as hdr_mod().

        Args:
            rcpt: one without a domain gets the name of the gateway.
            args: parameters as in RCPT, `NOTIFY=NEVER`.
        """
        self._changes().add_rcpt(rcpt, args)

    def rcpt_del(self, rcpt: str) -> None:
        """Removes a recipient (sm_pmfi_rcpt_del); raises as hdr_mod()."""
        self._changes().remove_rcpt(rcpt)

    def mail_set(self, mail: str, *args: str) -> None:
        """Sets another sender (sm_pmfi_mail_set), with parameters as in MAIL; raises as hdr_mod()."""
        self._changes().set_mail(mail, args)

    def msg_replace(self, pieces: Iterable[bytes]) -> None:
        """Lets another message take the place of this one, header and body (sm_pmfi_msg_replace); raises as hdr_mod().

        Args:
            pieces: the message, lines end in CR LF; they are asked for one by one when the server takes them, after eom()
                has returned.
        """
        self._changes().replace()
        self.pieces = _chunks(pieces)

    def quarantine(self, reason: str) -> None:
        """Has the message accepted and held until an operator releases it; raises as hdr_mod().

        Args:
            reason: is shown by mailq; 1 to 200 printable characters.
        """
        self._changes().hold(reason)

    def _changes(self) -> Modifications:
        if self.changes is None:
            raise ModificationError("a message can be changed in eom() only")
        return self.changes

    def end_transaction(self) -> None:
        """Forgets the transaction and what was to be done with it."""
        self.transaction = None
        self.pieces = None
        self.changes = None


def _chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Gives pieces that fit a message; large ones in parts."""
    for piece in pieces:
        for begin in range(0, len(piece), PMILTER_CHUNK_SIZE):
            yield piece[begin : begin + PMILTER_CHUNK_SIZE]
