"""Sessions that are counted for reports: what is sent whatever TLS is like is not."""

from meta1g.base.tlspolicy import TlsLevel, TlsPolicy
from meta1g.qmgr.resolve import relaxed
from meta1g.rcb.common import ServerAddr


def test_a_message_that_goes_whatever_tls_is_like_counts_for_no_report():
    for policy in (TlsPolicy(), TlsPolicy(TlsLevel.ENCRYPT), TlsPolicy(TlsLevel.ENCRYPT, fixed=True)):
        server = ServerAddr(addr="192.0.2.1", port=25, host="mx.example", domain="example", tls=policy.demands())
        assert relaxed(server).domain == ""
