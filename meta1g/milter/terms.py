"""What a filter and the MTA have agreed on, as sets that each step asks: found once for all sessions of the same bits.

Pure.  Ref: sendmail 8, libmilter/mfdef.h (SMFIF_, SMFIP_).
"""

from functools import lru_cache
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.milter.flags import STEPS_OF, VERSION_MAX, FilterActions, FilterSteps
from meta1g.milter.frames import Smfic, Smfir
from meta1g.milter.limits import CHUNK_1M_BYTES, CHUNK_64K_BYTES, CHUNK_256K_BYTES
from meta1g.milter.steps import ANSWERS, STEPS

#: Agreements whose terms are kept: more than there are filters in a configuration.
_KEPT: Final = 64
_ALL_NO: Final = FilterSteps(sum(step.declined for step in STEPS.values()))
_ALL_STEPS: Final = STEPS_OF[VERSION_MAX]


@dataclass(frozen=True, slots=True)
class FilterTerms:
    """The terms of an agreement.

    Args:
        actions: what the filter may do.
        steps: what it does not want to hear, and so on.
        declined: commands that it does not want to hear.
        silent: commands that it does not answer.
        answers: what it may answer.
        leading_space: values of fields have the blank after their colon.
        chunk_bytes: most bytes of body for one frame.
    """

    actions: FilterActions
    steps: FilterSteps
    declined: frozenset[Smfic]
    silent: frozenset[Smfic]
    answers: frozenset[Smfir]
    leading_space: bool
    chunk_bytes: int


@lru_cache(_KEPT)
def terms_of(version: int, actions: int, steps: int) -> FilterTerms:
    """Gives the terms of an agreement.

    Args:
        version: of the protocol, VERSION_MIN to VERSION_MAX.
        actions: SMFIF_ bits, no others than those of the version.
        steps: SMFIP_ bits; unknown ones do not count.
    """
    known = STEPS_OF[version]
    agreed = FilterSteps(steps & int(_ALL_STEPS)) | (_ALL_NO & ~known)
    chunk_bytes = CHUNK_256K_BYTES if agreed & FilterSteps.MDS_256K else CHUNK_64K_BYTES
    return FilterTerms(
        FilterActions(actions),
        agreed,
        declined=frozenset(command for command, step in STEPS.items() if step.declined & agreed),
        silent=frozenset(command for command, step in STEPS.items() if step.silent & agreed),
        answers=frozenset(kind for kind, one in ANSWERS.items() if not (one.action & ~actions or one.step & ~known)),
        leading_space=bool(agreed & FilterSteps.HDR_LEADSPC),
        chunk_bytes=CHUNK_1M_BYTES if agreed & FilterSteps.MDS_1M else chunk_bytes,
    )
