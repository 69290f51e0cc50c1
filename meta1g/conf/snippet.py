"""Reads configuration snippets: values of maps that are pieces of the configuration language.

A value may be as long as the map allows; nothing is cut.

Pure.  Ref: MeTA1 README, access map tags `smtpc_rcpt_conf:`, `smtps_session_conf:`, `smtpc_session_conf:`.
"""

from meta1g.base.errors import BugError, Module
from meta1g.conf.check import Checker
from meta1g.conf.config import Section
from meta1g.conf.defs_session import SNIPPETS
from meta1g.conf.errors import error_of
from meta1g.conf.grammar import parse
from meta1g.conf.tree import SectionNode, Source


def parse_snippet(text: str, kind: str, where: str = "") -> Section:
    """Reads a snippet.

    Args:
        text: options and sections, without braces around them.
        kind: tag of its key without the colon, such as `smtpc_rcpt_conf`.
        where: names the entry in errors; the kind if empty.

    Returns:
        A section like that of a configuration file; `given()` tells what the snippet says.

    Raises:
        ConfigError: the snippet is wrong.
        BugError: there is no such kind.
    """
    definition = SNIPPETS.get(kind)
    if definition is None:
        raise BugError(Module.CONF, f"there is no snippet {kind}; add it to conf/defs_session")
    source = Source(where or kind, text)
    entries, problems = parse(source)
    section = Checker(source, problems, lenient=False).section(definition, SectionNode(kind, 0, None, entries), (kind,))
    if problems:
        raise error_of(source, problems)
    return section
