"""The error of a wrong configuration: all that is wrong with it, each with its place.

Pure.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from meta1g.base.errors import Module, PermError
from meta1g.conf.tree import Problem, Source

if TYPE_CHECKING:
    from meta1g.conf.config import Config

#: More errors than this help nobody; our choice.
REPORTED_MAX: Final = 100


class ConfigError(PermError):
    """The configuration is wrong.

    Args:
        text: `FILE:LINE:COLUMN: message`, excerpt and caret for each error; or one line if there is no text to point at.
        problems: the errors in the order of the text.
        config: what could be read in spite of them, for checkers; its values may be UNREAD.
    """

    def __init__(self, text: str, problems: tuple[Problem, ...] = (), config: "Config | None" = None) -> None:
        super().__init__(Module.CONF, text)
        self.problems = problems
        self.config = config


def error_of(source: Source, problems: Iterable[Problem], config: "Config | None" = None) -> ConfigError:
    """Makes one error of all problems of a text, with what could be read of it."""
    ordered = sorted(dict.fromkeys(problems), key=lambda problem: problem.pos)
    lines = [source.report(problem) for problem in ordered[:REPORTED_MAX]]
    if len(ordered) > REPORTED_MAX:
        lines.append(f"{source.name}: and {len(ordered) - REPORTED_MAX} more errors")
    return ConfigError("\n".join(lines), tuple(ordered), config)
