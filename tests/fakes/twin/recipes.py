"""What a filter does, by the local part of the sender: the same for all who ask it (tests/system/filter_twins.py).

Standard library only: the filter runs with the Python of the system.
"""

from dataclasses import dataclass, field

STAGES = ("envfrom", "envrcpt", "data", "header", "eoh", "body", "eom")
VERDICTS = ("reject", "tempfail", "discard", "accept")
LONG = " ".join(["word"] * 300)


@dataclass(frozen=True)
class Recipe:
    """What it does.

    Args:
        changes: names of pymilter's methods with their arguments, called in eom().
        at: callback that decides; empty for none.
        verdict: what it decides.
        reply: words of a refusal: code, enhanced code, lines.
    """

    changes: tuple[tuple[object, ...], ...] = ()
    at: str = ""
    verdict: str = ""
    reply: tuple[str, ...] = field(default=())


def changes(*made: tuple[object, ...]) -> Recipe:
    return Recipe(made)


MOST = (
    ("addheader", "X-A", "v"),
    ("addheader", "X-B", "v", 1),
    ("chgheader", "X-Many", 2, ""),
    ("replacebody", "new\r\n"),
    ("addrcpt", "<new@sink.example>"),
    ("delrcpt", "<r2@sink.example>"),
)
RECIPES = {
    "nothing": Recipe(),
    "add": changes(("addheader", "X-A", "v")),
    "add-twice": changes(("addheader", "X-A", "1"), ("addheader", "X-A", "2")),
    "add-folded": changes(("addheader", "X-A", "one\n\ttwo\n three")),
    "add-crlf": changes(("addheader", "X-A", "one\r\n\ttwo")),
    "add-unfolded": changes(("addheader", "X-A", "one\ntwo")),
    "add-blank": changes(("addheader", "X-A", " v ")),
    "add-empty": changes(("addheader", "X-A", "")),
    "add-long": changes(("addheader", "X-A", LONG)),
    "add-utf8": changes(("addheader", "X-A", "gr\u00fc\u00dfe")),
    "insert-0": changes(("addheader", "X-A", "v", 0)),
    "insert-1": changes(("addheader", "X-A", "v", 1)),
    "insert-2": changes(("addheader", "X-A", "v", 2)),
    "insert-100": changes(("addheader", "X-A", "v", 100)),
    "insert-twice": changes(("addheader", "X-A", "1", 1), ("addheader", "X-B", "2", 1)),
    "change": changes(("chgheader", "Subject", 1, "other")),
    "change-0": changes(("chgheader", "Subject", 0, "other")),
    "change-case": changes(("chgheader", "SUBJECT", 1, "other")),
    "change-second": changes(("chgheader", "X-Many", 2, "other")),
    "change-absent": changes(("chgheader", "X-None", 1, "other")),
    "change-fourth": changes(("chgheader", "X-Many", 4, "other")),
    "change-received": changes(("chgheader", "Received", 1, "from nobody")),
    "change-folded": changes(("chgheader", "Subject", 1, "one\n two")),
    "delete": changes(("chgheader", "Subject", 1, "")),
    "delete-first": changes(("chgheader", "X-Many", 1, "")),
    "delete-all": changes(*[("chgheader", "X-Many", 1, "")] * 3),
    "delete-downwards": changes(*[("chgheader", "X-Many", number, "") for number in (3, 2, 1)]),
    "delete-absent": changes(("chgheader", "X-None", 1, "")),
    "delete-received": changes(("chgheader", "Received", 1, "")),
    "add-then-change": changes(("addheader", "X-A", "1"), ("chgheader", "X-A", 1, "2")),
    "insert-then-delete": changes(("addheader", "Subject", "new", 1), ("chgheader", "Subject", 1, "")),
    "body": changes(("replacebody", "new\r\nbody\r\n")),
    "body-lf": changes(("replacebody", "new\nbody\n")),
    "body-open": changes(("replacebody", "new\r\nbody")),
    "body-dots": changes(("replacebody", ".\r\n..\r\n.x\r\n")),
    "body-pieces": changes(("replacebody", "new\r"), ("replacebody", "\nbody\r\n")),
    "body-big": changes(("replacebody", ("x" * 70 + "\r\n") * 3000)),
    "body-and-header": changes(("addheader", "X-A", "v"), ("replacebody", "b\r\n"), ("chgheader", "Subject", 1, "")),
    "rcpt-add": changes(("addrcpt", "<new@sink.example>")),
    "rcpt-add-bare": changes(("addrcpt", "new@sink.example")),
    "rcpt-add-twice": changes(("addrcpt", "<r@sink.example>"), *[("addrcpt", "<new@sink.example>")] * 2),
    "rcpt-add-notify": changes(("addrcpt", "<new@sink.example>", "NOTIFY=NEVER")),
    "rcpt-delete": changes(("delrcpt", "<r2@sink.example>")),
    "rcpt-delete-case": changes(("delrcpt", "<r2@SINK.example>")),
    "rcpt-delete-absent": changes(("delrcpt", "<nobody@sink.example>")),
    "rcpt-delete-all": changes(("delrcpt", "<r@sink.example>"), ("delrcpt", "<r2@sink.example>")),
    "rcpt-replace": changes(*[("delrcpt", f"<{one}@sink.example>") for one in ("r", "r2")], ("addrcpt", "<new@sink.example>")),
    "sender": changes(("chgfrom", "<other@source.example>")),
    "sender-bare": changes(("chgfrom", "other@source.example")),
    "sender-null": changes(("chgfrom", "<>")),
    "quarantine": changes(("quarantine", "looks bad")),
    "progress": changes(("progress",), ("addheader", "X-A", "v"), ("progress",)),
    "most": changes(*MOST),
    "all": changes(*MOST, ("chgfrom", "<other@source.example>")),
    **{f"{verdict}-at-{stage}": Recipe(at=stage, verdict=verdict) for stage in STAGES for verdict in VERDICTS},
    **{f"words-at-{stage}": Recipe(at=stage, verdict="reject", reply=("554", "5.7.9", "own words")) for stage in STAGES},
    "later-in-words": Recipe(at="envrcpt", verdict="tempfail", reply=("450", "4.7.9", "own words")),
    "lines": Recipe(at="eom", verdict="reject", reply=("550", "5.7.1", "one", "two", "three")),
    "percent": Recipe(at="eom", verdict="reject", reply=("550", "5.7.1", "100%% sure")),
    "shutdown": Recipe(at="envrcpt", verdict="tempfail", reply=("421", "4.7.9", "go away")),
    "change-and-refuse": Recipe((("addheader", "X-A", "v"),), at="eom", verdict="reject"),
}  # fmt: skip
