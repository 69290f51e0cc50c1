"""The whole table: what may stand in a configuration file.

Pure.  Ref: meta1.conf(5).
"""

from typing import Final

from meta1g.conf.defs_common import GLOBAL, LOG
from meta1g.conf.defs_mcp import MCP
from meta1g.conf.defs_qmgr import QMGR
from meta1g.conf.defs_smar import SMAR
from meta1g.conf.defs_smtpc import SMTPC
from meta1g.conf.defs_smtps import SMTPS
from meta1g.conf.schema import Origin, SectionDef

COMPONENTS: Final = (QMGR, SMTPS, SMTPC, SMAR)
ROOT: Final = SectionDef("", "Options outside all sections.", Origin.S, GLOBAL, (LOG, MCP, *COMPONENTS))
