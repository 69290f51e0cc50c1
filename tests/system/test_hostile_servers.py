"""Servers that flood, trickle or never end cost their own deliveries; other mail and the memory of smtpc do not notice."""

import pytest

from bench import fairness_out
from bench.results import percentile

pytestmark = pytest.mark.system

#: Generous: what is looked for is seconds and hundreds of MiB; bench/fairness_out.py judges milliseconds.
MEDIAN_MAX_MS = 1000
GROWTH_MAX_MIB = 64


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_mail_to_a_good_server_flows_while_five_hostile_ones_are_delivered_to(tls):
    found = fairness_out.run(messages=10, hostile_messages=2, tls=tls)
    assert found.hostile >= len(fairness_out.KINDS)
    assert len(found.beside_ms) == 20
    assert percentile(found.beside_ms, 50) < MEDIAN_MAX_MS
    assert found.most_mib - found.before_mib < GROWTH_MAX_MIB
