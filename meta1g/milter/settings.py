"""One filter of a configuration: where it listens, how long it may take, what happens without it.

Pure.  Ref: sendmail 8, doc/op, "X- Mail Filter (Milter) Definitions" (time-outs); Postfix, MILTER_README (default action).
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

from meta1g.base.dataclass import dataclass
from meta1g.base.reply import Reply

_US: Final = 1_000_000
_NO_SERVICE: Final = "Service unavailable - try again later"


class DefaultAction(StrEnum):
    """What happens without the filter."""

    TEMPFAIL = "tempfail"
    REJECT = "reject"
    ACCEPT = "accept"
    QUARANTINE = "quarantine"
    ABORT = "abort"


#: What a session without the filter hears, by its default action; with the others it goes on.
WITHOUT_FILTER: Final[Mapping[DefaultAction, Reply]] = {
    DefaultAction.TEMPFAIL: Reply(451, "4.7.1", _NO_SERVICE),
    DefaultAction.REJECT: Reply(550, "5.7.1", "Service unavailable"),
    DefaultAction.ABORT: Reply(421, "4.3.2", _NO_SERVICE),
}


@dataclass(frozen=True, slots=True)
class MilterSettings:
    """One filter.

    Args:
        name: of its section.
        address: where it listens: a path, or address and port.
        connect_timeout_us: for connection and negotiation.
        send_timeout_us: to send what one step says.
        reply_timeout_us: for the answer to a step.
        end_timeout_us: for each answer to the end of a message.
        default_action: what happens without it.
        macros: beside those of the session, or instead of them.
    """

    name: str
    address: str | tuple[str, int]
    connect_timeout_us: int
    send_timeout_us: int
    reply_timeout_us: int
    end_timeout_us: int
    default_action: DefaultAction
    macros: Mapping[str, str]


class MilterOptions(Protocol):
    """A section of a configuration file, as far as it is needed here (meta1g.conf.config.Section)."""

    @property
    def name(self) -> str | None: ...  # noqa: D102  as in Section, and so are the others
    def get(self, option: str) -> Any: ...  # noqa: D102
    def given(self, option: str) -> bool: ...  # noqa: D102
    def sub(self, keyword: str) -> "MilterOptions": ...  # noqa: D102
    def subs(self, keyword: str) -> "Sequence[MilterOptions]": ...  # noqa: D102


def milter_settings(section: MilterOptions, directory: Path) -> MilterSettings:
    """Reads a section milter.

    Args:
        section: the section.
        directory: a path of a socket is relative to it.
    """
    pairs = [text.partition("=") for text in section.get("macros")]
    return MilterSettings(
        name=section.name or "",
        address=filter_address(section.sub("socket"), directory),
        connect_timeout_us=section.get("connect_timeout") * _US,
        send_timeout_us=section.get("send_timeout") * _US,
        reply_timeout_us=section.get("reply_timeout") * _US,
        end_timeout_us=section.get("end_timeout") * _US,
        default_action=DefaultAction(section.get("default_action")),
        macros={name.strip("{} "): value.strip() for name, _equals, value in pairs},
    )


def filter_address(section: MilterOptions, directory: Path) -> str | tuple[str, int]:
    """Reads a section socket of a filter; see milter_settings()."""
    if section.get("type") == "unix" or section.given("path"):
        return str(directory / section.get("path"))
    return str(section.get("address")), section.get("port")
