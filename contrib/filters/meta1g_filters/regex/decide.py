"""What is known of a session and its message so far, and what follows from it by the rules.

A condition is true as soon as one item of its subject fulfils it, and false when the subject is over.  A rule matches as soon
as its expression is true whatever may still come.

Pure.  Ref: milter-regex(8), "EVALUATION".
"""

from collections.abc import Callable
from typing import Any

from meta1g_filters.regex.patterns import any_of
from meta1g_filters.regex.rules import MailPart, RegexRule, Ruleset, value

PartTexts = tuple[bytes, ...]


class Knowledge:
    """Of each condition: true, false, or not known yet.

    Args:
        ruleset: the configuration.
        known: to begin with.

    Attributes:
        ruleset: the same.
        known: of each condition, by its number.

    Owner: the session.
    """

    __slots__ = ("_changed", "known", "ruleset")

    def __init__(self, ruleset: Ruleset, known: list[bool | None] | None = None) -> None:
        self.ruleset = ruleset
        self.known = known or [None] * len(ruleset.conditions)
        self._changed = True

    def copy(self) -> "Knowledge":
        """Gives knowledge of its own that begins as this one."""
        return Knowledge(self.ruleset, list(self.known))

    def take(self, subject: MailPart, item: PartTexts) -> None:
        """Takes one item: texts for the patterns of a condition."""
        for number in self.ruleset.numbers[subject]:
            if self.known[number] is None and self.ruleset.conditions[number].fits(item):
                self.known[number] = True
                self._changed = True

    def end(self, subject: MailPart) -> None:
        """Is told that no more items of a subject come."""
        for number in self.ruleset.numbers[subject]:
            if self.known[number] is None:
                self.known[number] = False
                self._changed = True

    def forget(self, first: MailPart) -> None:
        """Forgets a subject and those that come after it."""
        for number, condition in enumerate(self.ruleset.conditions):
            if condition.subject >= first:
                self.known[number] = None
        self._changed = True

    def learn(self, other: "Knowledge") -> None:
        """Takes over what is true elsewhere."""
        for number, known in enumerate(other.known):
            if known and self.known[number] is None:
                self.known[number] = True
                self._changed = True

    def waits_for(self, subject: MailPart) -> bool:
        """Tells whether items of a subject can still change anything."""
        return any(self.known[number] is None for number in self.ruleset.numbers[subject])

    def decide(self) -> RegexRule | None:
        """Gives the first rule that matches."""
        if not self._changed:
            return None
        self._changed = False
        return next((rule for rule in self.ruleset.rules if value(rule.expression, self.known)), None)

    @property
    def is_open(self) -> bool:
        """A rule may still match."""
        return any(value(rule.expression, self.known) is None for rule in self.ruleset.rules)


class BodySearch:
    """Looks at lines of a body: one search for all conditions, and each of them only at a line where that finds something.

    Args:
        ruleset: the configuration.

    Owner: the ruleset's filter.  Immutable.
    """

    __slots__ = ("_search",)

    def __init__(self, ruleset: Ruleset) -> None:
        numbers = ruleset.numbers[MailPart.BODY]
        self._search: Callable[[bytes], Any] | None = any_of(ruleset.conditions[one].patterns[0] for one in numbers)

    def take(self, knowledge: Knowledge, line: bytes) -> None:
        """Lets knowledge take a line."""
        if self._search is None or self._search(line) is not None:
            knowledge.take(MailPart.BODY, (line,))
