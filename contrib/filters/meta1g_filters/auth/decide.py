"""What follows from the results of one message: Authentication-Results, and what the client is told.

    SPF fail       -> spf_fail: 550 5.7.23 at MAIL            DMARC fail, p=reject     -> dmarc_fail: 550 5.7.26
    SPF temperror  -> temperror: 451 4.4.3 at MAIL            DMARC fail, p=quarantine -> quarantine: field, or held
                                                              DMARC temperror          -> temperror: 451 4.7.0
                                                              chain of ARC is believed -> taken

Pure.  Ref: RFC 7372 3 (codes); RFC 7208 8.4, 8.6; RFC 7489 6.3, 10.3; RFC 8601 2.7 (properties).
"""

from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g_filters.arc.verify import ArcResult
from meta1g_filters.auth.settings import AuthFilterSettings
from meta1g_filters.authres.results import MethodResult, mailbox
from meta1g_filters.dkim.verify import DkimResult
from meta1g_filters.dmarc.author import AUTHORS_MAX
from meta1g_filters.dmarc.evaluate import DmarcResult
from meta1g_filters.dmarc.record import Disposition
from meta1g_filters.spf.evaluate import SpfResult
from meta1g_filters.spf.record import SpfCode

#: The field of a message that a domain wants to have in quarantine.
QUARANTINE_FIELD: Final = "X-Quarantine"
#: Why there is no author: there are more than anybody has.
MANY_AUTHORS: Final = f"more than {AUTHORS_MAX} domains"


@dataclass(frozen=True, slots=True)
class SpfChecked:
    """SPF of one transaction.

    Args:
        result: of the check.
        identity: `mailfrom` or `helo`.
        sender: what was checked: an address, or the name of HELO.
    """

    result: SpfResult
    identity: str
    sender: str


@dataclass(frozen=True, slots=True)
class Checked:
    """The results of one message; None and () for what is off.

    Args:
        client: address of the client.
        spf, dkim, arc, dmarc: the results.
        arc_says_pass: DMARC passed for who sealed the message first.
    """

    client: str = ""
    spf: SpfChecked | None = None
    dkim: tuple[DkimResult, ...] = ()
    arc: ArcResult | None = None
    arc_says_pass: bool = False
    dmarc: DmarcResult | None = None


@dataclass(frozen=True, slots=True)
class AuthVerdict:
    """What is done.

    Args:
        reply: what the client is told instead of 250; empty if the message is taken.
        applied: what of the policy of DMARC is done.
        by_arc: the policy is not obeyed since the chain of ARC is believed.
    """

    reply: str = ""
    applied: Disposition = Disposition.NONE
    by_arc: bool = False


def spf_reply(settings: AuthFilterSettings, checked: SpfChecked, client: str) -> str:
    """Gives what the client is told at MAIL, empty if the transaction goes on."""
    result = checked.result
    if result.code is SpfCode.TEMPERROR and settings.tempfail:
        return f"451 4.4.3 SPF: {_text(result.problem)}; try again later"
    if result.code is not SpfCode.FAIL or not settings.reject_spf_fail:
        return ""
    told = f"5.7.23 SPF: {client} may not send for {_text(result.domain)}"
    if not result.explanation:
        return f"550 {told}"
    return f"550-{told}\n550 5.7.23 {_text(result.domain)} explains: {result.explanation}"


def verdict_of(settings: AuthFilterSettings, checked: Checked) -> AuthVerdict:
    """Gives what is done with a message that is complete."""
    dmarc = checked.dmarc
    if dmarc is None:
        return AuthVerdict()
    if dmarc.disposition and arc_is_believed(settings, checked):
        return AuthVerdict(by_arc=True)
    if dmarc.result == "temperror" and settings.tempfail:
        return AuthVerdict(f"451 4.7.0 DMARC of {_text(dmarc.author)}: {_text(dmarc.reason)}; try again later")
    if not settings.obey_dmarc:
        return AuthVerdict()
    if dmarc.result == "permerror" and (dmarc.reason == MANY_AUTHORS or "need_author" in settings.flags):
        return AuthVerdict(f"550 5.7.1 From: {_text(dmarc.reason)}", Disposition.REJECT)
    if dmarc.disposition is Disposition.REJECT:
        text = f"DMARC: neither SPF nor DKIM passes for {_text(dmarc.author)}, which wants such mail to be refused"
        return AuthVerdict(f"550 5.7.26 {text}", Disposition.REJECT)
    return AuthVerdict(applied=dmarc.disposition)


def arc_is_believed(settings: AuthFilterSettings, checked: Checked) -> bool:
    """Tells whether all who have sealed a message are trusted, and DMARC passed before they changed it."""
    arc = checked.arc
    return arc is not None and arc.cv == "pass" and checked.arc_says_pass and {*arc.sealers} <= settings.arc_trusted


def method_results(checked: Checked, verdict: AuthVerdict) -> list[MethodResult]:
    """Gives what Authentication-Results says."""
    results = [] if checked.spf is None else [_spf(checked.spf)]
    results += [_dkim(one) for one in checked.dkim]
    if checked.arc is not None:
        results.append(_arc(checked.arc, checked.client))
    return results if checked.dmarc is None else [*results, _dmarc(checked.dmarc, verdict)]


def summary(checked: Checked) -> str:
    """Gives the results in a few words, for the log: each method, and the author's domain."""
    words = [f"{one.method}={one.result}" for one in method_results(checked, AuthVerdict())]
    return " ".join(words + ([f"from={checked.dmarc.author}"] if checked.dmarc and checked.dmarc.author else []))


def _spf(checked: SpfChecked) -> MethodResult:
    is_helo = checked.identity == "helo"
    name = "smtp.helo" if is_helo else "smtp.mailfrom"
    sender = checked.sender if is_helo else mailbox(checked.sender)
    return MethodResult("spf", checked.result.code, checked.result.problem, ((name, sender),))


def _dkim(result: DkimResult) -> MethodResult:
    properties = (
        ("header.d", result.domain),
        ("header.i", mailbox(result.identity)),
        ("header.s", result.selector),
        ("header.a", result.algorithm),
        ("header.b", result.header_b),
    )
    comment = f"{result.key_bits}-bit key" if result.key_bits else ""
    return MethodResult("dkim", result.result, result.reason, properties, comment)


def _arc(result: ArcResult, client: str) -> MethodResult:
    passed = result.cv == "pass"
    properties = (
        ("header.oldest-pass", str(result.oldest_pass) if passed else ""),
        ("smtp.remote-ip", client if passed else ""),
    )
    return MethodResult("arc", result.cv, result.reason, properties)


def _dmarc(result: DmarcResult, verdict: AuthVerdict) -> MethodResult:
    comment = ""
    if result.found is not None and result.result != "pass":
        comment = f"p={result.wanted.word} dis={verdict.applied.word}{' arc=pass' if verdict.by_arc else ''}"
    return MethodResult("dmarc", result.result, result.reason, (("header.from", result.author),), comment)


def _text(text: str) -> str:
    """Gives a text as a reply may have it."""
    return "".join(char if " " <= char <= "~" else "?" for char in text[:200])
