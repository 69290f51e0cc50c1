"""Options of mcp, the supervisor.

Ref: MeTA1 README, "MCP Configuration" (modelled on).
"""

from typing import Final

from meta1g.conf.defs_common import LEVEL, LOG
from meta1g.conf.schema import Origin, SectionDef, option

MCP: Final = SectionDef(
    "mcp",
    "The supervisor: starts, watches and stops the components.",
    Origin.R,
    (
        option("log_level", LEVEL, "9", Origin.R, "How much mcp logs."),
        option("debug_level", LEVEL, "0", Origin.R, "How much mcp tells developers."),
    ),
    (LOG,),
)
