"""Stories for people, and as JSON: heading, verdict, timeline.

Pure.  Ref: docs/metalog.md.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

from meta1g.base.reply import printable
from meta1g.tools.metalog.cases import Case, judge
from meta1g.tools.metalog.lines import LogLine
from meta1g.tools.metalog.stamps import utc_text
from meta1g.tools.metalog.stories import Story
from meta1g.tools.metalog.verdict import IsAsked, focus, verdict

#: Keys that a row leaves out, since the heading has them.
_IN_HEADING: Final = ("ss_ta", "ss_sess")


def heading(story: Story, case: Case) -> str:
    """Gives the first line: id, size, sender, client."""
    facts = [story.ta_id or story.session]
    facts += [f"{case.size_bytes} bytes"] if case.size_bytes is not None else []
    facts += [f"from <{case.mail}>" if not case.mail.startswith("<") else f"from {case.mail}"] if case.mail is not None else []
    facts += [f"by {case.client}"] if case.client else []
    facts += [f"Message-ID {case.msgid}"] if case.msgid else []
    facts += [f"session {story.session}"] if story.ta_id and story.session else []
    return printable(", ".join(facts))


def row(line: LogLine, start: float, *, host: bool = False) -> str:
    """Gives one row of a timeline: time, time since its begin, event, facts.

    Args:
        line: the line.
        start: when the story began, seconds since the epoch.
        host: the machine is told, too.
    """
    facts = " ".join(f"{key}={value}" for key, value in line.keys.items() if key not in _IN_HEADING)
    end = "" if line.stat == "ok" else f": {line.stat}"
    where = f"{line.host} " if host else ""
    return printable(f"{utc_text(line.when)} {line.when - start:>+11.3f} s  {where}{line.func:<22} {facts}{end}".rstrip())


def _shown(story: Story, case: Case, shown: frozenset[str]) -> list[LogLine]:
    """Gives the lines of a story without those of recipients that are not told of."""
    hidden = case.rcpts.keys() - shown
    return [line for line in story.lines if not hidden or (line.get("rcpt_idx") or line.get("rcpt")) not in hidden]


def as_text(story: Story, asked: IsAsked, *, short: bool) -> Iterator[str]:
    """Gives a story as lines.

    Args:
        story: its lines in the order of time.
        asked: recipients that it is to be about.
        short: id and verdict alone, in one line.
    """
    case = judge(story.lines, story.ta_id)
    shown = focus(case, asked)
    text = printable(verdict(case, shown))
    if short:
        yield f"{story.ta_id or story.session} {text}"
        return
    yield heading(story, case)
    yield f"  {text}"
    several = len({line.host for line in story.lines}) > 1
    for line in _shown(story, case, shown):
        yield f"    {row(line, story.lines[0].when, host=several)}"


def _row_object(line: LogLine, start: float) -> dict[str, Any]:
    return {
        "time": utc_text(line.when),
        "after_ms": round((line.when - start) * 1000, 3),
        "process": line.module,
        "process_id": line.pid or None,
        "host": line.host or None,
        "sevr": line.sevr,
        "event": line.func,
        "stat": line.stat,
        **line.keys,
    }


def as_json(story: Story, asked: IsAsked, *, short: bool) -> str:
    """Gives a story as one JSON object; short leaves the timeline out."""
    case = judge(story.lines, story.ta_id)
    shown = focus(case, asked)
    found: dict[str, Any] = {
        "id": story.ta_id or None,
        "session": story.session or None,
        "verdict": printable(verdict(case, shown)),
        "over": case.is_over,
        "sender": case.mail,
        "client": case.client or None,
        "msgid": case.msgid or None,
        "size": case.size_bytes,
        "recipients": [
            {
                "rcpt": one.rcpt,
                "fate": one.fate.value,
                "text": one.text,
                "tries": max(one.tries, one.attempts),
                "delay_ms": one.delay_ms if one.delay_ms >= 0 else None,
                "report": one.report,
                "alias": one.of or None,
            }
            for key, one in case.rcpts.items()
            if key in shown
        ],
    }
    if not short:
        found["timeline"] = [_row_object(line, story.lines[0].when) for line in _shown(story, case, shown)]
    return json.dumps(found, ensure_ascii=True)
