"""The filter: one policy milter for SMTPS, any number of filters of sendmail 8 behind it.

    connect -> HELO -> MAIL -> RCPT -> DATA -> content -> end     each told to the filters in order (table.py, message.py)

A filter that decides about the message or the session is not asked any more; the others go on.  What all of them want changed
is asked for at the end (changes.py).

Ref: MeTA1, pmult (modelled on: one pmilter, many milters); docs/filter-pmult.md.
"""

import ipaddress
from pathlib import Path
from typing import Final

from meta1g.base.log import Log
from meta1g.base.reply import Reply, printable
from meta1g.milter.frames import Family, PeerAddress
from meta1g.milter.limits import REPLY_LINES_MAX
from meta1g.milter.machine import FilterOutcome, FilterVerdict
from meta1g.pmilter import ConfiguredFilter, Function, Pmm, PmServer, PmSession, Status
from meta1g.smtp.esmtp import BINARY
from meta1g_filters.pmult import macros
from meta1g_filters.pmult.message import PmultMessage
from meta1g_filters.pmult.seat import MilterSeat
from meta1g_filters.pmult.settings import PmultSettings, read_settings
from meta1g_filters.pmult.table import DISCARD, MilterTable

NAME = "pmult"
_LINE_MAX_CHARS: Final = 900
_BINARY: Final = f"BODY={BINARY}"


class PmultSession:
    """One session: its filters, and the message that is under way.

    Args:
        table: the filters.

    Attributes:
        table: the same.
        message: that is coming, None without.
        binary: each octet of its body counts.
        discard: a filter has discarded the message before its content came.

    Owner: the session.
    """

    __slots__ = ("binary", "discard", "message", "table")

    def __init__(self, table: MilterTable) -> None:
        self.table = table
        self.message: PmultMessage | None = None
        self.binary = self.discard = False

    def end_message(self) -> None:
        """Forgets the message."""
        message, self.message, self.discard = self.message, None, False
        if message is not None:
            message.close()


