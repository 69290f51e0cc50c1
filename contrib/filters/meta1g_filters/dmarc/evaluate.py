"""DMARC for one message: does a name that SPF or DKIM vouches for belong to the author, and what if none does?

    author's domain -> policy -> SPF pass aligned? DKIM pass aligned? -> pass
                                                   neither            -> fail: none, quarantine or reject
    DNS does not answer for a policy, an organization or what would align: temperror, unless something else aligns
    (what would not align does not count: else who sends forged mail makes a temperror by a domain of their own)

Ref: RFC 7489 3.1, 6.6; RFC 9989 4.4, 5.3, 5.4.
"""

from collections.abc import Callable, Sequence
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g_filters.dmarc.discovery import Discovery, DiscoveryError, DmarcResolver, FoundPolicy, PolicyFinder
from meta1g_filters.dmarc.record import Disposition

#: Signatures whose domains are looked at.  Our choice: the verifier looks at fewer.
_SIGNERS_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class VouchedNames:
    """What was authenticated otherwise.

    Args:
        spf: the domain that SPF passes for, empty without.
        dkim: domains whose signatures pass.
        spf_unsure: the domain whose SPF ended in temperror, empty without.
        dkim_unsure: domains whose signatures did.
    """

    spf: str = ""
    dkim: Sequence[str] = ()
    spf_unsure: str = ""
    dkim_unsure: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class DmarcResult:
    """What DMARC came to.

    Args:
        result: pass, fail, none, temperror or permerror.
        author: domain in From.
        found: the policy, None without.
        wanted: what the policy wants to be done if it fails.
        disposition: what is to be done: less than that for parts of the mail, in tests, and if nothing failed.
        spf_aligned: SPF passes for the author.
        dkim_aligned: a signature passes for the author.
        reason: why it is an error.
        sampled_out: the policy is for another part of the mail.
    """

    result: str
    author: str = ""
    found: FoundPolicy | None = None
    wanted: Disposition = Disposition.NONE
    disposition: Disposition = Disposition.NONE
    spf_aligned: bool = False
    dkim_aligned: bool = False
    reason: str = ""
    sampled_out: bool = False


def evaluate(
    author: str, known: VouchedNames, resolver: DmarcResolver, how: Discovery, percent: Callable[[], float]
) -> DmarcResult:
    """Evaluates the policy of an author's domain.  Blocks: as the resolver does.

    Args:
        author: the domain, in A-labels and lower case.
        known: what SPF and DKIM came to.
        resolver: asks DNS.
        how: the way in which organizations are found; `pct` counts with the public suffix list only.
        percent: gives a number of 0 to 100 by chance.
    """
    finder = PolicyFinder(resolver, how)
    try:
        found = finder.find(author)
    except DiscoveryError as error:
        return DmarcResult("temperror", author, reason=error.cause)
    if found is None:
        return DmarcResult("none", author)
    alignment = _Alignment(author, found, finder)
    spf, dkim = alignment.spf(known.spf), alignment.dkim(known.dkim)
    if spf or dkim:
        return DmarcResult("pass", author, found, spf_aligned=spf, dkim_aligned=dkim)
    wanted = finder.wanted(author, found)
    if alignment.uncertain or alignment.spf(known.spf_unsure) or alignment.dkim(known.dkim_unsure):
        return DmarcResult("temperror", author, found, wanted, reason="a result that could align is not known")
    disposition = wanted.weaker if found.record.testing else wanted
    sampled_out = how is Discovery.PUBLIC_SUFFIX_LIST and found.record.pct < 100 and percent() >= found.record.pct
    if sampled_out:
        disposition = disposition.weaker
    return DmarcResult("fail", author, found, wanted, disposition, sampled_out=sampled_out)


class _Alignment:
    """Whether names belong to an author.  Owner: evaluate()."""

    def __init__(self, author: str, found: FoundPolicy, finder: PolicyFinder) -> None:
        self._author = author
        self._found = found
        self._finder = finder
        self.uncertain = False

    def spf(self, domain: str) -> bool:
        """Tells whether a domain of SPF is the author's, by the mode of the policy."""
        return bool(domain) and self._holds(domain, strict=self._found.record.strict_spf)

    def dkim(self, domains: Sequence[str]) -> bool:
        """Tells the same of domains of signatures."""
        return any(self._holds(one, strict=self._found.record.strict_dkim) for one in domains[:_SIGNERS_MAX])

    def _holds(self, domain: str, *, strict: bool) -> bool:
        name = domain.lower().removesuffix(".")
        if name == self._author:
            return True
        organization = self._found.organization
        if strict or not (name == organization or name.endswith(f".{organization}")):
            return False
        try:
            return self._finder.organization(name) == organization
        except DiscoveryError:
            self.uncertain = True
            return False


def worst(results: Sequence[DmarcResult]) -> DmarcResult:
    """Gives the result that counts for a message with several authors: the one that lets through least."""
    ranks = {"fail": 3, "temperror": 2, "permerror": 2, "none": 1, "pass": 0}
    return max(results, key=lambda one: (one.disposition, ranks[one.result]))
