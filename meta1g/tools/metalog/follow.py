"""Follows log files that are written to, through rotation: what `metalog --follow` prints.

Ref: tail(1), --follow=name; logrotate(8), "create", "copytruncate".
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from meta1g.base.reply import printable
from meta1g.tools.metalog.cases import judge
from meta1g.tools.metalog.lines import Unread, parse_line
from meta1g.tools.metalog.logfiles import LINE_MAX_BYTES
from meta1g.tools.metalog.stories import Story, StoryFinder
from meta1g.tools.metalog.telling import row
from meta1g.tools.metalog.verdict import IsAsked, focus, verdict

#: How long nothing is looked at when nothing came.
_PAUSE_S: Final = 0.2


class Tail:
    """The end of a file that grows.  Owner: who follows.

    Args:
        path: its name; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._part = b""
        self._file = self._open()
        if self._file is not None:
            self._file.seek(0, os.SEEK_END)

    def _open(self) -> BinaryIO | None:
        with contextlib.suppress(OSError):
            return self.path.open("rb")
        return None

    def lines(self) -> Iterator[str]:
        """Gives whole lines that came since; when the name belongs to another file, those of this one, too."""
        yield from self._rest()
        if self._is_another():
            yield from self._rest()  # what came between the two looks
            self.close()
            self._file = self._open()
            yield from self._rest()

    def _rest(self) -> Iterator[str]:
        if self._file is None:
            return
        if os.fstat(self._file.fileno()).st_size < self._file.tell():  # it was cut
            self._file.seek(0)
            self._part = b""
        while piece := self._file.readline(LINE_MAX_BYTES):
            self._part += piece
            if piece.endswith(b"\n"):
                yield self._part[:-1].decode("utf-8", "surrogateescape")
                self._part = b""

    def _is_another(self) -> bool:
        try:
            there = self.path.stat()
        except OSError:
            return False
        if self._file is None:
            return True
        ours = os.fstat(self._file.fileno())
        return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)

    def close(self) -> None:
        """Closes the file; a line without an end is given up."""
        if self._file is not None:
            self._file.close()
        self._file, self._part = None, b""


def follow(
    tails: Sequence[Tail], finder: StoryFinder, stories: Sequence[Story], asked: IsAsked, say: Callable[[str], None]
) -> None:
    """Says every further line of what is looked for, and each verdict that changes; ends by an interrupt.

    Args:
        tails: made before the stories were read, so that no line is missed.
        finder: has read them.
        stories: what it found; their lines are not said once more.
        asked: recipients that verdicts are about.
        say: prints a line at once.
    """
    known = {line.raw for story in stories for line in story.lines}
    verdicts = {_id(story): _verdict(story, asked) for story in stories}
    while True:
        quiet = True
        for raw in (raw for tail in tails for raw in tail.lines() if raw not in known):
            quiet = False
            story = _take(finder, raw)
            if story is None:
                continue
            say(f"{_id(story)} {row(story.lines[-1], story.lines[0].when)}")
            text = _verdict(story, asked)
            if verdicts.get(_id(story)) != text:
                verdicts[_id(story)] = text
                say(f"{_id(story)} {printable(text)}")
        if quiet:
            time.sleep(_PAUSE_S)


def _take(finder: StoryFinder, raw: str) -> Story | None:
    line = parse_line(raw, time.time())
    if isinstance(line, Unread):
        return None
    if finder.note(line):
        finder.open_stories()
    return finder.add(line)


def _verdict(story: Story, asked: IsAsked) -> str:
    case = judge(story.lines, story.ta_id)
    return verdict(case, focus(case, asked))


def _id(story: Story) -> str:
    return story.ta_id or story.session
