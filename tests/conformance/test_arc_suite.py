"""The public validation suite of ARC (RFC 8617): every message, against the verifier.

A deviation stands in DEVIATIONS with its reason.
"""

import pytest

from meta1g_filters.dkim.sign import SigningKey
from tests.publicvectors import FOLDER, documents
from tests.unit.filters.arc.chains import seal, state
from tests.unit.filters.dkim.samples import Dns, crlf, dns_of, rsa_key

SUITE = "arc-validation-tests.yml"
#: Tests whose result is another one here, and why.
_CHAIN_THAT_FAILED = "the suite has no result for a seal that says cv=fail; RFC 8617 5.2 step 2: the chain fails"
DEVIATIONS = {
    "Chain Validation: cv_fail_i1_as_cv_fail": _CHAIN_THAT_FAILED,
    "Chain Validation: cv_fail_i2_as2_fail": _CHAIN_THAT_FAILED,
    "Chain Validation: cv_fail_i2_as1_fail": _CHAIN_THAT_FAILED,
    "Arc Message Signature Fields: ams_fields_h_empty": "h= must not be empty, RFC 6376 3.5: such a signature covers no field",
}

CASES = [
    pytest.param(scenario["txt-records"], test, id=f"{scenario['description']}: {name}")
    for scenario in documents(SUITE)
    for name, test in scenario["tests"].items()
]
pytestmark = pytest.mark.skipif(not CASES, reason=f"needs {FOLDER}/{SUITE} beside the checkout, and PyYAML")


@pytest.mark.parametrize(("records", "case"), CASES)
def test_the_state_of_the_chain_is_that_of_the_suite(records, case, request):
    lookup = Dns({name: text.encode() for name, text in (records or {}).items()})
    result = state(crlf(case["message"].encode()), lookup)
    if request.node.callspec.id in DEVIATIONS:
        assert (result.cv, case["cv"]) in (("fail", ""), ("fail", "Pass")), "no deviation any more"
        return
    assert result.cv == str(case["cv"]).lower(), result


@pytest.mark.parametrize(
    ("records", "case"), [one for one in CASES if one.values[1]["cv"] == "Pass" and one.id not in DEVIATIONS]
)
def test_a_chain_of_the_suite_goes_on_here(records, case):
    key = SigningKey("next.example", "arc", rsa_key())
    lookup = Dns({name: text.encode() for name, text in records.items()} | dns_of(key).records)
    message = crlf(case["message"].encode())
    before = state(message, lookup)
    after = state(seal(message, key, before), lookup)
    assert (after.cv, after.instances, after.sealers) == ("pass", before.instances + 1, (*before.sealers, "next.example"))


def test_all_of_the_suite_was_run():
    assert len(CASES) > 160
