"""What of a message goes into aggregate reports.

Pure.  Ref: RFC 7489 7.2, appendix C.
"""

from meta1g_filters.auth.decide import AuthVerdict, Checked
from meta1g_filters.dmarc.discovery import Discovery
from meta1g_filters.dmarc.record import DmarcRecord
from meta1g_filters.dmarc.rows import PublishedPolicy, ReportRow, SignerResult


def row_of(client: str, mail: str, checked: Checked, verdict: AuthVerdict, how: Discovery) -> ReportRow | None:
    """Gives what is collected of a message; None if its domain wants no reports.

    Args:
        client: address of the client.
        mail: MAIL FROM without brackets.
        checked: the results.
        verdict: what is done.
        how: `pct` counts with the public suffix list only.
    """
    dmarc, spf = checked.dmarc, checked.spf
    if dmarc is None or dmarc.found is None or not dmarc.found.record.rua:
        return None
    reason = ""
    if verdict.applied != dmarc.wanted and dmarc.result == "fail":
        weakened = "sampled_out" if dmarc.sampled_out else "other" if dmarc.found.record.testing else "local_policy"
        reason = weakened if verdict.applied == dmarc.disposition else "local_policy"
    return ReportRow(
        _published(dmarc.found.domain, dmarc.found.record, how),
        client,
        verdict.applied.word,
        "pass" if dmarc.dkim_aligned else "fail",
        "pass" if dmarc.spf_aligned else "fail",
        reason,
        dmarc.author,
        mail.rpartition("@")[2],
        tuple(SignerResult(one.domain, one.selector, one.result) for one in checked.dkim if one.domain),
        dmarc.author if spf is None else spf.result.domain,
        "helo" if spf is not None and spf.identity == "helo" else "mfrom",
        "none" if spf is None else str(spf.result.code),
    )


def _published(domain: str, record: DmarcRecord, how: Discovery) -> PublishedPolicy:
    sp = record.p if record.sp is None else record.sp
    pct = record.pct if how is Discovery.PUBLIC_SUFFIX_LIST else 100
    return PublishedPolicy(
        domain,
        "s" if record.strict_dkim else "r",
        "s" if record.strict_spf else "r",
        record.p.word,
        sp.word,
        pct,
        record.fo or "0",
    )
