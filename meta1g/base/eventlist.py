"""Prints the table of events as Markdown: `python -m meta1g.base.eventlist > docs/log-events.md`."""

from collections.abc import Iterator

from meta1g.base.events import EVENTS
from meta1g.base.logevent import About
from meta1g.base.logkeys import LOG_KEYS, Sev

_HEAD = """\
# Events of the log

Made from the tables of the program by `python -m meta1g.base.eventlist`; how to read a line is in docs/logging.md.  Each line
of the log is one of these events: `func=` of a classic line, `event` of one in JSON.  Keys in brackets may be missing.
"""


def lines() -> Iterator[str]:
    """Gives the document line by line."""
    yield _HEAD
    for about in About:
        yield f"## {about.value[0].upper()}{about.value[1:]}\n"
        yield "| event | severity | keys | meaning |\n| --- | --- | --- | --- |"
        for name, row in EVENTS.items():
            if row.kind is about:
                keys = ", ".join([*(f"`{key}`" for key in row.must), *(f"[`{key}`]" for key in row.may)])
                yield f"| `{name}` | {row.sevr.name} | {keys} | {row.meaning} |"
        yield ""
    yield "## Keys\n\nIn the order in which they are written, between `sevr` and the event, and `stat`, the outcome.\n"
    yield "| key | meaning |\n| --- | --- |"
    yield from (f"| `{key}` | {meaning} |" for key, meaning in LOG_KEYS.items())
    yield "\n## Severities\n\nA line is written if `log_level` is at least the number of its severity.\n"
    yield "| severity | number |\n| --- | --- |"
    yield from (f"| {sevr.name} | {sevr.value} |" for sevr in Sev)


if __name__ == "__main__":
    print("\n".join(lines()))  # noqa: T201
