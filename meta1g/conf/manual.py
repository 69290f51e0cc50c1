"""The documentation that is made from the option tables.

    python -m meta1g.conf.manual markdown > docs/configuration.md
    python -m meta1g.conf.manual man > docs/man/meta1.conf.5
    smconf -h SECTION

Pure.  Ref: meta1.conf(5).
"""

import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.conf.changes import FlagChanges
from meta1g.conf.check import walk
from meta1g.conf.defs import COMPONENTS, ROOT
from meta1g.conf.defs_common import COMMON, COMMON_SECTIONS
from meta1g.conf.defs_session import DESTINATION, SMTPS_SESSION, SNIPPETS
from meta1g.conf.dump import written
from meta1g.conf.effects import MARK, has_no_effect
from meta1g.conf.schema import Naming, OptionDef, Origin, SectionDef
from meta1g.conf.values import Flag, Flags

_WIDTH: Final = 100
_ORIGINS: Final = {
    Origin.S: "MeTA1 has this option (or flag, or section) under this name.",
    Origin.R: "Modelled on MeTA1; its spelling or default there may differ.",
    Origin.OWN: "Of meta1g.",
}
_GRAMMAR: Final = """\
conf        ::= entries
entries     ::= entry *
entry       ::= option | section
section     ::= keyword [name] "{" entries "}" [";"]
option      ::= option-name "=" rhs
rhs         ::= value ";" | "{" value-list "}" [";"]"""
_RULES: Final = (
    "Case does not matter in keywords, names of options, flags and fixed words.",
    "Layout is free. A comment goes from # to the end of the line. The file is UTF-8.",
    "A value-list is separated by commas; a comma at its end does no harm. A single value needs no braces.",
    'A value with blanks or any of { } = ; , " # \\ stands in double quotation marks, with the escapes of C.',
    "Adjacent quoted strings are one value.",
    "A number is decimal, octal with a leading 0, or hexadecimal with 0x.",
    "A time is a number of seconds, or numbers with the units s, m, h, d, w, such as 5m3s.",
    "A size is a number of bytes, or a number with the unit B, KB, MB or GB; 1 KB is 1024 bytes.",
    "A flag that is set by default is cleared by dont_NAME; no_NAME and !NAME do the same.",
    "Maps and certificates are relative to the configuration directory, queue files and sockets to the queue directory.",
    "All errors of a file are told in one run, and the program exits with 78.",
    "What is unknown is an error; with -L it is a warning, unless it concerns TLS, AUTH, access or relaying.",
)
EXAMPLE: Final = """\
log_level = 9;
qmgr {
  AQ_max_entries = 8192;
  smtpc { initial_connections = 19; max_connections = 101; }
  start_action = wait;
  user = meta1q;
  restart_dependencies = { smtps, smtpc, smar };
  path = "/usr/libexec/qmgr";
  arguments = "qmgr -f /etc/meta1/meta1.conf";
}
smtps MTA {
  flags = { 8bitmime, delay_checks };
  CDB_gid = 262;
  listen_socket { type = inet; port = 25; }
  start_action = pass;
  pass_fd_socket = smtps/smtpsfd;
  user = meta1s;
  path = /usr/libexec/smtps;
  arguments = "smtps -f /etc/meta1/meta1.conf";
}
smtpc {
  LMTP_socket = "lmtpsock";
  user = meta1c;
  path = "/usr/libexec/smtpc";
  arguments = "smtpc -f /etc/meta1/meta1.conf";
}
smar {
  nameserver = { 10.10.10.9, 127.0.0.1 };
  mailertable { file = "mailertable.db"; }
  aliases { file = "aliases.db"; flags = { localpart, local_domains }; }
  user = meta1m;
  restart_dependencies = { smtps, qmgr };
  path = "/usr/libexec/smar";
  arguments = "smar -f /etc/meta1/meta1.conf";
}"""


