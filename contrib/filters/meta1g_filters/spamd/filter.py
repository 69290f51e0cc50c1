"""The filter: keeps a message while it arrives, asks spamd at its end, and does what the score says.

Callbacks wait for spamd, so there are many threads.  If none answers, the message passes or the client comes again: see the
option without_spamd.

Ref: docs/filter-spamd.md.
"""

from pathlib import Path
from typing import Final

from meta1g.base.clock import Clock, SystemClock
from meta1g.base.log import Log
from meta1g.pmilter import ConfiguredFilter, Function, HeaderChange, Pmm, PmServer, PmSession, Stage, Status
from meta1g.smtp.header import Field
from meta1g_filters.spamd.client import SpamdClient, SpamdQuestion
from meta1g_filters.spamd.decide import SpamVerdict, forged, spam_verdict
from meta1g_filters.spamd.message import Origin822, SpamdMessage, received
from meta1g_filters.spamd.protocol import SpamdError, SpamdReply, is_user
from meta1g_filters.spamd.settings import SpamdSettings, read_spamd_settings

NAME: Final = "milter-spamd"


class SpamdFilter(ConfiguredFilter[SpamdSettings]):
    """Has messages looked at by SpamAssassin.

    Args:
        path: its configuration.
        log: of the program.
        clock: gives the time.

    Raises:
        ConfigError: the configuration is wrong.
    """

    name = NAME
    functions = Function.HDR_MOD | Function.QUARANTINE | Function.MSG_RPLC

    def __init__(self, path: Path, log: Log, clock: Clock | None = None) -> None:
        super().__init__(path, read_spamd_settings, log)
        self._clock = clock or SystemClock()
        self.thrmax_h = self.settings.max_threads

    def negotiate(self, server: PmServer) -> bool:
        """Asks for TLS, for the user, and for the id of the transaction."""
        server.setmaclist(Stage.MAIL, Pmm.TLS_VERSION, Pmm.AUTH_AUTHEN, Pmm.MAIL_TAID)
        return True

    def helo(self, session: PmSession, helo: str, ehlo: bool) -> int:
        """Wants to know the name only."""
        return Status.CONT

    def mail(self, session: PmSession, mail: str, args: tuple[str, ...]) -> int:
        """Looks who it is from."""
        settings, user = self.settings, session.getmac(Pmm.AUTH_AUTHEN)
        self.abort(session)
        if not settings.asks_about(session.client_addr) or (user and "ask_authenticated" not in settings.flags):
            return Status.ACCEPT
        secure = "S" if session.getmac(Pmm.TLS_VERSION) else ""
        protocol = f"ESMTP{secure}{'A' if user else ''}" if session.ehlo else "SMTP"
        session.data = (settings, SpamdMessage(settings.max_bytes, mail.strip("<>"), protocol))
        return Status.CONT

    def rcpt(self, session: PmSession, rcpt: str, args: tuple[str, ...]) -> int:
        """Wants to know the address only."""
        return Status.CONT

    def msg(self, session: PmSession, buf: bytes) -> int:
        """Keeps content.  Blocks: yes (disk), if it is large."""
        _settings, message = session.data
        return Status.CONT if message.feed(buf) else Status.SKIP

    def abort(self, session: PmSession) -> None:
        """Forgets the message."""
        if session.data is not None:
            session.data[1].close()
            session.data = None

    def close(self, session: PmSession) -> None:
        """Forgets the message."""
        self.abort(session)

    def eom(self, session: PmSession) -> int:
        """Asks and decides.  Blocks: yes (spamd)."""
        settings, message = session.data
        try:
            return self._end(session, settings, message)
        finally:
            self.abort(session)

    def _end(self, session: PmSession, settings: SpamdSettings, message: SpamdMessage) -> int:
        """Blocks: yes (spamd)."""
        header = message.finish()
        if message.too_big:
            self.note(session, "too big to be looked at", f"{message.size_bytes} bytes")
            return self._unmarked(session, header)
        head = self._head(session, message)
        reply = self._asked(session, settings, message, head)
        if reply is None:
            if settings.tempfail:
                session.setreply("451 4.7.1 Message cannot be looked at now, try again later")
                return Status.TEMP
            return self._unmarked(session, header)
        return self._act(session, settings, reply, spam_verdict(settings, reply, header, head), header)

    def _head(self, session: PmSession, message: SpamdMessage) -> bytes:
        ta_id = session.getmac(Pmm.MAIL_TAID) or ""
        origin = Origin822(
            session.client_addr,
            session.client_name,
            session.helo,
            message.protocol,
            session.server.hostname,
            ta_id,
            message.mail,
        )
        return received(origin, _rcpts(session))

    def _asked(self, session: PmSession, settings: SpamdSettings, message: SpamdMessage, head: bytes) -> SpamdReply | None:
        """Gives the answer of the first server that has one.  Blocks: yes (spamd)."""
        question = SpamdQuestion(settings.method, _user(settings, _rcpts(session)), len(head) + message.size_bytes)
        until_s = self._clock.monotonic() + settings.timeout_s
        for others, server in zip(range(len(settings.servers), 0, -1), settings.servers, strict=True):
            now_s = self._clock.monotonic()
            share_s = (until_s - now_s) / others  # time for the others stays, however long this one takes
            client = SpamdClient(server, self._clock, settings.connect_timeout_s, now_s + share_s)
            try:
                return client.ask(question, message.pieces(head))
            except SpamdError as error:
                self.no_answer(session, server.name, error.cause)
        return None

    def _unmarked(self, session: PmSession, header: tuple[Field, ...]) -> int:
        """Lets a message pass that nobody has looked at: fields that say otherwise go."""
        for name, number in forged(header):
            session.hdr_mod(HeaderChange.REMOVE, name, number)
        return Status.CONT

    def _act(
        self,
        session: PmSession,
        settings: SpamdSettings,
        reply: SpamdReply,
        verdict: SpamVerdict,
        header: tuple[Field, ...],
    ) -> int:
        score = f"score {reply.score:g} of {reply.required:g}"
        if verdict.action or reply.is_spam:
            tests = f": {' '.join(reply.tests)}" if reply.tests else ""
            self.note(session, f"{verdict.action or 'mark'}{tests}", score)
        if verdict.action == "reject":
            session.setreply(f"550 5.7.1 {settings.reject_text}")
            return Status.PERM
        if verdict.action == "discard":
            return Status.DISCARD
        if verdict.action == "hold":
            session.quarantine(f"spam, {score}")
        self._change(session, verdict, header)
        return Status.CONT

    def _change(self, session: PmSession, verdict: SpamVerdict, header: tuple[Field, ...]) -> None:
        if verdict.message:
            session.msg_replace([verdict.message])
        else:
            self._unmarked(session, header)
        if verdict.subject is not None:
            has_one = any(field.name.lower() == b"subject" for field in header)
            session.hdr_mod(HeaderChange.REPLACE if has_one else HeaderChange.APPEND, verdict.subject)
        for field in reversed(verdict.fields):
            session.hdr_mod(HeaderChange.PREPEND, field)


def _rcpts(session: PmSession) -> list[str]:
    return [] if session.transaction is None else [one.strip("<>") for one in session.transaction.rcpts]


def _user(settings: SpamdSettings, rcpts: list[str]) -> str:
    """Gives the user whose preferences hold."""
    if settings.user_of_recipient == "none" or len(rcpts) != 1:
        return settings.user
    local, _, domain = rcpts[0].rpartition("@")
    name = rcpts[0] if settings.user_of_recipient == "address" else local or domain
    return name if is_user(name) else settings.user
