"""Who gets the reports of a domain: the addresses of its record, those of other organizations only if these agree.

    example.org: rua=mailto:dmarc@reports.example
    reports.example has to have   example.org._report._dmarc.reports.example TXT "v=DMARC1"

Ref: RFC 7489 7.1; RFC 9990 4.
"""

from meta1g_filters.dmarc.discovery import Discovery, DiscoveryError, DmarcResolver, PolicyFinder
from meta1g_filters.dmarc.record import ReportAddress, report_addresses, selected_record


def report_targets(domain: str, resolver: DmarcResolver, how: Discovery) -> tuple[ReportAddress, ...]:
    """Gives the addresses that want the reports of a domain now, and may have them.  Blocks: as the resolver does.

    Raises:
        DiscoveryError: DNS does not answer.
    """
    answer = resolver.txt(f"_dmarc.{domain}")
    if answer.status == "temperror":
        raise DiscoveryError(f"_dmarc.{domain}")
    record = selected_record(answer.texts)
    if record is None:
        return ()
    finder = PolicyFinder(resolver, how)
    found = [agreed for one in record.rua for agreed in _agreed(domain, one, finder, resolver)]
    return tuple(dict.fromkeys(found))


def _agreed(domain: str, target: ReportAddress, finder: PolicyFinder, resolver: DmarcResolver) -> tuple[ReportAddress, ...]:
    """Gives an address if it may have reports, or that which its domain names instead."""
    host = target.address.rpartition("@")[2].lower().removesuffix(".")
    if finder.organization(host) == finder.organization(domain):
        return (target,)
    name = f"{domain}._report._dmarc.{host}"
    answer = resolver.txt(name)
    if answer.status == "temperror":
        raise DiscoveryError(name)
    records = [text.decode("ascii", "replace") for text in answer.texts if text.startswith(b"v=DMARC1")]
    if len(records) != 1:
        return ()
    tags = dict(part.strip().partition("=")[::2] for part in records[0].split(";"))
    instead = tuple(one for one in report_addresses(tags.get("rua", "")) if one.address.rpartition("@")[2].lower() == host)
    return instead or (target,)
