"""Rows of the option tables: what may stand where, and what it means.

Everything else comes from the rows: the checks, the typed values, `smconf -h`, the manual page, docs/configuration.md.

Pure.  Ref: MeTA1 README, chapter on options (names and grouping modelled on).
"""

from collections.abc import Mapping
from dataclasses import field
from enum import Enum, StrEnum
from typing import Any

from meta1g.base.dataclass import dataclass
from meta1g.conf.values import ValueKind


class Origin(StrEnum):
    """Where an option comes from."""

    S = "S"  # MeTA1 has it: name, place and form stand in its published material
    R = "R"  # modelled on MeTA1: the idea is its, the spelling or the default may not be
    OWN = "own"


class Naming(Enum):
    """Whether a section has a name."""

    NONE = "none"
    MAY = "may"
    MUST = "must"


@dataclass(frozen=True, slots=True)
class OptionDef:
    """One option.

    Args:
        name: its name; case does not matter in files.
        kind: what its value may be.
        default: value if it is not given; the kind's empty value if there is no default.
        origin: where it comes from.
        meaning: one sentence.
        repeat: it may be given several times, the lists are joined.
        required: its section has to give it.
        inherit: without it the value outside of all sections holds.
    """

    name: str
    kind: ValueKind
    default: Any
    origin: Origin
    meaning: str
    repeat: bool = False
    required: bool = False
    inherit: bool = False


@dataclass(frozen=True, slots=True)
class SectionDef:
    """One section.

    Args:
        keyword: its keyword; case does not matter in files.
        meaning: one sentence.
        origin: where it comes from.
        options: its options.
        sections: sections inside it.
        naming: whether it has a name.
        repeat: it may stand several times, with different names if it has names.
    """

    keyword: str
    meaning: str
    origin: Origin
    options: tuple[OptionDef, ...] = ()
    sections: "tuple[SectionDef, ...]" = ()
    naming: Naming = Naming.NONE
    repeat: bool = False
    by_option: Mapping[str, OptionDef] = field(init=False, repr=False, compare=False)
    by_section: "Mapping[str, SectionDef]" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_option", {row.name.lower(): row for row in self.options})
        object.__setattr__(self, "by_section", {row.keyword.lower(): row for row in self.sections})


def option(
    name: str,
    kind: ValueKind,
    default: str | None,
    origin: Origin,
    meaning: str,
    *,
    repeat: bool = False,
    required: bool = False,
    inherit: bool = False,
) -> OptionDef:
    """Makes a row; the default is written as in a file, so that it is inside the bounds.

    Raises:
        ValueError: the default is wrong.
    """
    value = kind.empty if default is None else kind.combine([kind.parse(default)])
    return OptionDef(name, kind, value, origin, meaning, repeat, required, inherit)
