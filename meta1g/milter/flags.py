"""What the two sides of a milter connection agree on: what the filter may change, what it is told, how much at once.

Pure.  Names and values are those of sendmail's libmilter (mfapi.h, mfdef.h): SMFIF_, SMFIP_, SMFIM_.
Ref: sendmail 8, libmilter/docs, "smfi_register", "xxfi_negotiate", "smfi_setsymlist".
"""

from collections.abc import Mapping
from enum import IntEnum, IntFlag
from typing import Final


class FilterActions(IntFlag):
    """SMFIF_: what the filter may do to a message at its end."""

    ADDHDRS = 0x001
    CHGBODY = 0x002
    ADDRCPT = 0x004
    DELRCPT = 0x008
    CHGHDRS = 0x010
    QUARANTINE = 0x020
    CHGFROM = 0x040
    ADDRCPT_PAR = 0x080
    SETSYMLIST = 0x100


class FilterSteps(IntFlag):
    """SMFIP_: what the filter does not want to hear (NO), does not answer (NR), or can do beyond version 2."""

    NOCONNECT = 0x000001
    NOHELO = 0x000002
    NOMAIL = 0x000004
    NORCPT = 0x000008
    NOBODY = 0x000010
    NOHDRS = 0x000020
    NOEOH = 0x000040
    NR_HDR = 0x000080
    NOUNKNOWN = 0x000100
    NODATA = 0x000200
    SKIP = 0x000400
    RCPT_REJ = 0x000800
    NR_CONN = 0x001000
    NR_HELO = 0x002000
    NR_MAIL = 0x004000
    NR_RCPT = 0x008000
    NR_DATA = 0x010000
    NR_UNKN = 0x020000
    NR_EOH = 0x040000
    NR_BODY = 0x080000
    HDR_LEADSPC = 0x100000
    MDS_256K = 0x10000000
    MDS_1M = 0x20000000


class MacroStage(IntEnum):
    """SMFIM_: the stages that a filter can give a list of macros for."""

    CONNECT = 0
    HELO = 1
    ENVFROM = 2
    ENVRCPT = 3
    DATA = 4
    EOM = 5
    EOH = 6


_A, _P = FilterActions, FilterSteps
VERSION_MIN: Final = 2
VERSION_MAX: Final = 6
_V2_ACTIONS: Final = _A.ADDHDRS | _A.CHGBODY | _A.ADDRCPT | _A.DELRCPT | _A.CHGHDRS | _A.QUARANTINE
_V2_STEPS: Final = _P.NOCONNECT | _P.NOHELO | _P.NOMAIL | _P.NORCPT | _P.NOBODY | _P.NOHDRS | _P.NOEOH
_V6_ACTIONS: Final = FilterActions(sum(FilterActions))
_V6_STEPS: Final = FilterSteps(sum(FilterSteps))
#: What a version of the protocol knows; 5 was never released on its own.
ACTIONS_OF: Final[Mapping[int, FilterActions]] = {
    2: _V2_ACTIONS,
    3: _V2_ACTIONS,
    4: _V2_ACTIONS,
    5: _V2_ACTIONS,
    6: _V6_ACTIONS,
}
STEPS_OF: Final[Mapping[int, FilterSteps]] = {
    2: _V2_STEPS,
    3: _V2_STEPS | _P.NOUNKNOWN,
    4: _V2_STEPS | _P.NOUNKNOWN | _P.NODATA,
    5: _V2_STEPS | _P.NOUNKNOWN | _P.NODATA,
    6: _V6_STEPS,
}