def default_text(row: OptionDef) -> str:
    """Gives the default as it would be written, empty if there is none."""
    if row.required:
        return "required"
    if isinstance(row.kind, Flags):
        return ", ".join(flag.name for flag in row.kind.flags if flag.name in row.kind.empty)
    if row.default is None or row.default == ():
        return ""
    return written(row, row.default).partition(" = ")[2].removesuffix(";")


@dataclass(frozen=True, slots=True)
class _Chapter:
    """One chapter: its rows, and how they are reached."""

    title: str
    meaning: str
    definition: SectionDef
    path: tuple[str, ...]
    options: Sequence[OptionDef]
    sections: Sequence[SectionDef] = ()

    @property
    def is_section(self) -> bool:
        return self.title.startswith("Section")

    def meaning_of(self, row: OptionDef) -> str:
        """Gives what an option means, with a mark if it has no effect."""
        return _marked(row.meaning, *self.path, row.name)


def _marked(meaning: str, *path: str) -> str:
    return f"{meaning} {MARK}" if has_no_effect(*path) else meaning


def _chapters() -> Iterator[_Chapter]:
    """Gives all chapters; options and sections of all components come once."""
    yield _Chapter("Outside of all sections", "These options stand outside.", ROOT, ("global",), ROOT.options, ROOT.sections)
    common = f"Every component ({', '.join(row.keyword for row in COMPONENTS)}) has these options."
    yield _Chapter("Every component", common, COMPONENTS[0], ("component",), COMMON, COMMON_SECTIONS)
    shared = {id(row) for row in COMMON}
    for definition, path in walk(ROOT):
        if not path or (len(path) > 1 and definition in COMMON_SECTIONS):
            continue
        options = [row for row in definition.options if definition not in COMPONENTS or id(row) not in shared]
        sections = [row for row in definition.sections if row not in COMMON_SECTIONS]
        meaning = _marked(definition.meaning, *path)
        yield _Chapter(f"Section {' '.join(path)}", meaning, definition, path, options, sections)
    listen = COMMON_SECTIONS[1]
    path = ("component", listen.keyword)
    yield _Chapter(f"Section {listen.keyword} of every component", listen.meaning, listen, path, listen.options)
    for snippet in SNIPPETS.values():
        for definition, path in walk(snippet, (snippet.keyword,)):
            if definition is snippet or snippet is SMTPS_SESSION:
                place = "the configuration map of qmgr" if snippet is DESTINATION else "the access map"
                title = f"Value of {place}: {' '.join(path)}"
                meaning = _marked(definition.meaning, *path)
                yield _Chapter(title, meaning, definition, path, definition.options, definition.sections)


def _form(definition: SectionDef) -> str:
    """Tells how a section is written."""
    name = {Naming.NONE: "", Naming.MAY: " [NAME]", Naming.MUST: " NAME"}[definition.naming]
    return f"{definition.keyword}{name} {{ ... }}"


# -- Markdown


def markdown() -> str:
    """Gives docs/configuration.md."""
    lines = [
        "# Configuration",
        "",
        "Made from the tables in `meta1g/conf` by `python -m meta1g.conf.manual markdown`; do not edit.",
        "",
        "`smconf FILE` checks a file, `smconf -n FILE` shows what it gives, `smconf -p FILE` what is in force,",
        "`smconf -h SECTION` explains a section.",
        "",
        "## Language",
        "",
        "```text not run: the grammar",
        _GRAMMAR,
        "```",
        "",
        *(f"- {rule}" for rule in _RULES),
        "",
        "## Origins",
        "",
        *(f"- {origin.value}: {meaning}" for origin, meaning in _ORIGINS.items()),
        "",
        "## Example",
        "",
        "```conf",
        EXAMPLE,
        "```",
    ]
    for chapter in _chapters():
        lines += ["", f"## {chapter.title}", "", chapter.meaning]
        if chapter.is_section:
            several = ", may stand several times" if chapter.definition.repeat else ""
            lines += ["", f"`{_form(chapter.definition)}` ({chapter.definition.origin.value}){several}"]
        lines += _markdown_options(chapter)
        if chapter.sections:
            lines += ["", f"Sections inside: {', '.join(f'`{row.keyword}`' for row in chapter.sections)}."]
    return "\n".join(lines) + "\n"


