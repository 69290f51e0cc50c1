"""The filter: SPF at MAIL, DKIM and ARC while the content arrives, DMARC and the decision at its end; or signatures.

    CONNECT, HELO   nothing is asked: the name is kept
    MAIL            trusted or logged in -> signed; else SPF
    content         header -> verifiers, sealer, or signer; body -> hashes
    end             fields of others with our name go; Authentication-Results, ARC set, DKIM-Signature on top; reply

Callbacks wait for DNS, so there are many threads; what they share is the resolver and the collector of reports.
A look-up that fails is never a reason to lose mail: see the option temperror.

Ref: docs/filter-authentication.md; RFC 8601 5, RFC 7208 2.3 and 2.4, RFC 6376 6.
"""

import ipaddress
import random
from pathlib import Path
from typing import Final

from meta1g.base.clock import Clock, SystemClock
from meta1g.base.idn import to_ascii
from meta1g.base.log import Log
from meta1g.pmilter import ConfiguredFilter, Function, HeaderChange, Pmm, PmServer, PmSession, Stage, Status
from meta1g_filters.auth.decide import (
    MANY_AUTHORS,
    QUARANTINE_FIELD,
    AuthVerdict,
    Checked,
    SpfChecked,
    method_results,
    spf_reply,
    summary,
    verdict_of,
)
from meta1g_filters.auth.message import AuthMessage
from meta1g_filters.auth.reporting import row_of
from meta1g_filters.auth.settings import AuthFilterSettings, read_settings
from meta1g_filters.authres.results import FIELD_NAME, compose, has_result
from meta1g_filters.dkim.verify import DkimResult
from meta1g_filters.dmarc.author import AUTHORS_MAX
from meta1g_filters.dmarc.evaluate import DmarcResult, VouchedNames, evaluate, worst
from meta1g_filters.dmarc.record import Disposition
from meta1g_filters.dmarc.rows import collect
from meta1g_filters.dns import FilterResolver, TxtAnswer
from meta1g_filters.spf.evaluate import SpfQuery, check_host
from meta1g_filters.spf.record import SpfCode

NAME: Final = "authfilter"
#: Time that questions take at the end of a message, seconds: for signatures and policies, where each one has a part of it, and
#: for chains of ARC.  Who sends forged mail can use up the parts of their own domains, but not that of the domain they pretend
#: to be.  Our choice: together less than smtps waits for a policy milter.
SIGNATURES_TIME_MAX_S: Final = 8.0
CHAIN_TIME_MAX_S: Final = 5.0
POLICIES_TIME_MAX_S: Final = 12.0
#: Fields with our name that are removed; a message with more is refused.  Our choice: less than a filter may change at once.
_FORGED_MAX: Final = 500


class KeyQuestions:
    """The questions for the keys of one message.

    Args:
        resolver: asks.
        part_s: time of each question, seconds.

    Attributes:
        unanswered: names that nobody could tell anything of; those that were not asked for, since too many others had no
            answer, are none of them.

    Owner: the session.
    """

    def __init__(self, resolver: FilterResolver, part_s: float) -> None:
        self._resolver = resolver
        self._part_s = part_s
        self.unanswered: set[str] = set()

    def txt(self, name: str) -> TxtAnswer:
        """Asks for TXT records.  Blocks: yes (part_s at most)."""
        answer = self._resolver.within(self._part_s).txt(name)
        if answer.status == "temperror":
            self.unanswered.add(name)
        return answer


