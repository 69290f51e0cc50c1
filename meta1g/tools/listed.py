"""Commands that change recipients, with a list of ids on standard input: one program start and few questions for any number.

Ref: docs/operating.md.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from meta1g.base import cli, sysexits
from meta1g.base.ids import is_id, split_rcpt_id
from meta1g.tools.ctlclient import ControlClient

STDIN: Final = "-"
#: Ids in one question to QMGR.
_BATCH: Final = 2000
#: Unknown ids that are named on standard error.
_NAMED_MAX: Final = 10


def read_ids(lines: Iterable[str]) -> list[str]:
    """Reads ids, the first word of each line; empty lines and those that begin with `#` are skipped.

    Raises:
        CliError: a line has something else, or there is none.
    """
    ids: dict[str, None] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if not _is_any_id(words[0]):
            raise cli.CliError(f"standard input, line {number}: not an id: {words[0]!r}; nothing was done", sysexits.EX_DATAERR)
        ids[words[0]] = None
    if not ids:
        raise cli.CliError("standard input has no ids; nothing was done", sysexits.EX_NOINPUT)
    return list(ids)


def _is_any_id(word: str) -> bool:
    if is_id(word):
        return True
    try:
        split_rcpt_id(word)
    except ValueError:
        return False
    return True


def change(client: ControlClient, word: str, words: Sequence[str], lines: Iterable[str], *, dry_run: bool) -> dict[str, Any]:
    """Gives a command to QMGR, in parts if its ids stand on standard input; gives the sum of the answers.

    Args:
        client: of QMGR.
        word: the command.
        words: its selector.
        lines: standard input.
        dry_run: nothing is changed.

    Raises:
        CliError: the command was refused, or standard input has no ids.
    """
    options = ("--dry-run",) if dry_run else ()
    if STDIN not in words:
        result: dict[str, Any] = client.ask(word, *options, *words)
        return result
    others = [one for one in words if one != STDIN]
    ids = read_ids(lines)
    return _sum([client.ask(word, *options, *others, *ids[at : at + _BATCH]) for at in range(0, len(ids), _BATCH)])


def _sum(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Adds results up; what only one of them says is kept, unless another one did something."""
    counts: Counter[str] = Counter()
    total: dict[str, Any] = {}
    for result in results:
        for key, value in result.items():
            if isinstance(value, bool | str):
                total[key] = value
            elif isinstance(value, list):
                total[key] = [*total.get(key, ()), *value]
            else:
                counts[key] += value
    if any("nothing" not in result for result in results):
        total.pop("nothing", None)
    return {**counts, **total}


def complaints(result: Mapping[str, Any]) -> tuple[list[str], int]:
    """Gives what was not done, as texts, and the exit code."""
    texts: list[str] = []
    code = sysexits.EX_OK
    unknown = result.get("unknown", ())
    if "nothing" in result:
        texts.append(result["nothing"])
        code = sysexits.EX_NOINPUT
    if unknown:
        more = result["unknown_count"] - min(len(unknown), _NAMED_MAX)
        texts.append(f"in no queue: {' '.join(unknown[:_NAMED_MAX])}{f' and {more} others' if more else ''}")
        code = sysexits.EX_NOINPUT
    if result.get("busy"):
        texts.append(f"{result['busy']} recipients are busy; try again")
        code = sysexits.EX_TEMPFAIL
    if "error" in result:
        texts.append(f"not all was done: {result['error']}")
        code = sysexits.EX_TEMPFAIL
    return texts, code
