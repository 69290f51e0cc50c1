"""Terms of an agreement: the sets say the same as the bits of the tables."""

import pytest

from meta1g.milter.flags import ACTIONS_OF, STEPS_OF, FilterActions, FilterSteps
from meta1g.milter.frames import Smfic, Smfir
from meta1g.milter.limits import CHUNK_1M_BYTES, CHUNK_64K_BYTES, CHUNK_256K_BYTES
from meta1g.milter.steps import ANSWERS, STEPS
from meta1g.milter.terms import terms_of


@pytest.mark.parametrize("bit", FilterSteps, ids=lambda bit: bit.name)
def test_one_bit_declines_or_silences_the_commands_of_its_rows(bit):
    terms = terms_of(6, 0, int(bit))
    assert terms.steps == bit
    assert terms.declined == {command for command, step in STEPS.items() if step.declined == bit}
    assert terms.silent == {command for command, step in STEPS.items() if step.silent == bit}


@pytest.mark.parametrize("version", STEPS_OF)
def test_what_a_version_does_not_know_is_declined(version):
    terms = terms_of(version, int(ACTIONS_OF[version]), 0)
    unknown = {Smfic.UNKNOWN: FilterSteps.NOUNKNOWN, Smfic.DATA: FilterSteps.NODATA}
    assert terms.declined == {command for command, bit in unknown.items() if not STEPS_OF[version] & bit}
    assert (Smfir.SKIP in terms.answers) == (version == 6)


@pytest.mark.parametrize("action", FilterActions, ids=lambda action: action.name)
def test_an_answer_needs_its_action(action):
    terms = terms_of(6, int(action), 0)
    assert terms.answers == {kind for kind, one in ANSWERS.items() if one.action in (FilterActions(0), action)}


def test_sizes_of_chunks():
    both = FilterSteps.MDS_256K | FilterSteps.MDS_1M
    found = [terms_of(6, 0, int(bits)).chunk_bytes for bits in (FilterSteps(0), FilterSteps.MDS_256K, FilterSteps.MDS_1M, both)]
    assert found == [CHUNK_64K_BYTES, CHUNK_256K_BYTES, CHUNK_1M_BYTES, CHUNK_1M_BYTES]


def test_unknown_bits_do_not_count():
    assert terms_of(6, 0, 0x80000000 | int(FilterSteps.NOHDRS)) == terms_of(6, 0, int(FilterSteps.NOHDRS))
