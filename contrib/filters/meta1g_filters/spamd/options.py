"""Options of milter-spamd: what may stand in its configuration file.

    python -m meta1g_filters.spamd.options > docs/filter-spamd-options.md

Pure.  Ref: meta1.conf(5), grammar; docs/filter-spamd.md.
"""

import re
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.conf.manual import other_markdown
from meta1g.conf.port import Port
from meta1g.conf.schema import Origin, SectionDef, option
from meta1g.conf.values import (
    AbsolutePath,
    Choice,
    Flag,
    Flags,
    Int,
    IpAddress,
    ListOf,
    Network,
    Scalar,
    Size,
    Time,
)
from meta1g_filters.spamd.protocol import Method, is_user

_OWN: Final = Origin.OWN
_SCORE: Final = re.compile(r"-?[0-9]{1,4}(\.[0-9]{1,3})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Score(Scalar):
    """A score of SpamAssassin."""

    def parse(self, text: str) -> float:
        """Reads the number."""
        if not _SCORE.fullmatch(text):
            raise ValueError(f"{text[:60]} is no score such as 15 or 7.5")
        return float(text)

    def words(self, value: float) -> list[str]:
        """Writes it."""
        return [f"{value:g}"]

    def describe(self) -> str:
        """Names the kind."""
        return "score such as 7.5"


@dataclass(frozen=True, slots=True)
class SpamdUser(Scalar):
    """A user of spamd."""

    def parse(self, text: str) -> str:
        """Gives the name."""
        if not is_user(text):
            raise ValueError(f"{text[:60]} is no user; a name has letters, digits and . _ @ + = -")
        return text

    def describe(self) -> str:
        """Names the kind."""
        return "user"


@dataclass(frozen=True, slots=True)
class AsciiText(Scalar):
    """A short text in ASCII."""

    max_chars: int = 100

    def parse(self, text: str) -> str:
        """Gives the text."""
        if not 0 < len(text) <= self.max_chars or not all(" " <= char <= "~" for char in text):
            raise ValueError(f"has to be 1 to {self.max_chars} printable characters of ASCII")
        return text

    def describe(self) -> str:
        """Names the kind."""
        return f"text in ASCII, {self.max_chars} characters at most"


SPAMD: Final = SectionDef(
    "spamd",
    "A spamd; several are asked one after the other until one answers.  127.0.0.1, port 783, if none is given.",
    _OWN,
    (
        option("type", Choice(("inet", "unix")), "inet", _OWN, "TCP or a Unix socket."),
        option("address", IpAddress(), "127.0.0.1", _OWN, "IP address."),
        option("port", Port(), "783", _OWN, "TCP port."),
        option("path", AbsolutePath(), None, _OWN, "Path of a Unix socket."),
    ),
    repeat=True,
)
_FLAGS: Final = Flags(
    (
        Flag("ask_authenticated", False, "Mail of clients that have logged in is looked at too."),
        Flag("mark_ham", True, "Messages that are no spam get fields as well: X-Spam-Score, X-Spam-Status."),
    )
)
ROOT: Final = SectionDef(
    "",
    "Options outside all sections.",
    _OWN,
    (
        option(
            "method",
            Choice(tuple(one.value for one in Method)),
            "symbols",
            _OWN,
            "What spamd is asked for: check = the score; symbols = also the names of tests; headers = the fields X-Spam-... "
            "and the Subject that SpamAssassin makes by its own configuration; process = as headers, and spam is replaced by "
            "what SpamAssassin makes of it, such as a report.",
        ),
        option("max_size", Size(1024, 64 << 20), "512KB", _OWN, "Larger messages pass without being looked at."),
        option("timeout", Time(1, 3600), "50s", _OWN, "How long all servers together may take for a message."),
        option("connect_timeout", Time(1, 600), "5s", _OWN, "How long the connection to one may take."),
        option(
            "without_spamd",
            Choice(("accept", "tempfail")),
            "accept",
            _OWN,
            "What is done if no spamd answers: nothing, or the client comes again: 451 4.7.1.",
        ),
        option(
            "reject_score", Score(), None, _OWN, "Messages of this score or more are refused: 550 5.7.1; none if not given."
        ),
        option("reject_text", AsciiText(), "Looks like spam", _OWN, "What the client is told then."),
        option(
            "discard_score", Score(), None, _OWN, "Messages of this score or more are accepted and dropped; none if not given."
        ),
        option(
            "hold_score",
            Score(),
            None,
            _OWN,
            "Messages of this score or more are accepted and held until an operator releases them; none if not given.  Of the "
            "three scores the greatest one that is reached counts.",
        ),
        option("subject_tag", AsciiText(), None, _OWN, "Put before the Subject of spam, with a blank, such as [SPAM]."),
        option("user", SpamdUser(), None, _OWN, "Whose preferences hold; those of spamd itself if it is not given."),
        option(
            "user_of_recipient",
            Choice(("none", "local", "address")),
            "none",
            _OWN,
            "A message to one recipient only is looked at with the preferences of this user: the part of the address before "
            "its @, or the whole address.",
        ),
        option(
            "not_asked",
            ListOf(Network()),
            None,
            _OWN,
            "Mail of these clients passes without being looked at; 127.0.0.0/8 and ::1 if it is not given.",
        ),
        option("flags", _FLAGS, None, _OWN, "Further choices."),
        option("max_threads", Int(2, 512), "16", _OWN, "Messages that are looked at at once; as many as spamd has children."),
    ),
    (SPAMD,),
)


def markdown() -> str:
    """Gives docs/filter-spamd-options.md."""
    return other_markdown("milter-spamd", "meta1g_filters.spamd.options", ROOT)


if __name__ == "__main__":
    print(markdown(), end="")
