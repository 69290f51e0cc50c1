"""Makes conditions, expressions and rules of what the grammar reads, and reports what cannot be meant.

A condition that stands several times in a file is one condition: it is looked at once.

Pure.  Ref: milter-regex(8), "PLUGIN CONFIGURATION", "MACROS".
"""

from collections.abc import Callable
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.conf.tree import Problem
from meta1g_filters.regex.lexer import PatternText
from meta1g_filters.regex.patterns import pattern_of
from meta1g_filters.regex.posix import PatternError
from meta1g_filters.regex.rules import (
    Joint,
    MailPart,
    Negation,
    Pattern,
    RegexRule,
    RuleAction,
    RuleCondition,
    RuleExpression,
    Ruleset,
    Term,
)

#: Terms of one expression with all macros written out, and expressions inside each other; our choice: evaluation stays cheap.
TERMS_MAX: Final = 10_000
DEPTH_MAX: Final = 100
#: Longest text for the client, so that it fits a line of SMTP with its codes.  Ref: RFC 5321 4.5.3.1.5.
TEXT_MAX_CHARS: Final = 480
#: Longest reason of a quarantine.
REASON_MAX_CHARS: Final = 200
_TEXTS: Final = {
    RuleAction.REJECT: "Command rejected",
    RuleAction.TEMPFAIL: "Please try again later",
    RuleAction.QUARANTINE: "Quarantined by a rule",
}


@dataclass(frozen=True, slots=True)
class Built:
    """An expression while it is read: how many terms it has, how deep it is, where it begins."""

    expression: RuleExpression
    terms: int
    depth: int
    pos: int


class RulesBuilder:
    """Takes what the grammar reads.

    Args:
        where: gives `FILE:LINE` of a place.
        problems: errors are added here.

    Owner: one parse.
    """

    def __init__(self, where: Callable[[int], str], problems: list[Problem]) -> None:
        self.problems = problems
        self._where = where
        self._macros: dict[str, Built] = {}
        self._patterns: dict[tuple[str, str], Pattern] = {}
        self._conditions: dict[tuple[MailPart, tuple[tuple[str, str], ...]], int] = {}
        self._made: list[RuleCondition] = []
        self._rules: list[RegexRule] = []
        self._lists: list[str] = []
        self._country_pos: int | None = None

    def finish(self) -> None:
        """Looks at what can be told at the end only."""
        if self._country_pos is not None and not self._lists:
            self._complain(self._country_pos, "country needs lists of the registries; name them by ipv4file and ipv6file")

    def ruleset(self) -> Ruleset:
        """Gives all that was read."""
        return Ruleset(tuple(self._made), tuple(self._rules), tuple(self._lists))

    def _complain(self, pos: int, message: str) -> None:
        self.problems.append(Problem(pos, message))

    def add_list(self, path: str) -> None:
        """Adds a list of countries."""
        self._lists.append(path)

    def text(self, text: str, pos: int) -> str:
        """Looks at the text of an action."""
        if not all(" " <= char <= "~" for char in text):
            self._complain(pos, "the text is told to clients, in ASCII; leave out other signs")
        return text

    def add_rules(self, word: str, text: str, expressions: list[Built]) -> None:
        """Adds a rule for each expression of an action."""
        action = RuleAction(word)
        limit = REASON_MAX_CHARS if action is RuleAction.QUARANTINE else TEXT_MAX_CHARS
        if len(text) > limit:
            self._complain(expressions[0].pos, f"the text of the action above has {len(text)} characters; {limit} are possible")
        for one in expressions:
            self._rules.append(RegexRule(action, text or _TEXTS.get(action, ""), one.expression, self._where(one.pos)))

    def condition(self, subject: MailPart, patterns: tuple[PatternText, ...], pos: int) -> Built:
        """Gives a condition."""
        if subject is MailPart.COUNTRY and self._country_pos is None:
            self._country_pos = pos
        key = (subject, tuple((one.text, one.flags) for one in patterns))
        number = self._conditions.get(key)
        if number is None:
            number = self._conditions[key] = len(self._made)
            self._made.append(RuleCondition(subject, tuple(self._pattern(one) for one in patterns)))
        return Built(Term(number), 1, 1, pos)

    def _pattern(self, text: PatternText) -> Pattern:
        key = (text.text, text.flags)
        if key not in self._patterns:
            try:
                self._patterns[key] = pattern_of(text)
            except PatternError as error:
                self._complain(error.pos, str(error))
                return Pattern(None, "", negated=False)
        return self._patterns[key]

    def negate(self, part: Built) -> Built:
        """Gives the opposite of an expression."""
        return self._bounded(Built(Negation(part.expression), part.terms, part.depth + 1, part.pos))

    def join(self, left: Built, right: Built, *, either: bool) -> Built:
        """Joins two expressions; a chain of the same operator is one expression."""
        rest: tuple[RuleExpression, ...] = (right.expression,)
        depth = max(left.depth, right.depth) + 1
        if isinstance(right.expression, Joint) and right.expression.either == either:
            rest, depth = right.expression.parts, max(left.depth + 1, right.depth)
        return self._bounded(Built(Joint((left.expression, *rest), either), left.terms + right.terms, depth, left.pos))

    def _bounded(self, made: Built) -> Built:
        if made.terms > TERMS_MAX:
            self._complain(made.pos, f"an expression of {made.terms} terms, macros written out; {TERMS_MAX} are possible")
        elif made.depth > DEPTH_MAX:
            self._complain(made.pos, f"an expression of {made.depth} levels, macros written out; {DEPTH_MAX} are possible")
        else:
            return made
        return Built(Term(0), 1, 1, made.pos)

    def define(self, name: str, pos: int, meaning: Built) -> None:
        """Gives an expression a name."""
        if name in self._macros:
            self._complain(pos, f"macro {name} is defined already; give this one another name")
        self._macros.setdefault(name, meaning)

    def defined(self, name: str, pos: int) -> Built:
        """Gives the expression of a name."""
        meaning = self._macros.get(name)
        if meaning is None:
            self._complain(pos, f"no macro {name} is defined above; define it as {name} = ...")
            return Built(Term(0), 1, 1, pos)
        return Built(meaning.expression, meaning.terms, meaning.depth, pos)
