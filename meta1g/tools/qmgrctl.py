"""qmgrctl: asks and commands the queue manager.

`qmgrctl status` exits with 0 only if all is well; with EX_TROUBLE if qmgr or mcp names something that is not.

Ref: behaviour of tools; MeTA1's qmgrctl (name and job; the commands are ours).
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from meta1g.base import cli, paths, sysexits
from meta1g.base.dataclass import dataclass
from meta1g.base.ids import rcpt_id
from meta1g.conf.load import load_file
from meta1g.tools.ctlclient import ControlClient
from meta1g.tools.table import Column, age, columns

#: Exit code of `status` if something is not well; no code of sysexits, which say why there is no status.
EX_TROUBLE: Final = 1
#: States of a component in which it does, or will soon do, its work.
_WELL: Final = frozenset(("running", "starting"))
_QUEUE: Final = (
    Column("id", lambda row: rcpt_id(row["ta"], row["rcpt_idx"])),
    Column("age", lambda row: age(time.time() - row["entered"])),
    Column("size", lambda row: str(row["size"])),
    Column("where", lambda row: row["where"]),
    Column("sender", lambda row: f"<{row['mail']}>"),
    Column("recipient", lambda row: f"<{row['rcpt']}>"),
    Column("tries", lambda row: str(row["tries"])),
    Column("status", lambda row: row["status"]),
)
_COMPONENTS: Final = (
    Column("component", lambda row: row["component"]),
    Column("state", lambda row: row["state"]),
    Column("for", lambda row: age(time.time() - row["since"])),
    Column("process", lambda row: " ".join(str(pid) for pid in row["pids"])),
    Column("restarts", lambda row: str(row["restarts"])),
    Column("last end", lambda row: "" if row["exit"] is None else str(row["exit"])),
)
_DESTINATIONS: Final = (
    Column("server", lambda row: f"{row['server']}:{row['port']}" if row["port"] else row["server"]),
    Column("open", lambda row: str(row["open"])),
    Column("idle", lambda row: str(row["idle"])),
    Column("limit", lambda row: str(row["limit"])),
    Column("deliveries", lambda row: str(row["deliveries"])),
    Column("waiting", lambda row: str(row["waiting"])),
    Column("closed for", lambda row: age(row["closed_s"]) if row["closed_s"] else ""),
    Column("last failure", lambda row: row["failure"]),
)


def _pairs(result: Mapping[str, Any]) -> str:
    width = max((len(key) for key in result), default=0)
    return "\n".join(f"{key:{width}}  {value}" for key, value in result.items())


def _status(result: Mapping[str, Any]) -> str:
    parts = [_pairs({key: value for key, value in result.items() if key not in ("components", "trouble")})]
    rows = result.get("components")
    if rows:
        parts.append(columns(_COMPONENTS, rows))
    parts += ["\n".join(f"trouble: {text}" for text in result["trouble"])] if result["trouble"] else []
    return "\n\n".join(parts)


def _list(what: Sequence[Column], nothing: str) -> Callable[[Any], str]:
    return lambda rows: columns(what, rows) if rows else nothing


@dataclass(frozen=True, slots=True)
class Sentence:
    """One command: its words after the first, what it does, how its result is shown.  Immutable."""

    arguments: str
    meaning: str
    show: Callable[[Any], str]


#: All commands; help, the check of the arguments and the output are made from it.
SENTENCES: Final[dict[str, Sentence]] = {
    "status": Sentence("", "counters of all queues, who is connected, and the components of mcp", _status),
    "usage": Sentence("", "use of each resource, 0 to 100", _pairs),
    "queue": Sentence("", "all recipients in the queues", _list(_QUEUE, "the queues are empty")),
    "show": Sentence("ID", "the recipients of one transaction", _list(_QUEUE, "nothing")),
    "destinations": Sentence("", "what is known of each server", _list(_DESTINATIONS, "no destination is known")),
    "retry": Sentence("ID|DOMAIN|all", "try deferred recipients now; those that are held stay", _pairs),
    "release": Sentence("ID|RECIPIENT-ID|all", "try recipients again that are held because their content was damaged", _pairs),
    "remove": Sentence("ID|RECIPIENT-ID", "remove recipients without a report to the sender", _pairs),
}


def _components(path: Path) -> list[dict[str, Any]]:
    """Gives what mcp tells of the components; nothing if qmgr runs without mcp, or mcp's socket may not be used."""
    try:
        with ControlClient(path, "mcp") as client:
            found: list[dict[str, Any]] = client.ask("status")["components"]
    except cli.CliError:
        return []
    return found


def _add_components(result: dict[str, Any], queue: Path) -> None:
    """Adds the components of mcp to a status, and what is not well with them."""
    result["components"] = _components(queue / paths.MCP_STATUS_SOCKET)
    result["trouble"] += [
        f"component {row['component']} is not running: {row['state']}"
        for row in result["components"]
        if row["state"] not in _WELL
    ]


def ask(queue: Path, word: str, *arguments: str) -> Any:
    """Gives the result of a command.

    Args:
        queue: the queue directory.
        word: one of SENTENCES.
        arguments: as many as it has.

    Raises:
        CliError: qmgr cannot be reached, or refuses.
    """
    with ControlClient(queue / paths.QMGR_CONTROL_SOCKET) as client:
        result = client.ask(word, *arguments)
    if word == "status":
        _add_components(result, queue)
    return result


def _help() -> str:
    exit_codes = f"exit code of status: 0 if all is well, {EX_TROUBLE} if there is trouble, which it names"
    return f"{exit_codes}\n\ncommands:\n" + "\n".join(
        f"  {f'{word} {one.arguments}':26} {one.meaning}" for word, one in SENTENCES.items()
    )


def main(argv: list[str]) -> int:
    """Runs one command and gives the exit code."""
    parser = cli.parser("qmgrctl", "Asks and commands the queue manager of meta1g.")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _help()
    parser.add_argument("-f", dest="file", type=Path, default=paths.DEFAULT_CONFIG_FILE, help="configuration file")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("words", nargs="+", metavar="command", help="command and its arguments, see below")
    options = parser.parse_args(argv)
    word, arguments = options.words[0], options.words[1:]
    sentence = SENTENCES.get(word)
    if sentence is None:
        parser.error(f"unknown command {word!r}")
    if len(arguments) != len(sentence.arguments.split()):
        parser.error(f"usage: qmgrctl {word} {sentence.arguments}".rstrip())
    result = ask(load_file(options.file, lenient=True).queue_directory, word, *arguments)
    sys.stdout.write((json.dumps(result, indent=1) if options.json else sentence.show(result)) + "\n")
    return EX_TROUBLE if word == "status" and result["trouble"] else sysexits.EX_OK


def run() -> None:
    """Runs the program (console script)."""
    raise SystemExit(cli.run_program("qmgrctl", main))


if __name__ == "__main__":
    run()
