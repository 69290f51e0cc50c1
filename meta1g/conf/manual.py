"""The documentation that is made from the option tables.

    python -m meta1g.conf.manual markdown > docs/configuration.md
    python -m meta1g.conf.manual man > docs/man/meta1.conf.5
    smconf -h SECTION

Pure.  Ref: meta1.conf(5).
"""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

from meta1g.conf.check import walk
from meta1g.conf.defs import COMPONENTS, ROOT
from meta1g.conf.defs_common import COMMON, COMMON_SECTIONS
from meta1g.conf.dump import written
from meta1g.conf.schema import Naming, OptionDef, Origin, SectionDef
from meta1g.conf.values import Flags

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
        return ", ".join(flag.name for flag in row.kind.flags if flag.default)
    if row.default is None or row.default == ():
        return ""
    return written(row, row.default).partition(" = ")[2].removesuffix(";")


def _chapters() -> Iterator[tuple[str, str, SectionDef, Sequence[OptionDef], Sequence[SectionDef]]]:
    """Gives title, meaning, section, and the options and sections that are its own; the common ones come once."""
    yield "Outside of all sections", "These options stand outside of all sections.", ROOT, ROOT.options, ROOT.sections
    common = "Every component (qmgr, smtps, smtpc, smar) has these options; mcp reads the first ones."
    yield "Every component", common, COMPONENTS[0], COMMON, COMMON_SECTIONS
    shared = {id(row) for row in COMMON}
    for definition, path in walk(ROOT):
        if not path or (len(path) > 1 and definition in COMMON_SECTIONS):
            continue
        options = [row for row in definition.options if id(row) not in shared]
        sections = [row for row in definition.sections if row not in COMMON_SECTIONS]
        yield f"Section {' '.join(path)}", definition.meaning, definition, options, sections
    listen = COMMON_SECTIONS[1]
    yield f"Section {listen.keyword} of every component", listen.meaning, listen, listen.options, ()


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
        "`smconf FILE` checks a file, `smconf -p FILE` shows what is in force, `smconf -h SECTION` explains a section.",
        "",
        "## Language",
        "",
        "```",
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
        "```",
        EXAMPLE,
        "```",
    ]
    for title, meaning, definition, options, sections in _chapters():
        lines += ["", f"## {title}", "", meaning]
        if title.startswith("Section"):
            several = ", may stand several times" if definition.repeat else ""
            lines += ["", f"`{_form(definition)}` ({definition.origin.value}){several}"]
        lines += _markdown_options(options)
        if sections:
            lines += ["", f"Sections inside: {', '.join(f'`{row.keyword}`' for row in sections)}."]
    return "\n".join(lines) + "\n"


def _markdown_options(options: Sequence[OptionDef]) -> Iterator[str]:
    if not options:
        return
    yield ""
    yield "| option | value | default | origin | meaning |"
    yield "| --- | --- | --- | --- | --- |"
    for row in options:
        kind = "flags, see below" if isinstance(row.kind, Flags) else row.kind.describe()
        yield f"| `{row.name}` | {kind} | {_cell(default_text(row))} | {row.origin.value} | {row.meaning} |"
    for row in options:
        if isinstance(row.kind, Flags):
            yield ""
            yield f"| flag of `{row.name}` | default | origin | meaning |"
            yield "| --- | --- | --- | --- |"
            for flag in row.kind.flags:
                yield f"| `{flag.name}` | {'on' if flag.default else 'off'} | {flag.origin} | {flag.meaning} |"


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
    for title, meaning, definition, options, sections in _chapters():
        lines += [f".SS {_roff(title)}", _roff(meaning)]
        if title.startswith("Section"):
            lines += [".PP", f".B {_roff(_form(definition))}", f"({definition.origin.value})"]
        lines += [line for row in options for line in _man_option(row)]
        if sections:
            lines += [".PP", _roff(f"Sections inside: {', '.join(row.keyword for row in sections)}.")]
    lines += [".SH EXAMPLE", ".nf", *_roff(EXAMPLE).split("\n"), ".fi", ".SH SEE ALSO"]
    lines += [".BR mcp (8),", ".BR smconf (8),", ".BR metaconf (8),", ".BR createmap (8)"]
    return "\n".join(lines) + "\n"


def _man_option(row: OptionDef) -> Iterator[str]:
    kind = "flags" if isinstance(row.kind, Flags) else row.kind.describe()
    default = default_text(row)
    facts = [kind, f"default {default}" if default and not row.required else default, row.origin.value]
    yield ".TP"
    yield f".B {_roff(row.name)}"
    yield _roff(f"({'; '.join(fact for fact in facts if fact)}) {row.meaning}")
    if isinstance(row.kind, Flags):
        yield ".RS"
        for flag in row.kind.flags:
            yield ".TP"
            yield f".B {_roff(flag.name)}"
            yield _roff(f"({'on' if flag.default else 'off'}; {flag.origin}) {flag.meaning}")
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
    definition = ROOT
    for word in path:
        if word.lower() == "global":
            continue
        found = definition.by_section.get(word.lower())
        if found is None:
            return None
        definition = found
    title = _form(definition) if definition.keyword else "options outside of all sections"
    lines = [f"{title}: {definition.meaning}" if definition.keyword else title]
    lines += [line for row in definition.options for line in _help_option(row)]
    if definition.sections:
        lines += ["", "sections inside:"]
        lines += [f"  {_form(row):<28} {row.meaning}" for row in definition.sections]
    return "\n".join(lines) + "\n"


def _help_option(row: OptionDef) -> Iterator[str]:
    default = default_text(row)
    kind = "flags" if isinstance(row.kind, Flags) else row.kind.describe()
    yield ""
    yield f"  {row.name}{'' if not default else f' [{default}]'} ({kind}; {row.origin.value})"
    yield from textwrap.wrap(row.meaning, _WIDTH, initial_indent="      ", subsequent_indent="      ")
    if isinstance(row.kind, Flags):
        for flag in row.kind.flags:
            yield f"      {flag.name:<22} {'on ' if flag.default else 'off'} {flag.meaning} ({flag.origin})"


if __name__ == "__main__":
    import sys

    sys.stdout.write({"markdown": markdown, "man": man_page}[sys.argv[1]]())
