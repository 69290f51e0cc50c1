"""The test suite of RFC 7208: every scenario, every test, against the evaluator.

A deviation stands in DEVIATIONS with its reason; where the suite leaves a choice, its first result is the one it prefers.
"""

import ipaddress

import pytest

from meta1g.base.clock import SystemClock
from meta1g_filters.spf.evaluate import SpfQuery, check_host
from tests.fakes.spfzone import SpfZone
from tests.publicvectors import FOLDER, documents

SUITE = "rfc7208-tests.yml"
#: Tests whose result is another one here, and why.
DEVIATIONS: dict[str, str] = {}


CASES = [
    pytest.param(scenario["zonedata"], test, id=f"{scenario['description']}: {name}")
    for scenario in documents(SUITE)
    for name, test in scenario["tests"].items()
]
pytestmark = pytest.mark.skipif(not CASES, reason=f"needs {FOLDER}/{SUITE} beside the checkout, and PyYAML")


def listed(value: object) -> list:
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize(("zonedata", "case"), CASES)
def test_result_and_explanation_are_those_of_the_suite(zonedata, case, request):
    sender, helo = case["mailfrom"], case["helo"]
    domain = sender.rpartition("@")[2] if sender else helo
    query = SpfQuery(ipaddress.ip_address(case["host"]), domain, sender or f"postmaster@{helo}", helo, "receiver.example")
    result = check_host(query, SpfZone(zonedata), SystemClock())
    if request.node.callspec.id in DEVIATIONS:
        assert str(result.code) not in listed(case["result"]), "no deviation any more"
        return
    assert str(result.code) in listed(case["result"]), result
    if "explanation" in case:
        assert (result.explanation or "DEFAULT") == case["explanation"]


def test_all_of_the_suite_was_run():
    assert len(CASES) > 190
