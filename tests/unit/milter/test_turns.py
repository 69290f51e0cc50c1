"""Who sees content while it arrives, and in which pieces."""

from types import SimpleNamespace

import pytest

from meta1g.milter.flags import FilterActions
from meta1g.milter.turns import Chunks, live_and_later

_LOOKS = FilterActions.ADDRCPT | FilterActions.DELRCPT | FilterActions.QUARANTINE | FilterActions.CHGFROM


@pytest.mark.parametrize("change", [FilterActions.ADDHDRS, FilterActions.CHGHDRS, FilterActions.CHGBODY])
def test_all_up_to_the_first_that_may_change_the_content_see_it_live(change):
    looks, changes = (SimpleNamespace(machine=SimpleNamespace(actions=_LOOKS | more)) for more in (0, change))
    assert live_and_later([]) == ([], [])
    assert live_and_later([looks, looks]) == ([looks, looks], [])
    assert live_and_later([looks, changes, changes, looks]) == ([looks, changes], [changes, looks])


@pytest.mark.parametrize("pieces", [[], [b""], [b"abc"], [b"abcd"], [b"ab", b"", b"cdefghij"], [b"abcdefgh", b"ijkl"]])
def test_a_body_comes_in_pieces_of_one_size_and_a_rest(pieces):
    chunks = Chunks(4)
    whole = [chunk for piece in pieces for chunk in chunks.feed(piece)]
    rest = chunks.rest()
    assert (b"".join(whole) + rest, chunks.rest()) == (b"".join(pieces), b"")
    assert {len(chunk) for chunk in whole} <= {4}
    assert len(rest) < 4
