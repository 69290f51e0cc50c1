"""Lines that belong together: the story of a message, from the connection that brought it to the last word of its servers.

A log is read twice, a third time if sessions are to be told of, and nothing is kept but the lines of what was found:

1. lines that meet a criterion give ids: transactions, and sessions;
2. every line with one of these ids belongs to a story;
3. the sessions of these transactions, of the client and of the servers, have lines of their own.

Which ids a line may bear: ss_sess and ss_ta by SMTPS; ss_ta, da_sess, da_ta and rcpt_idx by SMTPC and QMGR.  A bounce has the
transaction of what it reports on.

Pure.  Ref: docs/metalog.md.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import field
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.ids import is_id
from meta1g.tools.metalog.lines import LogLine, Unread, parse_line
from meta1g.tools.metalog.query import Criterion, filters

#: Messages and sessions that are told of at most; the latest ones.
STORIES_MAX: Final = 10_000
#: Lines of all stories together; then the rest is counted.
LINES_MAX: Final = 300_000
_ID: Final = re.compile(rb"[SC][0-9A-F]{18}")
#: With so few ids each is looked for by itself.
_FEW: Final = 8

#: Gives all lines from the beginning, each with the time that its file was changed.
ReadAll = Callable[[], Iterator[tuple[bytes, float]]]


@dataclass(slots=True)
class LineCount:
    """How the lines of a log were read.  Owner: who reads."""

    lines: int = 0
    foreign: int = 0
    damaged: int = 0
    left_out: int = 0  # lines of stories, since there were too many
    stories_left_out: int = 0


@dataclass(slots=True)
class Story:
    """The lines of one transaction, or of a session outside of transactions.

    Args:
        ta_id: the transaction, empty for a session.
        session: the session of the client, empty if no line names it.
        lines: in the order of time, those of its sessions among them.
    """

    ta_id: str
    session: str
    lines: list[LogLine] = field(default_factory=list)

    def sort(self) -> None:
        """Puts the lines into the order of time; lines of the same moment stay as they were."""
        self.lines.sort(key=lambda line: line.when)


class _Ids:
    """Ids in the order in which they were found, the latest ones if they are too many.  Owner: the finder."""

    def __init__(self, count: LineCount) -> None:
        self._count = count
        self.found: dict[str, None] = {}

    def add(self, one: str) -> None:
        if one not in self.found and is_id(one):
            self.found[one] = None
            if len(self.found) > STORIES_MAX:
                self.found.pop(next(iter(self.found)))
                self._count.stories_left_out += 1

    def __contains__(self, one: str) -> bool:
        return one in self.found


class _Seeds:
    """What one criterion leads to.  Owner: the finder."""

    def __init__(self, criterion: Criterion, count: LineCount) -> None:
        self.criterion = criterion
        self.tas, self.sessions = _Ids(count), _Ids(count)

    def take(self, line: LogLine) -> bool:
        """Looks at a line; tells whether it leads to something."""
        ta_id, session = line.get("ss_ta"), line.get("ss_sess")
        met = self.criterion.meets(line)
        if met and not ta_id:
            self.sessions.add(session)
        elif met or (ta_id and session in self.sessions):  # also a transaction of a session that was found
            self.tas.add(ta_id)
        else:
            return False
        return True


class StoryFinder:
    """Finds the stories that meet all criteria.

    Args:
        criteria: at least one.
        since: seconds since the epoch; a line that meets a criterion is not earlier.
        until: nor later.

    Owner: who asks.
    """

    def __init__(self, criteria: Sequence[Criterion], since: float = 0.0, until: float = float("inf")) -> None:
        self.count = LineCount()
        self._seeds = [_Seeds(one, self.count) for one in criteria]
        self._quick = filters(criteria)
        self._since, self._until = since, until
        self._stories: dict[str, Story] = {}
        self._kept = 0

    # -- 1: which ----------------------------------------------------------------------------------------------------

    def seed(self, lines: Iterable[tuple[bytes, float]]) -> None:
        """Reads all lines once, and counts them."""
        for raw, now in lines:
            self.count.lines += 1
            if not self._quick(raw) and not self._of_session(raw):
                if b"sevr" not in raw:  # no format does without these two
                    self.count.foreign += 1
                elif b"stat" not in raw:
                    self.count.damaged += 1
                continue
            line = _parsed(raw, now)
            if isinstance(line, Unread):
                self._count(line)
            else:
                self.note(line)

    def note(self, line: LogLine) -> bool:
        """Looks whether a line leads to a story, and remembers that."""
        if not self._since <= line.when <= self._until:
            return False
        return sum(seeds.take(line) for seeds in self._seeds) > 0  # each has to look

    def _count(self, why: Unread) -> None:
        if why is Unread.FOREIGN:
            self.count.foreign += 1
        else:
            self.count.damaged += 1

    def _of_session(self, raw: bytes) -> bool:
        """Tells whether a line may be of a transaction of a session that was found."""
        if b"ss_sess" not in raw or b"ss_ta" not in raw or not any(seeds.sessions.found for seeds in self._seeds):
            return False
        ids = [one.decode() for one in _ID.findall(raw)]
        return any(one in seeds.sessions for one in ids for seeds in self._seeds)

    def _wanted(self) -> tuple[set[str], set[str]]:
        """Gives the transactions and sessions that every criterion leads to."""
        tas = set.intersection(*(set(seeds.tas.found) for seeds in self._seeds))
        sessions = set.intersection(*(set(seeds.sessions.found) for seeds in self._seeds))
        return tas, sessions

    # -- 2 and 3: their lines ----------------------------------------------------------------------------------------

    def collect(self, read: ReadAll) -> list[Story]:
        """Gives the stories, the oldest first."""
        tas, sessions = self._wanted()
        self._stories = {one: Story(one, "") for one in tas} | {one: Story("", one) for one in sessions}
        for line in self._lines_with(read, set(self._stories)):
            self.add(line)
        around: dict[str, list[Story]] = {}
        for story in self._stories.values():
            for session in {one for line in story.lines for key in ("ss_sess", "da_sess") if (one := line.get(key))}:
                if session not in self._stories and is_id(session):
                    around.setdefault(session, []).append(story)
        for line in self._lines_with(read, set(around)):
            if not line.get("ss_ta"):
                for story in around.get(line.get("ss_sess") or line.get("da_sess"), ()):
                    self._keep(story, line)
        return self._told()

    def add(self, line: LogLine) -> Story | None:
        """Puts a line to its story; gives it, None if it belongs to none."""
        story = self._stories.get(line.get("ss_ta") or line.get("ss_sess"))
        if story is not None:
            story.session = story.session or line.get("ss_sess")
            self._keep(story, line)
        return story

    def open_stories(self) -> None:
        """Makes stories of what note() has found since."""
        tas, sessions = self._wanted()
        for one in tas - self._stories.keys():
            self._stories[one] = Story(one, "")
        for one in sessions - self._stories.keys():
            self._stories[one] = Story("", one)

    def _keep(self, story: Story, line: LogLine) -> None:
        if self._kept >= LINES_MAX:
            self.count.left_out += 1
            return
        self._kept += 1
        story.lines.append(line)

    @staticmethod
    def _lines_with(read: ReadAll, ids: set[str]) -> Iterator[LogLine]:
        """Gives the lines that name one of these ids."""
        wanted = {one.encode() for one in ids}
        few = tuple(wanted) if len(wanted) <= _FEW else ()
        for raw, now in read() if wanted else ():
            if not any(one in raw for one in few) and (few or wanted.isdisjoint(_ID.findall(raw))):
                continue
            line = _parsed(raw, now)
            if not isinstance(line, Unread):
                yield line

    def _told(self) -> list[Story]:
        """Gives the stories that say something: a session whose transactions are told of is a part of these."""
        covered = {story.session for story in self._stories.values() if story.ta_id}
        found = []
        for story in self._stories.values():
            story.sort()
            if story.lines and (story.ta_id or story.session not in covered or tells(story)):
                found.append(story)
        return sorted(found, key=lambda story: story.lines[0].when)


def _parsed(raw: bytes, now: float) -> LogLine | Unread:
    return parse_line(raw.decode("utf-8", "surrogateescape"), now)


def tells(story: Story) -> bool:
    """Tells whether a session has more to say than that it was there."""
    return any(line.sevr in ("NOTICE", "WARN", "ERROR", "FATAL") for line in story.lines)
