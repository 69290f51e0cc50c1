"""Writes a configuration: with its defaults and where each value comes from, as data, or its differences to another one.

Pure.  Ref: MeTA1 smconf, metaconf (modelled on).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from meta1g.base.dataclass import dataclass
from meta1g.conf.config import Config, DumpedOption, Section
from meta1g.conf.schema import OptionDef, SectionDef
from meta1g.conf.values import Flags, quote

_COMMENT_COLUMN: Final = 56
_INDENT: Final = "  "


def written(row: OptionDef, value: Any) -> str:
    """Writes an option as in a file: `name = value;`."""
    return _assignment(row, row.kind.words(value))


def _assignment(row: OptionDef, texts: Sequence[str]) -> str:
    words = [quote(text) for text in texts]
    if row.kind.many:
        return f"{row.name} = {{ {', '.join(words)} }};" if words else f"{row.name} = {{ }};"
    return f"{row.name} = {words[0]};"


def effective(config: Config) -> str:
    """Writes the whole configuration with all defaults; the text loads to the same configuration."""
    lines = [*_options(config.glob, "")]
    for section in sorted(config.glob.children(), key=lambda one: one.pos):
        lines += ["", *_section(section, "")]
    lines += [line for row in config.glob.definition.sections for line in _absent(config.glob, row, "")]
    return "\n".join(lines) + "\n"


def given(config: Config) -> str:
    """Writes what the file gives and nothing else, flags as far as they differ from their defaults.

    Options are in the order of the tables, and the text loads to the same configuration.
    """
    sections = sorted(config.glob.children(), key=lambda one: one.pos)
    return "".join(f"{line}\n" for line in (*_given(config.glob, ""), *_given_sections(sections, "")))


def _given(section: Section, indent: str) -> Iterator[str]:
    for item in section.items():
        if section.given(item.row.name):
            kind = item.row.kind
            words = kind.changed(item.value) if isinstance(kind, Flags) else kind.words(item.value)
            yield indent + _assignment(item.row, words)


def _given_sections(sections: Iterable[Section], indent: str) -> Iterator[str]:
    for section in sections:
        yield f"{indent}{_title(section)} {{"
        yield from _given(section, indent + _INDENT)
        yield from _given_sections(section.children(), indent + _INDENT)
        yield f"{indent}}}"


def _title(section: Section) -> str:
    return section.keyword if section.name is None else f"{section.keyword} {quote(section.name)}"


def _section(section: Section, indent: str) -> Iterator[str]:
    yield _line(f"{indent}{_title(section)} {{", section.where)
    yield from _options(section, indent + _INDENT)
    for row in section.definition.sections:
        for sub in section.subs(row.keyword):
            yield from _section(sub, indent + _INDENT)
        yield from _absent(section, row, indent + _INDENT)
    yield f"{indent}}}"


def _options(section: Section, indent: str) -> Iterator[str]:
    for item in section.items():
        if item.value is not None:
            yield _line(indent + written(item.row, item.value), item.where or "default")
        else:
            yield f"{indent}# {item.row.name} is not given"


def _absent(section: Section, row: SectionDef, indent: str) -> Iterator[str]:
    """Writes a section that is not given as a comment, if it has defaults that count."""
    if section.subs(row.keyword) or row.repeat or _counts_if_there(row):
        return
    defaults = [written(one, one.default) for one in row.options if one.default not in (None, (), frozenset())]
    if defaults:
        yield _line(f"{indent}# {row.keyword} {{ {' '.join(defaults)} }}", "default")


def _line(text: str, comment: str) -> str:
    return f"{text:<{_COMMENT_COLUMN - 1}} # {comment}"


def as_data(config: Config) -> dict[str, Any]:
    """Gives the whole configuration for JSON: options with value and place, sections in the order of the table."""
    return {"file": str(config.path), "warnings": config.warnings, **_data(config.glob)}


def _data(section: Section) -> dict[str, Any]:
    options = {item.row.name: {"value": _plain(item), "given": item.where} for item in section.items()}
    made: dict[str, Any] = {"options": options, "sections": [_data(sub) for sub in section.children()]}
    return {"keyword": section.keyword, "name": section.name, "where": section.where, **made} if section.keyword else made


def _plain(item: DumpedOption) -> Any:
    if isinstance(item.value, frozenset):
        return sorted(item.value)
    return list(item.value) if isinstance(item.value, tuple) else item.value


@dataclass(frozen=True, slots=True)
class _Fact:
    """One option or section: what it says, and whether the text says it."""

    text: str
    given: bool


def differences(old: Config, new: Config) -> list[str]:
    """Compares what two configurations mean, defaults included; the order of options does not matter.

    Returns:
        One line for each difference: `- ` only in old, `+ ` only in new, `! ` changed.
    """
    before, after = dict(_facts(old.glob, "")), dict(_facts(new.glob, ""))
    lines = []
    for key in [*before, *(key for key in after if key not in before)]:
        was, now = before.get(key), after.get(key)
        if now is None or was is None:
            only = was or now
            if only is not None and only.given:
                lines.append(f"{'-' if now is None else '+'} {key}{only.text}")
        elif was.text != now.text:
            lines.append(f"! {key}{was.text} -> {now.text.removeprefix(' = ')}")
    return lines


def _facts(section: Section, prefix: str) -> Iterator[tuple[str, _Fact]]:
    """Gives a key such as `smtps MTA: max_hops` and its fact for each option and section."""
    for item in section.items():
        if item.value is not None:
            text = written(item.row, item.value)[len(item.row.name) :].removesuffix(";")
            yield f"{prefix}{item.row.name}", _Fact(text, section.given(item.row.name))
    for row in section.definition.sections:
        subs = section.subs(row.keyword)
        if not subs and not row.repeat and not _counts_if_there(row):
            subs = (section.sub(row.keyword),)
        for number, sub in enumerate(subs):
            title = f"{sub.title} #{number + 1}" if sub.name is None and len(subs) > 1 else sub.title
            if row.repeat or _counts_if_there(row):
                yield f"{prefix}{title}", _Fact(" { ... }", given=True)
            yield from _facts(sub, f"{prefix}{title}: ")


def _counts_if_there(row: SectionDef) -> bool:
    """Tells whether a section means something by being there, beside the values of its options."""
    return row.keyword not in ("log", "mcp", "smtps", "smtpc", "IBDB", "DEFEDB", "verify")
