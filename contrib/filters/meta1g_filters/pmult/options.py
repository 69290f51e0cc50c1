"""Options of pmult: what may stand in its configuration file.

    python -m meta1g_filters.pmult.options > docs/filter-pmult-options.md

Pure.  Ref: meta1.conf(5), grammar; docs/filter-pmult.md.
"""

from typing import Final

from meta1g.conf.defs_milter import milter_section, milters_option
from meta1g.conf.manual import other_markdown
from meta1g.conf.schema import Origin, SectionDef, option
from meta1g.conf.values import Int

ROOT: Final = SectionDef(
    "",
    "Options outside all sections.",
    Origin.OWN,
    (
        milters_option(),
        option(
            "max_threads",
            Int(2, 512),
            "32",
            Origin.OWN,
            "Steps of sessions that wait for a filter at once; read at the start only.",
        ),
    ),
    (milter_section("the directory of this file"),),
)


def markdown() -> str:
    """Gives docs/filter-pmult-options.md."""
    return other_markdown("pmult", "meta1g_filters.pmult.options", ROOT)


if __name__ == "__main__":
    print(markdown(), end="")
