"""A fix in MeTA1's DNS decoder (2023): records of other types in an answer to an MX question must be skipped."""

from meta1g.smar.dnswire import DnsRecord, RRType
from tests.unit.smar.conftest import asker, checked_locks, make_asker, make_system, name_server, system

__all__ = ["asker", "checked_locks", "make_asker", "make_system", "name_server", "system"]


def test_an_mx_answer_with_cname_and_rrsig_records_gives_the_mx_records_only(asker, name_server):
    sig = "MX 5 2 60 20300101000000 20200101000000 1 example. AAAA"
    name_server.add("web.example", "MX", "10 a.example.", "20 b.example.")
    name_server.add("www.example", "CNAME", "web.example.")
    name_server.add_beside("web.example", "MX", "web.example", "RRSIG", sig)
    name_server.add_beside("web.example", "MX", "a.example", "A", "192.0.2.1")
    found = asker.ask("www.example", RRType.MX)
    assert set(found.records) == {DnsRecord("a.example", 10), DnsRecord("b.example", 20)}
