"""Who sees content while it arrives."""

from types import SimpleNamespace

import pytest

from meta1g.milter.flags import FilterActions
from meta1g.milter.turns import live_and_later

_LOOKS = FilterActions.ADDRCPT | FilterActions.DELRCPT | FilterActions.QUARANTINE | FilterActions.CHGFROM


@pytest.mark.parametrize("change", [FilterActions.ADDHDRS, FilterActions.CHGHDRS, FilterActions.CHGBODY])
def test_all_up_to_the_first_that_may_change_the_content_see_it_live(change):
    looks, changes = (SimpleNamespace(machine=SimpleNamespace(actions=_LOOKS | more)) for more in (0, change))
    assert live_and_later([]) == ([], [])
    assert live_and_later([looks, looks]) == ([looks, looks], [])
    assert live_and_later([looks, changes, changes, looks]) == ([looks, changes], [changes, looks])
