"""What of a transaction the log keeps comes back as it was."""

import pytest

from meta1g.rcb.envelope import TaRecord
from meta1g.rcb.talog import TRAITS, facts_of_log, ta_facts

FACTS = [
    {},
    {"by": 1_795_755_345.0, "by_mode": "RT"},
    {"by": 1_795_755_345.0, "by_mode": "N", "priority": -9},
    {"priority": 9, **dict.fromkeys(TRAITS, True)},
    *({name: True} for name in TRAITS),
]


@pytest.mark.parametrize("facts", FACTS, ids=str)
def test_it_comes_back(facts):
    ta = TaRecord(ta_id="t", cdb_id="t", mail="s@a.example", size_bytes=1, entered=1.0, rcpts=1, **facts)
    logged = {key: str(value or "") for key, value in ta_facts(ta).items()}
    again = facts_of_log(**logged)
    assert TaRecord(ta_id="t", cdb_id="t", mail="s@a.example", size_bytes=1, entered=1.0, rcpts=1, **again) == ta


@pytest.mark.parametrize("wrong", [("soon;R", "", ""), ("", "high", "")])
def test_what_is_none_is_an_error(wrong):
    with pytest.raises(ValueError, match=r"soon|high"):
        facts_of_log(*wrong)
