"""The library of policy milters: what a filter imports.

Everything is loaded at its first use, since SMTPS takes tables from this package and no thread.

Ref: MeTA1 pmilter API (modelled on); docs/pmilter.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meta1g.pmilter.callbacks import Pmilter
    from meta1g.pmilter.configured import ConfiguredFilter, configured_parser, run_configured
    from meta1g.pmilter.modify import ModificationError
    from meta1g.pmilter.program import run_filter
    from meta1g.pmilter.session import PmServer, PmSession, PmTransaction
    from meta1g.pmilter.stages import Status
    from meta1g.rcb.smtps_pmilter import Function, HeaderChange, Pmm, Stage

_HOMES = {
    "Pmilter": "meta1g.pmilter.callbacks",
    "ConfiguredFilter": "meta1g.pmilter.configured",
    "configured_parser": "meta1g.pmilter.configured",
    "run_configured": "meta1g.pmilter.configured",
    "ModificationError": "meta1g.pmilter.modify",
    "run_filter": "meta1g.pmilter.program",
    "PmServer": "meta1g.pmilter.session",
    "PmSession": "meta1g.pmilter.session",
    "PmTransaction": "meta1g.pmilter.session",
    "Status": "meta1g.pmilter.stages",
    "Function": "meta1g.rcb.smtps_pmilter",
    "HeaderChange": "meta1g.rcb.smtps_pmilter",
    "Pmm": "meta1g.rcb.smtps_pmilter",
    "Stage": "meta1g.rcb.smtps_pmilter",
}
__all__ = [
    "ConfiguredFilter",
    "Function",
    "HeaderChange",
    "ModificationError",
    "PmServer",
    "PmSession",
    "PmTransaction",
    "Pmilter",
    "Pmm",
    "Stage",
    "Status",
    "configured_parser",
    "run_configured",
    "run_filter",
]


def __getattr__(name: str) -> Any:
    """Loads what is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(_HOMES[name]), name)
