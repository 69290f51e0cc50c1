"""Options of mcp, the supervisor.

Ref: MeTA1 README, "MCP Configuration" (modelled on).
"""

from typing import Final

from meta1g.conf.defs_common import LEVELS, LOG
from meta1g.conf.schema import Origin, SectionDef

MCP: Final = SectionDef(
    "mcp",
    "The supervisor: starts, watches and stops the components.",
    Origin.R,
    LEVELS,
    (LOG,),
)