class AuthFilter(ConfiguredFilter[AuthFilterSettings]):
    """Checks who mail is from, and signs our own.

    Args:
        path: the configuration file.
        log: of the program.
        clock: gives the time of signatures.
    """

    name = NAME
    functions = Function.HDR_MOD | Function.QUARANTINE

    def __init__(self, path: Path, log: Log, clock: Clock | None = None) -> None:
        super().__init__(path, read_settings, log)
        self._clock = clock or SystemClock()
        self.thrmax_h = self.settings.max_threads
        self._full_day = ""

    def negotiate(self, server: PmServer) -> bool:
        """Asks for the user, and for the id of the transaction."""
        server.setmaclist(Stage.MAIL, Pmm.AUTH_AUTHEN, Pmm.MAIL_TAID)
        return True

    def helo(self, session: PmSession, helo: str, ehlo: bool) -> int:
        """Wants to know the name only."""
        return Status.CONT

    def mail(self, session: PmSession, mail: str, args: tuple[str, ...]) -> int:
        """Checks by SPF.  Blocks: yes (DNS)."""
        settings = self.settings
        trusted = settings.is_trusted(session.client_addr) or bool(session.getmac(Pmm.AUTH_AUTHEN))
        spf = self._spf(settings, session, mail.strip("<>")) if not trusted and "spf" in settings.flags else None
        session.data = AuthMessage(settings, trusted=trusted, spf=spf)
        reply = "" if spf is None else spf_reply(settings, spf, session.client_addr)
        return self._told(session, reply, "spf") if reply else Status.CONT

    def _spf(self, settings: AuthFilterSettings, session: PmSession, sender: str) -> SpfChecked:
        """Blocks: yes (DNS)."""
        local, _at, domain = sender.rpartition("@")
        identity, name = ("mailfrom", _ascii(domain)) if sender else ("helo", _ascii(session.helo))
        ip = ipaddress.ip_address(session.client_addr)
        query = SpfQuery(ip, name, f"{local or 'postmaster'}@{name}", session.helo, settings.authserv_id)
        result = check_host(query, settings.resolver, self._clock)
        return SpfChecked(result, identity, sender or session.helo)

    def msg(self, session: PmSession, buf: bytes) -> int:
        """Passes content on."""
        return Status.CONT if _message(session).feed(buf) else Status.SKIP

    def eom(self, session: PmSession) -> int:
        """Changes the header and decides.  Blocks: yes (DNS)."""
        message = _message(session)
        message.finish()
        forged = list(message.forged())
        if len(forged) > _FORGED_MAX:
            return self._told(session, f"550 5.7.1 {len(forged)} fields that pretend to be ours", "forged")
        for name, number in forged:
            session.hdr_mod(HeaderChange.REMOVE, name, number)
        if message.trusted:
            self._sign(session, message)
            return Status.CONT
        checked = self._check(session, message)
        verdict = verdict_of(message.settings, checked)
        self._collect(session, message, checked, verdict)
        self.note(session, summary(checked), "results")
        if verdict.reply:
            return self._told(session, verdict.reply, "dmarc")
        self._mark(session, message, checked, verdict)
        return Status.CONT

    def _sign(self, session: PmSession, message: AuthMessage) -> None:
        if message.signer is not None:
            for field in reversed(message.signer.finish(self._clock.now())):
                session.hdr_mod(HeaderChange.PREPEND, field)

    def _check(self, session: PmSession, message: AuthMessage) -> Checked:
        """Blocks: yes (DNS)."""
        settings, now_s = message.settings, self._clock.now()
        keys = KeyQuestions(settings.resolver, SIGNATURES_TIME_MAX_S / max(1, message.signatures))
        dkim = [] if message.verifier is None else message.verifier.finish(keys.txt, now_s)
        arc, says_pass = None, False
        if message.arc is not None:
            arc = message.arc.finish(settings.resolver.within(CHAIN_TIME_MAX_S).txt, now_s)
            says_pass = bool(message.arc.sets) and has_result(message.arc.sets[0].results, "dmarc", "pass")
        dmarc = self._dmarc(message, dkim, keys) if "dmarc" in settings.flags else None
        return Checked(session.client_addr, message.spf, tuple(dkim), arc, says_pass, dmarc)

    def _dmarc(self, message: AuthMessage, dkim: list[DkimResult], keys: KeyQuestions) -> DmarcResult:
        """Blocks: yes (DNS)."""
        settings, spf = message.settings, message.spf
        authors = [one for one in message.authors if one]
        if not authors or len(authors) > AUTHORS_MAX:
            return DmarcResult("permerror", reason=MANY_AUTHORS if authors else "no address with a domain")
        code, checked = (spf.result.code, spf.result.domain) if spf is not None else (SpfCode.NONE, "")
        known = VouchedNames(
            checked if code is SpfCode.PASS else "",
            [one.domain for one in dkim if one.result == "pass"],
            checked if code is SpfCode.TEMPERROR else "",
            [one.domain for one in dkim if f"{one.selector}._domainkey.{one.domain}" in keys.unanswered],
        )
        part_s, how = POLICIES_TIME_MAX_S / len(authors), settings.organization
        return worst([evaluate(one, known, settings.resolver.within(part_s), how, _percent) for one in authors])

    def _collect(self, session: PmSession, message: AuthMessage, checked: Checked, verdict: AuthVerdict) -> None:
        """Keeps the results for reports; mail goes on if that fails.  Blocks: yes (disk)."""
        settings, mail = message.settings, session.transaction.mail.strip("<>") if session.transaction else ""
        reports = settings.reports
        if reports.directory is None or verdict.reply.startswith("4"):
            return
        row = row_of(session.client_addr, mail, checked, verdict, settings.organization)
        if row is None:
            return
        try:
            full = collect(reports.directory, reports.max_day_bytes, row, self._clock.now())
        except OSError as error:
            self.trouble(f"results for reports are not kept: {error.strerror}", str(reports.directory))
            return
        if full and full != self._full_day:
            self._full_day = full
            self.trouble("max_day_size is reached: further messages of this day are in no report", full)

    def _mark(self, session: PmSession, message: AuthMessage, checked: Checked, verdict: AuthVerdict) -> None:
        if verdict.applied is Disposition.QUARANTINE:
            assert checked.dmarc is not None
            why = f"DMARC of {checked.dmarc.author}"
            self.note(session, "quarantine", "dmarc")
            if message.settings.hold_quarantine:
                session.quarantine(why)
            else:
                session.hdr_mod(HeaderChange.PREPEND, f"{QUARANTINE_FIELD}: {why}")
        results = compose(message.settings.authserv_id, method_results(checked, verdict))
        if message.sealer is not None and checked.arc is not None:
            for field in reversed(message.sealer.finish(checked.arc, results.encode(), self._clock.now())):
                session.hdr_mod(HeaderChange.PREPEND, field)
        session.hdr_mod(HeaderChange.PREPEND, f"{FIELD_NAME}:{results}")

    def _told(self, session: PmSession, reply: str, key: str) -> int:
        self.note(session, reply, key)
        session.setreply(reply)
        return int(reply[:3])

    def abort(self, session: PmSession) -> None:
        """Forgets the message."""
        session.data = None


def _message(session: PmSession) -> AuthMessage:
    assert isinstance(session.data, AuthMessage), "content comes in a transaction"
    return session.data


def _percent() -> float:
    return random.uniform(0, 100)


def _ascii(domain: str) -> str:
    try:
        return to_ascii(domain).lower()
    except ValueError:
        return domain
