"""What the configuration of pmult says: the filters that are asked, in their order.

Ref: docs/filter-pmult-options.md.
"""

from pathlib import Path
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.conf.check import check_other
from meta1g.conf.cross import milter_problems
from meta1g.conf.load import ConfigError, read_source
from meta1g.milter.settings import MilterSettings, milter_settings
from meta1g_filters.pmult.options import ROOT

#: Name of the configuration file below the configuration directory.
CONFIG_NAME: Final = "pmult.conf"


@dataclass(frozen=True, slots=True)
class PmultSettings:
    """The configuration.

    Args:
        milters: those that are asked, in their order; at least one.
        max_threads: steps of sessions that wait for a filter at once.
    """

    milters: tuple[MilterSettings, ...]
    max_threads: int


def read_settings(path: Path) -> PmultSettings:
    """Reads a configuration.  Blocks: yes (disk).

    Raises:
        ConfigError: it cannot be read, or is wrong.
    """
    conf = check_other(read_source(path), ROOT, milter_problems)
    found = {one.name or "": one for one in conf.subs("milter")}
    names = conf.get("milters") if conf.given("milters") else tuple(found)
    if not names:
        raise ConfigError(f"{path}: no filter is asked; add milter NAME {{ socket {{ path = ...; }} }}")
    milters = tuple(milter_settings(found[name], path.absolute().parent) for name in names)
    return PmultSettings(milters, conf.get("max_threads"))
