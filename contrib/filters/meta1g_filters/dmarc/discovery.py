"""Which policy counts for a domain, and which domain stands for its organization.

    tree walk (RFC 9989 4.10)     _dmarc.a.b.example.org, _dmarc.b.example.org ... _dmarc.org: records say where it ends
    public suffix list (RFC 7489) _dmarc.a.b.example.org, then that of the label below the public suffix

Ref: RFC 7489 3.2, 6.6.3; RFC 9989 4.10; publicsuffix.org.
"""

from collections.abc import Iterator
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Final, Protocol

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import Module, TempError
from meta1g_filters.dmarc.record import Disposition, DmarcRecord, selected_record
from meta1g_filters.dns import AddressType, NamesAnswer, TxtAnswer

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

#: Labels that the walk goes on with after the domain itself.  Ref: RFC 9989 4.10 (8 questions).
_WALK_LABELS: Final = 7


class Discovery(StrEnum):
    """How the domain of an organization is found."""

    TREE_WALK = "tree_walk"
    PUBLIC_SUFFIX_LIST = "public_suffix_list"


class DiscoveryError(TempError):
    """DNS does not answer, so nobody knows the policy."""

    def __init__(self, name: str) -> None:
        super().__init__(Module.DNS, f"DNS does not answer for {name}")


class DmarcResolver(Protocol):
    """What DNS is asked for; see meta1g_filters.dns.FilterResolver."""

    def txt(self, name: str) -> TxtAnswer: ...  # noqa: D102  as in FilterResolver, and so are the others
    def addresses(self, name: str, kind: AddressType) -> NamesAnswer: ...  # noqa: D102
    def mail_servers(self, name: str) -> NamesAnswer: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class FoundPolicy:
    """The policy for a domain.

    Args:
        domain: whose record it is.
        record: it.
        organization: the domain of the author's organization.
    """

    domain: str
    record: DmarcRecord
    organization: str


class PolicyFinder:
    """Finds policies and organizations; for one message, as it remembers what it has found.

    Args:
        resolver: asks DNS.
        how: by which of both ways.

    Owner: whoever made it.
    """

    def __init__(self, resolver: DmarcResolver, how: Discovery) -> None:
        self._resolver = resolver
        self._how = how
        self._records: dict[str, DmarcRecord | None] = {}

    def find(self, domain: str) -> FoundPolicy | None:
        """Gives the policy for the author's domain, None if there is none.

        Raises:
            DiscoveryError: DNS does not answer.
        """
        if self._how is Discovery.PUBLIC_SUFFIX_LIST:
            organization = public_organization(domain)
            records = [(name, self._record(name)) for name in dict.fromkeys((domain, organization))]
            return next((FoundPolicy(name, one, organization) for name, one in records if one is not None), None)
        walked = self._walk(domain)
        organization = _organization(domain, walked)
        for wanted in (domain, organization):
            if wanted in walked:
                return FoundPolicy(wanted, walked[wanted], organization)
        top = next(((name, one) for name, one in walked.items() if one.psd == "y"), None)
        return None if top is None else FoundPolicy(top[0], top[1], organization)

    def organization(self, domain: str) -> str:
        """Gives the domain that stands for the organization of a domain.

        Raises:
            DiscoveryError: DNS does not answer.
        """
        if self._how is Discovery.PUBLIC_SUFFIX_LIST:
            return public_organization(domain)
        return _organization(domain, self._walk(domain))

    def wanted(self, domain: str, found: FoundPolicy) -> Disposition:
        """Gives what the policy wants for mail of a domain that fails."""
        record = found.record
        if domain == found.domain:
            return record.p
        below = record.p if record.sp is None else record.sp
        if record.np is None or record.np == below or self._exists(domain):
            return below
        return record.np

    def _exists(self, domain: str) -> bool:
        """Tells whether a domain has an address or a mail server; one that DNS does not answer for does."""
        kinds: tuple[AddressType, ...] = ("A", "AAAA")
        answers = (*(self._resolver.addresses(domain, kind) for kind in kinds), self._resolver.mail_servers(domain))
        return any(answer.status in ("ok", "temperror") for answer in answers)

    def _walk(self, domain: str) -> dict[str, DmarcRecord]:
        """Gives the records on the way up, that of the domain first."""
        found: dict[str, DmarcRecord] = {}
        for name in walk_names(domain):
            record = self._record(name)
            if record is not None:
                found[name] = record
                if record.psd in ("y", "n"):
                    break
        return found

    def _record(self, domain: str) -> DmarcRecord | None:
        if domain not in self._records:
            answer = self._resolver.txt(f"_dmarc.{domain}")
            if answer.status == "temperror":
                raise DiscoveryError(f"_dmarc.{domain}")
            self._records[domain] = selected_record(answer.texts)
        return self._records[domain]


def walk_names(domain: str) -> Iterator[str]:
    """Gives the domains whose records are asked for, the domain itself first; eight at most."""
    yield domain
    labels = domain.split(".")
    rest = labels[1:] if len(labels) <= _WALK_LABELS else labels[-_WALK_LABELS:]
    while rest:
        yield ".".join(rest)
        rest = rest[1:]


def _organization(domain: str, walked: dict[str, DmarcRecord]) -> str:
    for name, record in walked.items():
        if record.psd == "n":
            return name
        if record.psd == "y" and name != domain:
            return ".".join(domain.split(".")[-name.count(".") - 2 :])
    return list(walked)[-1] if walked else domain


def public_organization(domain: str) -> str:
    """Gives the label below the public suffix of a domain; the domain itself if it is one or has none."""
    return _public_suffixes().privatesuffix(domain) or domain


@cache
def _public_suffixes() -> "PublicSuffixList":
    from publicsuffixlist import PublicSuffixList  # 200 ms, and only one of both ways needs it

    return PublicSuffixList()
