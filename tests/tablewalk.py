"""Tries the rows of tables that say what something of another MTA is here: `| there | here | where |`.

`where` is `meta1.conf` or a section (smtps, smtpc, smar, qmgr), a map (access, mailertable, aliases), or `shell`.  Text of the
configuration has to be taken without an error or a warning, an entry of a map by whoever reads that map, a command has to
succeed in the directory of a site, which has all maps of its table, and a running gateway.
"""

import contextlib
import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from contrib.lib.gateway import ROOT, Gateway
from meta1g.base.reply import Reply
from meta1g.conf.load import load_text
from meta1g.maps.static import StaticMap
from meta1g.maps.textmap import parse_entries
from meta1g.rcb.qmgr_smar import Members
from meta1g.smar.access import BROKEN, parse_rhs
from meta1g.smar.alias import Aliases
from meta1g.smar.relay import RelayRules
from meta1g.smar.route import RouteDefaults, Routes, parse_value
from meta1g.smtp.address import parse_path
from meta1g.tools.mapchk import check_access
from tests.tables import Row, code

SECTIONS = ("smtps", "smtpc", "smar", "qmgr")
MAPS = ("access", "mailertable", "aliases")