class PmultFilter(ConfiguredFilter[PmultSettings]):
    """Asks any number of filters of sendmail 8.

    Args:
        path: the configuration file.
        log: of the program.
    """

    name = NAME
    functions = ~Function(0)

    def __init__(self, path: Path, log: Log) -> None:
        super().__init__(path, read_settings, log)
        self.thrmax_h = self.settings.max_threads

    def negotiate(self, server: PmServer) -> bool:
        """Asks for all macros."""
        macros.ask_for_all(server)
        return True

    def connect(self, session: PmSession) -> int:
        """Connects to all filters and tells them who the client is.  Blocks: yes (network)."""

        def lost(one: MilterSeat, why: str) -> None:
            self.log.error(
                "pmilter.milter_failed", why, name=NAME, key=one.settings.name, ss_sess=session.id, client=session.client_addr
            )

        table = MilterTable(self.settings, macros.of_session(session), lost)
        session.data = PmultSession(table)
        verdict = table.open()
        if verdict.reply is None:
            host, peer = _client(session)
            verdict = table.session(lambda one: one.machine.connect(host, peer, one.macros))
        return self._said(session, verdict)

    def helo(self, session: PmSession, helo: str, ehlo: bool) -> int:
        """Blocks: yes (network)."""
        table = _of(session).table
        table.macros |= macros.of_helo(session)
        return self._said(session, table.session(lambda one: one.machine.helo(helo.encode(), one.macros, ehlo=ehlo)))

    def mail(self, session: PmSession, mail: str, args: tuple[str, ...]) -> int:
        """Blocks: yes (network)."""
        own = _of(session)
        own.table.abort()  # who had decided about the last message hears that it is over
        own.end_message()
        own.table.macros |= macros.of_mail(session, mail)
        words = tuple(one.encode() for one in (mail, *args))
        verdict = own.table.each(lambda one: one.machine.mail(words, one.macros))
        own.binary = _BINARY in (one.upper() for one in args)
        return self._said(session, verdict)

    def rcpt(self, session: PmSession, rcpt: str, args: tuple[str, ...]) -> int:
        """Blocks: yes (network)."""
        own = _of(session)
        if own.discard:
            return Status.CONT
        own.table.macros |= macros.of_rcpt(rcpt)
        words = tuple(one.encode() for one in (rcpt, *args))
        verdict = own.table.each(lambda one: one.machine.rcpt(words, one.macros))
        if verdict.outcome is FilterOutcome.DISCARD:
            own.discard = True  # is told at DATA: a policy milter cannot say it here
            return Status.CONT
        return self._said(session, verdict)

    def rcpt_refused(self, session: PmSession, rcpt: str, reply: Reply) -> None:
        """Blocks: yes (network)."""
        own = _of(session)
        own.table.macros |= macros.of_rcpt(rcpt, reply)
        for one in own.table.listening() if not own.discard else ():
            if one.machine.wants_refused_rcpts:
                own.table.ask(one, lambda one: one.machine.refused_rcpt((rcpt.encode(),), reply, one.macros))

    def data(self, session: PmSession) -> int:
        """Blocks: yes (network)."""
        own = _of(session)
        if own.discard:
            return self._said(session, DISCARD)
        verdict = own.table.each(lambda one: one.machine.data(one.macros))
        own.message = PmultMessage(own.table, binary=own.binary)
        return self._said(session, verdict)

    def msg(self, session: PmSession, buf: bytes) -> int:
        """Blocks: yes (network)."""
        message = _message(session)
        verdict = message.feed(buf)
        if verdict.outcome is FilterOutcome.CONTINUE and message.has_enough:
            return Status.SKIP
        return self._said(session, verdict)

    def eom(self, session: PmSession) -> int:
        """Tells the end to all filters in turn, and asks for their changes.  Blocks: yes (network)."""
        own, message = _of(session), _message(session)
        own.table.macros |= macros.told(session)
        verdict = message.finish()
        if verdict.outcome is FilterOutcome.CONTINUE:
            message.changes.hold = message.changes.hold or own.table.hold
            message.changes.ask_for(session, message.replacement())
            if message.replacement() is not None:
                return Status.CONT  # it is kept until it is fetched
        status = self._said(session, verdict)
        own.end_message()
        return status

    def msg_rplc_stat(self, session: PmSession, reply: Reply) -> None:
        """Forgets the message that was fetched."""
        _of(session).end_message()

    def abort(self, session: PmSession) -> None:
        """Tells the filters that the message is over."""
        own = _of(session)
        own.table.abort()
        own.end_message()

    def close(self, session: PmSession) -> None:
        """Ends all connections.  Blocks: yes (network)."""
        own = session.data
        if isinstance(own, PmultSession):
            own.end_message()
            own.table.close()

    def unknown(self, session: PmSession, cmd: str) -> int:
        """Blocks: yes (network)."""
        return self._said(session, _of(session).table.each(lambda one: one.machine.unknown(cmd.encode())))

    def _said(self, session: PmSession, verdict: FilterVerdict) -> int:
        """Gives a decision as a status, with its words."""
        rule = _of(session).table.rule
        if verdict.reply is not None:
            text = _reply_text(verdict.reply)
            self.note(session, text.splitlines()[-1], rule)
            session.setreply(text)
            return verdict.reply.code
        if verdict.outcome is FilterOutcome.DISCARD:
            self.note(session, "discard", rule)
            return Status.DISCARD
        return Status.CONT


def _of(session: PmSession) -> PmultSession:
    assert isinstance(session.data, PmultSession), "a session begins with connect()"
    return session.data


def _message(session: PmSession) -> PmultMessage:
    message = _of(session).message
    assert message is not None, "content comes in a transaction"
    return message


def _client(session: PmSession) -> tuple[bytes, PeerAddress]:
    """Gives name and address of the client as filters are told them."""
    if not session.client_addr:
        return b"localhost", PeerAddress(Family.UNKNOWN)
    address = ipaddress.ip_address(session.client_addr)
    family, literal = (Family.INET, f"[{address}]") if address.version == 4 else (Family.INET6, f"[IPv6:{address}]")
    peer = PeerAddress(family, int(session.getmac(Pmm.CLIENT_PORT) or 0), str(address).encode())
    return (session.client_name or literal).encode(), peer


def _reply_text(reply: Reply) -> str:
    """Gives a reply as setreply() takes it."""
    lines = [printable(line)[:_LINE_MAX_CHARS] for line in reply.lines[:REPLY_LINES_MAX]]
    ecode = f"{reply.ecode} " if reply.ecode else ""
    marks = ["-"] * (len(lines) - 1) + [" "]
    return "\r\n".join(f"{reply.code}{mark}{ecode}{line}" for mark, line in zip(marks, lines, strict=True))