def other_markdown(program: str, module: str, root: SectionDef) -> str:
    """Gives the page of other tables than the gateway's: those of a filter.

    Args:
        program: the filter.
        module: where the tables stand; as a program it makes the page of them.
        root: the tables.
    """
    made_by = f"Made by `python -m {module}` from the tables of that module; do not edit."
    lines = [f"# Options of {program}", "", made_by, "", "The language is that of meta1.conf(5)."]
    for definition, path in walk(root):
        title = f"Section {' '.join(path)}" if path else definition.meaning.removesuffix(".")
        chapter = _Chapter(title, definition.meaning, definition, path, definition.options)
        lines += ["", f"## {title}"]
        if path:
            several = ", may stand several times" if definition.repeat else ""
            lines += ["", definition.meaning, "", f"`{_form(definition)}`{several}"]
        lines += _markdown_options(chapter)
        if definition.sections:
            lines += ["", f"Sections inside: {', '.join(f'`{row.keyword}`' for row in definition.sections)}."]
    return "\n".join(lines) + "\n"


def _markdown_options(chapter: _Chapter) -> Iterator[str]:
    if not chapter.options:
        return
    yield ""
    yield "| option | value | default | origin | meaning |"
    yield "| --- | --- | --- | --- | --- |"
    for row in chapter.options:
        kind = "flags, see below" if isinstance(row.kind, Flags) else row.kind.describe()
        yield f"| `{row.name}` | {kind} | {_cell(default_text(row))} | {row.origin.value} | {_plain(chapter.meaning_of(row))} |"
    for row in chapter.options:
        if isinstance(row.kind, Flags):
            yield ""
            yield f"| flag of `{row.name}` | default | origin | meaning |"
            yield "| --- | --- | --- | --- |"
            for flag in row.kind.flags:
                meaning = _marked(flag.meaning, *chapter.path, row.name, flag.name)
                yield f"| `{flag.name}` | {_state(row.kind, flag)} | {flag.origin} | {_plain(meaning)} |"


def _state(kind: Flags, flag: Flag) -> str:
    """Tells whether a flag is set if nothing is said of it."""
    return "as the section" if isinstance(kind, FlagChanges) else "on" if flag.default else "off"


def _plain(text: str) -> str:
    """Gives text of which Markdown makes nothing else."""
    return re.sub(r"([<*|\[\]])", r"\\\1", text)


def _cell(text: str) -> str:
    return f"`{text}`" if text else ""


# -- manual page


def man_page() -> str:
    """Gives meta1.conf(5)."""
    lines = [
        '.\\" Made from the tables in meta1g/conf by `python -m meta1g.conf.manual man`; do not edit.',
        '.TH META1.CONF 5 "" "meta1g" "File formats"',
        ".SH NAME",
        "meta1.conf \\- configuration file of meta1g",
        ".SH SYNOPSIS",
        ".B /etc/meta1/meta1.conf",
        ".SH DESCRIPTION",
        "The file configures",
        ".BR mcp (8)",
        "and the components it starts: qmgr, smtps, smtpc, smar.",
        ".BR smconf (8)",
        "checks a file, shows what is in force and explains sections.",
        ".SS Grammar",
        ".nf",
        *_roff(_GRAMMAR).split("\n"),
        ".fi",
        ".SS Rules",
        *(line for rule in _RULES for line in (".PP", _roff(rule))),
        ".SH OPTIONS",
        "In parentheses: kind of value; default; origin.",
        *(line for origin, meaning in _ORIGINS.items() for line in (".TP", f".B {origin.value}", _roff(meaning))),
    ]
    for chapter in _chapters():
        lines += [f".SS {_roff(chapter.title)}", _roff(chapter.meaning)]
        if chapter.is_section:
            lines += [".PP", f".B {_roff(_form(chapter.definition))}", f"({chapter.definition.origin.value})"]
        lines += [line for row in chapter.options for line in _man_option(chapter, row)]
        if chapter.sections:
            lines += [".PP", _roff(f"Sections inside: {', '.join(row.keyword for row in chapter.sections)}.")]
    lines += [".SH EXAMPLE", ".nf", *_roff(EXAMPLE).split("\n"), ".fi", ".SH SEE ALSO"]
    lines += [".BR mcp (8),", ".BR smconf (8),", ".BR metaconf (8),", ".BR createmap (8)"]
    return "\n".join(lines) + "\n"


