"""The texts of reports: what a person reads in them, in the language that the operator chooses.

    failure_template = <<EOF
    Subject: Undelivered mail returned to sender

    This is the mail system of $hostname. ...
    EOF

The form is that of Postfix's bounce(5).  Everything that is wrong is found when the file is read, so that a report can always
be made; meta1g/conf/report_texts.txt holds the texts that are used otherwise, and says what is possible.

Pure.  Ref: Postfix bounce(5) (modelled on).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.conf.errors import error_of
from meta1g.conf.tree import Problem, Source
from meta1g.conf.values import shown, suggest

_UNITS: Final[Mapping[str, int]] = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400, "weeks": 604_800}
#: Words that every text may use.
_WORDS: Final = frozenset(
    {
        *("hostname", "myhostname", "mydomain", "queue_id", "retry_until"),
        *(f"{name}_{unit}" for name in ("delay_warning_time", "maximal_queue_lifetime") for unit in _UNITS),
    }
)
_HOST: Final = "host"
_COMMON: Final = ("From", "Subject", "Charset", "Answered")
_GIVEN_UP: Final = (*_COMMON, "Expired")
#: Templates by name, with the fields that each may have.
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "failure_template": _GIVEN_UP,
    "delay_template": _COMMON,
    "success_template": (*_COMMON, "Delivered", "Relayed", "Expanded"),
    "double_bounce_template": _GIVEN_UP,
}
#: RFC 5322 2.1.1 allows 998 octets; a template is for people.
_LINE_MAX_CHARS: Final = 240
_CHARSETS: Final = ("us-ascii", "utf-8")
_BEGIN: Final = re.compile(r"([A-Za-z_]+)[ \t]*=[ \t]*<<[ \t]*([^\s]+)[ \t]*")
_FIELD: Final = re.compile(r"([A-Za-z][A-Za-z-]*):[ \t]*(.*)")
_WORD: Final = re.compile(r"\$(\$|[A-Za-z_]+|\{[A-Za-z_]+\}|\([A-Za-z_]+\))?")
_MAILBOX: Final = r"([A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+(?:@[A-Za-z0-9.-]+)?)"
_FROM: Final = re.compile(rf"{_MAILBOX}(?:[ \t]*\(([^()]*)\))?|([^<>()]*?)[ \t]*<{_MAILBOX}>")


@dataclass(frozen=True, slots=True)
class Template:
    """One template: its fields by name, and its text in lines."""

    fields: Mapping[str, str]
    body: tuple[str, ...]

    def line(self, field: str, words: Mapping[str, str]) -> str:
        """Gives a field with its words replaced, empty if it has none."""
        return fill(self.fields.get(field, ""), words)

    def text(self, words: Mapping[str, str]) -> list[str]:
        """Gives the lines of the text with their words replaced."""
        return [fill(line, words) for line in self.body]


Templates = Mapping[str, Template]


def fill(text: str, words: Mapping[str, str]) -> str:
    """Replaces `$word`, `${word}` and `$(word)`; `$$` is a dollar sign."""
    return _WORD.sub(lambda match: "$" if match[1] == "$" else words.get((match[1] or "").strip("{}()"), ""), text)


def periods(name: str, seconds: int) -> dict[str, str]:
    """Gives the words of a time: `name_UNIT` for each unit, rounded to the nearest whole number."""
    return {f"{name}_{unit}": str(round(seconds / length)) for unit, length in _UNITS.items()}


def parse(source: Source, base: Templates) -> Templates:
    """Reads templates.

    Args:
        source: the text.
        base: what holds for templates and fields that it does not have.

    Raises:
        ConfigError: something is wrong with it; all of it is told.
    """
    problems: list[Problem] = []
    found = dict(base)
    seen: set[str] = set()
    for name, pos, lines in _blocks(source.text, problems):
        if name not in FIELDS:
            problems.append(Problem(pos, f"unknown template {shown(name)}; {suggest(name, FIELDS)}"))
            continue
        if name in seen:
            problems.append(Problem(pos, f"{name} is there twice; remove one"))
        seen.add(name)
        template = _template(name, pos, lines, problems)
        known = base.get(name)
        found[name] = template if known is None else replace(template, fields={**known.fields, **template.fields})
    if problems:
        raise error_of(source, problems)
    return found


_Lines = list[tuple[int, str]]


def _lines(text: str) -> Iterator[tuple[int, str]]:
    pos = 0
    for line in text.split("\n"):
        yield pos, line.removesuffix("\r")
        pos += len(line) + 1


def _blocks(text: str, problems: list[Problem]) -> Iterator[tuple[str, int, _Lines]]:
    """Gives name, place and lines of each template."""
    lines = _lines(text)
    for pos, line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        begin = _BEGIN.fullmatch(line)
        if begin is None:
            problems.append(Problem(pos, "expected NAME_template = <<EOF"))
            return
        held: _Lines = []
        for one in lines:
            if one[1] == begin[2]:
                break
            held.append(one)
        else:
            problems.append(Problem(pos, f"{begin[1]} has no end; write {begin[2]} in a line of its own behind it"))
            return
        yield begin[1], pos, held


def _template(name: str, pos: int, lines: _Lines, problems: list[Problem]) -> Template:
    fields: dict[str, str] = {}
    rest = iter(lines)
    for place, line in rest:
        if not line:
            break
        match = _FIELD.fullmatch(line)
        if match is None:
            problems.append(Problem(place, "expected a field such as Subject: or an empty line before the text"))
            continue
        key = next((one for one in FIELDS[name] if one.lower() == match[1].lower()), "")
        if not key:
            problems.append(Problem(place, f"unknown field {shown(match[1])} in {name}; {suggest(match[1], FIELDS[name])}"))
        elif key in fields:
            problems.append(Problem(place, f"field {key} is there twice; remove one"))
        else:
            fields[key] = match[2].strip()
            problems += _field_problems(key, fields[key], place)
    body = list(rest)
    if not any(line.strip() for _, line in body):
        problems.append(Problem(pos, f"{name} has no text; write it behind an empty line"))
    for place, line in (*lines[: len(lines) - len(body)], *body):
        problems += _line_problems(line, place, fields.get("Charset", ""))
    return Template(fields, tuple(line for _, line in body))


def _field_problems(key: str, value: str, pos: int) -> Iterator[Problem]:
    if key == "Charset" and value.lower() not in _CHARSETS:
        yield Problem(pos, f"charset {shown(value)} is not possible; save the file as UTF-8 and write utf-8")
    if key == "Subject" and not value:
        yield Problem(pos, "the subject is empty")
    if key == "From":
        try:
            sender_of(value, "host.example")
        except ValueError:
            yield Problem(pos, f"From: {shown(value)} is no mail address; write NAME (TEXT) or TEXT <NAME>")


def _line_problems(line: str, pos: int, charset: str) -> Iterator[Problem]:
    if len(line) > _LINE_MAX_CHARS:
        yield Problem(pos + _LINE_MAX_CHARS, f"the line has more than {_LINE_MAX_CHARS} characters; break it")
    if charset.lower() == "us-ascii" and not line.isascii():
        yield Problem(pos, "the line has characters that are not in us-ascii; write Charset: utf-8")
    bad = next((at for at, char in enumerate(line) if not char.isprintable() and char != "\t"), -1)
    if bad >= 0:
        yield Problem(pos + bad, "a control character; remove it")
    known = _WORDS | {_HOST} if line.lower().startswith("answered:") else _WORDS
    for match in _WORD.finditer(line):
        word = match[1].strip("{}()") if match[1] else ""
        if not word:
            yield Problem(pos + match.start(), "a $ without a word behind it; write $$ for a dollar sign")
        elif word != "$" and word not in known:
            yield Problem(pos + match.start(), f"unknown word {shown(match[0])}; {suggest(word, sorted(known))}")


def sender_of(value: str, hostname: str) -> tuple[str, str]:
    """Gives name and address of a From field; an address without a domain is in ours.

    Raises:
        ValueError: it is no address.
    """
    match = _FROM.fullmatch(value)
    if match is None:
        raise ValueError(value)
    address = match[1] or match[4]
    return (match[2] or match[3] or "").strip('" '), address if "@" in address else f"{address}@{hostname}"
