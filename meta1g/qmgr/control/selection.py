"""Which recipients a command is about: ids, and conditions on sender, recipient, domain, destination, age, status, state.

    ID, RECIPIENT-ID     one transaction, one recipient; several may be named
    all                  everything
    DOMAIN               the same as domain=DOMAIN
    KEY=VALUE            see KEYS; several values of one key: any of them; several keys: all of them

In values of addresses, domains and destinations `*` stands for any characters; case does not matter.

Pure.  Ref: docs/operating.md; conditions as those of Exim's exiqgrep and Postfix' qshape, the spelling is ours.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Final

from meta1g.base import sysexits
from meta1g.base.dataclass import dataclass
from meta1g.base.idn import forms
from meta1g.base.ids import TaId, is_id, split_rcpt_id
from meta1g.base.mailbox import bare, domain_of, spellings
from meta1g.base.units import parse_time_s
from meta1g.qmgr.control.rows import QueuedRcpt

_DOMAIN: Final = re.compile(r"[\w*-]*(\.[\w*-]+)+\.?")
_PORT: Final = re.compile(r"\[(.+)\]:(\d+)|([^:]+):(\d+)")
_ANY: Final = "*"
#: One condition on a recipient at a time, in seconds since the epoch.
_Test = Callable[[QueuedRcpt, float], bool]


class CommandError(Exception):
    """A command cannot be carried out.

    Args:
        text: why, and what to do.
        exit_code: one of sysexits.
    """

    def __init__(self, text: str, exit_code: int = sysexits.EX_USAGE) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def pattern(text: str) -> Callable[[str], bool]:
    """Gives a test of a text against a pattern in which `*` stands for any characters; takes time in proportion to both."""
    head, *parts = text.lower().split(_ANY)
    if not parts:
        return lambda value: value.lower() == head
    *middle, tail = parts

    def matches(value: str) -> bool:
        value = value.lower()
        if len(value) < len(head) + len(tail) or not (value.startswith(head) and value.endswith(tail)):
            return False
        at, end = len(head), len(value) - len(tail)
        for part in middle:
            found = value.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True

    return matches


def _sender(value: str) -> _Test:
    return _address(value, lambda one: one.sender)


def _recipient(value: str) -> _Test:
    return _address(value, lambda one: one.rcpt.rcpt)


def _address(value: str, address_of: Callable[[QueuedRcpt], str]) -> _Test:
    """Gives a test of an address; its domain may be written in either kind of labels."""
    matches = pattern(bare(value))
    return lambda one, now: any(map(matches, spellings(address_of(one))))


def _domain(value: str) -> _Test:
    matches = pattern(_needed(f"*{value}" if value.startswith(".") else value).removesuffix("."))
    return lambda one, now: any(map(matches, forms(domain_of(one.rcpt.rcpt).removesuffix("."))))


def _destination(value: str) -> _Test:
    found = _PORT.fullmatch(value)
    host, port = (found[1] or found[3], int(found[2] or found[4])) if found else (value.strip("[]"), 0)
    matches = pattern(_needed(host))
    return lambda one, now: any(matches(name) and port in (0, number) for name, number in one.destinations())


def _age(value: str) -> _Test:
    low, dots, high = value.partition("..")
    least = parse_time_s(low) if low or not dots else 0
    most = parse_time_s(high) if high else float("inf")
    if least > most:
        raise ValueError(f"nothing is older than {low} and younger than {high}")
    return lambda one, now: least <= max(0.0, now - one.rcpt.entered) <= most


def _status(value: str) -> _Test:
    wanted = _needed(" ".join(value.lower().split()))
    return lambda one, now: wanted in " ".join(one.status.lower().split())


def _state(value: str) -> _Test:
    wanted = value.lower()
    if wanted not in STATES:
        raise ValueError(f"{value!r} is no state; states are: {' '.join(STATES)}")
    return lambda one, now: one.state == wanted


def _needed(value: str) -> str:
    if not value:
        raise ValueError("it is empty")
    return value


#: States of a recipient as commands know them.
STATES: Final = ("deferred", "held", "active")


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition.

    Args:
        meaning: what its value is.
        test: makes the test; a ValueError says what is wrong with the value.
    """

    meaning: str
    test: Callable[[str], _Test]


