"""What a configuration of milter-regex says: conditions, expressions of them, and rules with their actions.

Pure.  Ref: milter-regex(8), "PLUGIN CONFIGURATION", "BOOLEAN EXPRESSIONS".
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import Enum, IntEnum
from typing import Any, Final

from meta1g.base.dataclass import dataclass


class MailPart(IntEnum):
    """What a condition looks at, in the order in which it comes."""

    CONNECT = 0
    COUNTRY = 1
    HELO = 2
    ENVFROM = 3
    MACRO = 4
    ENVRCPT = 5
    HEADER = 6
    BODY = 7


#: Those that have two patterns: name and address of a client, name and value of a macro or field.
PAIRS: Final = frozenset((MailPart.CONNECT, MailPart.MACRO, MailPart.HEADER))


class RuleAction(Enum):
    """What is done when a rule matches."""

    ACCEPT = "accept"
    REJECT = "reject"
    TEMPFAIL = "tempfail"
    DISCARD = "discard"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True)
class Pattern:
    """One expression of the file.

    Args:
        search: of the library, tells whether bytes match; None: everything matches.
        source: the same as RE2 reads it.
        negated: flag n: it is fulfilled by what does not match.
    """

    search: Any
    source: str
    negated: bool

    def fits(self, text: bytes) -> bool:
        """Tells whether a text fulfils it."""
        return self.search is None or (self.search(text) is not None) is not self.negated


@dataclass(frozen=True, slots=True)
class RuleCondition:
    """A subject and the patterns that one item of it has to fulfil."""

    subject: MailPart
    patterns: tuple[Pattern, ...]

    def fits(self, item: tuple[bytes, ...]) -> bool:
        """Tells whether an item (as many texts as there are patterns) fulfils it."""
        return all(pattern.fits(text) for pattern, text in zip(self.patterns, item, strict=True))


@dataclass(frozen=True, slots=True)
class Term:
    """A condition by its number."""

    number: int


@dataclass(frozen=True, slots=True)
class Negation:
    """The opposite of an expression."""

    part: "RuleExpression"


@dataclass(frozen=True, slots=True)
class Joint:
    """Expressions, all of which have to be true, or with either one of which."""

    parts: "tuple[RuleExpression, ...]"
    either: bool


RuleExpression = Term | Negation | Joint


def value(expression: RuleExpression, known: Sequence[bool | None]) -> bool | None:
    """Tells whether an expression is true; None: that is not known yet.

    Args:
        expression: the expression.
        known: the same of each condition.
    """
    if isinstance(expression, Term):
        return known[expression.number]
    if isinstance(expression, Negation):
        inner = value(expression.part, known)
        return None if inner is None else not inner
    settled: bool | None = not expression.either
    for part in expression.parts:
        found = value(part, known)
        if found is expression.either:
            return found
        if found is None:
            settled = None
    return settled


@dataclass(frozen=True, slots=True)
class RegexRule:
    """An action and the expression that leads to it.

    Args:
        action: what is done.
        text: what the client is told, or why the message is held.
        expression: when.
        where: `FILE:LINE` of the expression, for the log.
    """

    action: RuleAction
    text: str
    expression: RuleExpression
    where: str


@dataclass(frozen=True, slots=True)
class Ruleset:
    """A whole configuration: its conditions, each of them once, its rules in the order of the file, lists of countries.

    Attributes:
        numbers: of the conditions of each subject.
    """

    conditions: tuple[RuleCondition, ...]
    rules: tuple[RegexRule, ...]
    country_lists: tuple[str, ...] = ()
    numbers: Mapping[MailPart, tuple[int, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        numbers: dict[MailPart, tuple[int, ...]] = dict.fromkeys(MailPart, ())
        for number, condition in enumerate(self.conditions):
            numbers[condition.subject] += (number,)
        object.__setattr__(self, "numbers", numbers)