def _man_option(chapter: _Chapter, row: OptionDef) -> Iterator[str]:
    kind = "flags" if isinstance(row.kind, Flags) else row.kind.describe()
    default = default_text(row)
    facts = [kind, f"default {default}" if default and not row.required else default, row.origin.value]
    yield ".TP"
    yield f".B {_roff(row.name)}"
    yield _roff(f"({'; '.join(fact for fact in facts if fact)}) {chapter.meaning_of(row)}")
    if isinstance(row.kind, Flags):
        yield ".RS"
        for flag in row.kind.flags:
            yield ".TP"
            yield f".B {_roff(flag.name)}"
            meaning = _marked(flag.meaning, *chapter.path, row.name, flag.name)
            yield _roff(f"({_state(row.kind, flag)}; {flag.origin}) {meaning}")
        yield ".RE"


def _roff(text: str) -> str:
    """Makes a text safe for roff."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in escaped.split("\n"))


# -- smconf -h


def section_help(path: Sequence[str]) -> str | None:
    """Gives the help for a section.

    Args:
        path: keywords from outside to inside; none or `global` for the options outside of all sections.

    Returns:
        Text, or None if there is no such section.
    """
    definition, known = ROOT, {**ROOT.by_section, **SNIPPETS}
    keywords: list[str] = []
    for word in path:
        if word.lower() == "global":
            continue
        found = known.get(word.lower())
        if found is None:
            return None
        definition, known = found, dict(found.by_section)
        keywords.append(found.keyword)
    what = _marked(definition.meaning, *keywords)
    lines = [f"{_form(definition)}: {what}" if definition.keyword else "options outside of all sections"]
    lines += [line for row in definition.options for line in _help_option(row, keywords)]
    if definition.sections:
        lines += ["", "sections inside:"]
        lines += [f"  {_form(row):<28} {_marked(row.meaning, *keywords, row.keyword)}" for row in definition.sections]
    if not keywords:
        lines += ["", f"values of the access map: {', '.join(SNIPPETS)}"]
    return "\n".join(lines) + "\n"


def _help_option(row: OptionDef, keywords: Sequence[str]) -> Iterator[str]:
    home = "component" if any(row is one for one in COMMON) else " ".join(keywords)
    default = default_text(row)
    kind = "flags" if isinstance(row.kind, Flags) else row.kind.describe()
    yield ""
    yield f"  {row.name}{'' if not default else f' [{default}]'} ({kind}; {row.origin.value})"
    meaning = _marked(row.meaning, *home.split(), row.name)
    yield from textwrap.wrap(meaning, _WIDTH, initial_indent="      ", subsequent_indent="      ")
    if isinstance(row.kind, Flags):
        for flag in row.kind.flags:
            meaning = _marked(flag.meaning, *home.split(), row.name, flag.name)
            yield f"      {flag.name:<22} {_state(row.kind, flag):3} {meaning} ({flag.origin})"


if __name__ == "__main__":
    import sys

    sys.stdout.write({"markdown": markdown, "man": man_page}[sys.argv[1]]())
