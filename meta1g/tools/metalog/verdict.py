"""One line that says who, what and why: of all recipients of a message, or of those that were asked for.

Pure.  Ref: docs/metalog.md, "Verdicts".
"""

from collections.abc import Callable, Iterable
from typing import Final

from meta1g.base.units import format_time_s
from meta1g.tools.metalog.cases import NOT_TRIED, Case, RcptCase, RcptFate

#: Recipients that are named for one fate, and fates that are told of, before the rest is counted.
_NAMES_MAX: Final = 3
_FATES_MAX: Final = 5
_MINUTE_MS: Final = 60_000
_NO_MESSAGE: Final = "accepted, but the message did not come"

#: Tells of a recipient, by its index and address, whether it was asked for.
IsAsked = Callable[[str, str], bool]


def duration(milliseconds: float) -> str:
    """Gives a time for people: `0.123 s` below a minute, otherwise `2h5m`."""
    if milliseconds < _MINUTE_MS:
        return f"{milliseconds / 1000:.3f} s"
    return format_time_s(int(milliseconds / 1000))


def focus(case: Case, asked: IsAsked) -> frozenset[str]:
    """Gives the recipients that are to be told of, by their keys in the case.

    Args:
        case: settled.
        asked: whom the operator asked for; if it is nobody of the message, all are told of.

    Returns:
        Those, the members of aliases among them, and who gets reports of them.
    """
    found = {key for key, one in case.rcpts.items() if not one.report and asked(key, one.rcpt)}
    if not found:
        return frozenset(case.rcpts)
    aliases = {case.rcpts[key].rcpt for key in found if case.rcpts[key].fate is RcptFate.EXPANDED}
    found |= {key for key, one in case.rcpts.items() if one.of in aliases}
    told = {id(case.rcpts[key]) for key in found}
    for key, one in case.rcpts.items():  # a report of a report comes later
        if any(id(about) in told for about in one.about):
            found.add(key)
            told.add(id(one))
    return frozenset(found)


def verdict(case: Case, shown: frozenset[str] | None = None) -> str:
    """Gives the one line.

    Args:
        case: settled.
        shown: recipients to be told of, as focus() gives them; the others are counted.  None for all.
    """
    told = [(shown is None or key in shown, one) for key, one in case.rcpts.items() if not _is_told_by_members(case, one)]
    plain = [one for is_shown, one in told if is_shown and not one.report]
    reports = [one for is_shown, one in told if is_shown and one.report]
    others = sum(1 for is_shown, one in told if not is_shown and not one.report)
    words = _grouped(plain, named=len(plain) > 1)
    decided = {one.text for _, one in told}
    words += [text if count == 1 else f"{text} ({count} times)" for text, count in case.notes.items() if text not in decided]
    words += [f"report to {text}" for text in _grouped(reports, named=True)]
    if words:
        more = len(words) - _FATES_MAX
        words[_FATES_MAX:] = [f"and {more} more"] if more > 0 else []
        words += [f"{others} other recipient{'s' if others > 1 else ''}"] if others else []
        return "; ".join(words)
    return "accepted" if case.accepted else "no message and no refusal"


def _is_told_by_members(case: Case, alias: RcptCase) -> bool:
    return alias.fate is RcptFate.EXPANDED and any(one.of == alias.rcpt for one in case.rcpts.values())


def _grouped(rcpts: Iterable[RcptCase], *, named: bool) -> list[str]:
    """Gives one text for those that had the same fate."""
    groups: dict[tuple[str, int], list[RcptCase]] = {}
    for one in rcpts:
        groups.setdefault((one.text, max(one.tries, one.attempts)), []).append(one)
    found = []
    for same in groups.values():
        text = words_of(same)
        found.append(f"{_names(same)}: {text}" if named or same[0].of else text)
    return found


def words_of(same: list[RcptCase]) -> str:
    """Gives the fate of recipients that share it, with tries and the longest time."""
    one = same[0]
    text = one.text or (_NO_MESSAGE if one.fate is RcptFate.OFFERED else NOT_TRIED)
    if one.delay_ms < 0:
        return text
    tries = max(one.tries, one.attempts)
    time = duration(max(each.delay_ms for each in same))
    took = f"after {tries} {'try' if tries == 1 else 'tries'} in {time}" if tries else f"after {time} without a try"
    head, colon, reason = text.partition(": ")
    return f"{head} {took}{colon}{reason}"


def _names(same: list[RcptCase]) -> str:
    names = list(dict.fromkeys(f"{one.of} -> {one.rcpt}" if one.of else one.rcpt or "<>" for one in same))
    more = len(names) - _NAMES_MAX
    return ", ".join(names[:_NAMES_MAX]) + (f" and {more} more" if more > 0 else "")