KEYS: Final[Mapping[str, Condition]] = {
    "sender": Condition("envelope sender; `<>` is the empty one", _sender),
    "recipient": Condition("envelope recipient", _recipient),
    "domain": Condition("domain of the recipient; `.example.org` is every domain below it", _domain),
    "destination": Condition(
        "server, by name or address, with :PORT if it matters: where mail waits for, or was tried at last", _destination
    ),
    "age": Condition("time in the queue: `2d` at least, `..10m` at most, `1h..2d` between", _age),
    "status": Condition("text that the last status contains, such as `450` or `mailbox full`", _status),
    "state": Condition(
        "state of the recipient: `deferred` (waits for its next try), `held`, or `active` (in the active queue)", _state
    ),
}
_SHORT: Final = {"rcpt": "recipient", "dest": "destination"}


@dataclass(frozen=True, slots=True)
class Selector:
    """What a command is about.

    Args:
        text: the words, for messages.
        ids: transactions and recipients that are named (index None: the whole transaction); None if none is named.
        tests: every condition, as alternatives of which one has to hold.
        everything: it is `all`: to find nothing is no mistake.
        by_record: whoever has the record of a recipient in DEFEDB can tell whether it is selected.
    """

    text: str
    ids: tuple[tuple[TaId, int | None], ...] | None = None
    tests: tuple[tuple[_Test, ...], ...] = field(default=())
    everything: bool = False
    by_record: bool = True

    def matches(self, one: QueuedRcpt, now: float) -> bool:
        """Tells whether the conditions hold; ids are looked up, not compared."""
        return all(any(test(one, now) for test in tests) for tests in self.tests)


def parse_id(text: str) -> tuple[TaId, int | None]:
    """Reads the id of a transaction or of a recipient.

    Raises:
        CommandError: it is none.
    """
    try:
        if "-" in text:
            return split_rcpt_id(text)
        if not is_id(text):
            raise ValueError(f"not a transaction id: {text!r}; a domain without a dot is written domain={text}")
    except ValueError as error:
        raise CommandError(f"{error}; qmgrctl queue lists the ids") from error
    return TaId(text), None


def parse(command: str, words: Sequence[str]) -> Selector:
    """Reads the words of a selector.

    Raises:
        CommandError: a word is wrong, or there is none.
    """
    if not words:
        raise CommandError(f"{command} needs `all`, ids, or conditions: {' '.join(f'{key}=' for key in KEYS)}")
    text = " ".join(words)
    if "all" in words:
        if len(words) > 1:
            raise CommandError("`all` is everything; leave it out beside other words")
        return Selector(text, everything=True)
    ids: dict[tuple[TaId, int | None], None] = {}
    tests: dict[str, list[_Test]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if equals:
            name = _SHORT.get(key.lower(), key.lower())
            tests.setdefault(name, []).append(_test(name, value))
        elif _DOMAIN.fullmatch(word):
            tests.setdefault("domain", []).append(_test("domain", word))
        elif "@" in word:
            raise CommandError(f"{word}: say sender={word} or recipient={word}")
        else:
            ids[parse_id(word)] = None
    named = tuple(one for one in ids if one[1] is None or (one[0], None) not in ids)
    by_record = not named and "destination" not in tests  # which server a domain goes to is known in AQ
    return Selector(text, named or None, tuple(tuple(some) for some in tests.values()), by_record=by_record)


def _test(name: str, value: str) -> _Test:
    key = KEYS.get(name)
    if key is None:
        raise CommandError(f"{name}= is no condition; conditions are: {' '.join(f'{one}=' for one in KEYS)}")
    try:
        return key.test(value)
    except ValueError as error:
        raise CommandError(f"{name}={value}: {error}; it is the {key.meaning}") from error
