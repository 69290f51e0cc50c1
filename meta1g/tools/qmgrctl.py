"""qmgrctl: asks and commands the queue manager.

`qmgrctl status` exits with 0 only if all is well; with EX_TROUBLE if qmgr or mcp names something that is not.  A command that
changes recipients exits with EX_NOINPUT if an id is unknown or nothing matches, with EX_TEMPFAIL if not all could be done.

Ref: MeTA1's qmgrctl (name and job; the commands are ours); docs/operating.md.
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
from meta1g.conf.load import load_file
from meta1g.tools import listed
from meta1g.tools.ctlclient import ControlClient
from meta1g.tools.mailq import show_queue
from meta1g.tools.show import ContentParts, show
from meta1g.tools.table import Column, age, columns
from meta1g.tools.times import time_text, with_times

#: Exit code of `status` if something is not well; no code of sysexits, which say why there is no status.
EX_TROUBLE: Final = 1
#: States of a component in which it does, or will soon do, its work.
_WELL: Final = frozenset(("running", "starting"))
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
    Column("tls", lambda row: row["tls"]),
    Column("open", lambda row: str(row["open"])),
    Column("idle", lambda row: str(row["idle"])),
    Column("limit", lambda row: str(row["limit"])),
    Column("deliveries", lambda row: str(row["deliveries"])),
    Column("waiting", lambda row: str(row["waiting"])),
    Column("closed for", lambda row: age(row["closed_s"]) if row["closed_s"] else ""),
    Column("last failure", lambda row: row["failure"]),
)
_FILTERS: Final = (
    Column("smtps", lambda row: row["smtps"]),
    Column("filter", lambda row: row["filter"]),
    Column("state", lambda row: row["state"]),
    Column("since", lambda row: time_text(row["since"]) or ""),
    Column("sessions", lambda row: str(row["sessions"])),
    Column("messages", lambda row: str(row["messages"])),
    Column("refused", lambda row: str(row["refused"])),
    Column("discarded", lambda row: str(row["discarded"])),
    Column("changed", lambda row: str(row["changed"])),
    Column("failures", lambda row: ", ".join(f"{kind} {count}" for kind, count in row["failures"].items())),
    Column("mean ms", lambda row: f"{row['mean_ms']:.1f}"),
    Column("worst ms", lambda row: f"{row['worst_ms']:.1f}"),
)
_EXPLAINED: Final = (
    Column("server", lambda row: f"{row['server']}:{row['port']}" if row["port"] else row["server"]),
    Column("address", lambda row: row["addr"]),
    Column("by", lambda row: row["da"]),
    Column("tls", lambda row: row["tls"]),
    Column("since", lambda row: row["source"]),
    Column("demands", lambda row: f"no mail now: {row['refused']}" if row["refused"] else "; ".join(row["demands"])),
)
_LIMITS: Final = (
    Column("limit", lambda row: row["name"]),
    Column("value", lambda row: row["text"]),
    Column("meta1.conf", lambda row: row["configured"]),
    Column("changed", lambda row: time_text(row["since"]) or ""),
    Column("meaning", lambda row: row["meaning"]),
)
_VERIFIED: Final = (
    Column("address", lambda row: row["address"]),
    Column("since", lambda row: time_text(row["last"]) or ""),
    Column("by", lambda row: row["remote_mta"]),
    Column("", lambda row: row["status"]),
)


def _pairs(result: Mapping[str, Any]) -> str:
    width = max((len(key) for key in result), default=0)
    return "\n".join(f"{key:{width}}  {value}" for key, value in result.items())


def _word(value: object) -> object:
    """Gives a value as it stands in a table; a dash for nothing."""
    text = " ".join(map(str, value)) if isinstance(value, list) else value
    return "-" if text in (None, "") else text


def _status(result: Mapping[str, Any]) -> str:
    shown = with_times({key: value for key, value in result.items() if key not in ("components", "filters", "trouble")})
    parts = [_pairs({key: _word(value) for key, value in shown.items()})]
    if result["filters"]:
        parts.append(columns(_FILTERS, result["filters"]))
    rows = result.get("components")
    if rows:
        parts.append(columns(_COMPONENTS, rows))
    parts += ["\n".join(f"trouble: {text}" for text in result["trouble"])] if result["trouble"] else []
    return "\n\n".join(parts)


def _usage(result: Mapping[str, Any]) -> str:
    free = result.get("free_bytes", {})
    lines = {name: f"{used:>3} %" for name, used in result.items() if name != "free_bytes"}
    return _pairs({name: f"{text}  {free[name]} bytes free" if name in free else text for name, text in lines.items()})


def _list(what: Sequence[Column], nothing: str) -> Callable[[Any], str]:
    return lambda rows: columns(what, rows) if rows else nothing


@dataclass(frozen=True, slots=True)
class Sentence:
    """One command.

    Args:
        arguments: its words after the first, `[...]` if there need be none, `...` if there may be many.
        meaning: what it does.
        run: does it, and gives the exit code.
    """

    arguments: str
    meaning: str
    run: "Callable[[ControlClient, Call], int]"


@dataclass(frozen=True, slots=True)
class Call:
    """One command line.

    Args:
        word: the command.
        words: its other words.
        queue: the queue directory.
        json: the result is printed as JSON.
        dry_run: nothing is changed.
        parts: parts of the content that are shown.
    """

    word: str
    words: tuple[str, ...]
    queue: Path
    json: bool
    dry_run: bool
    parts: ContentParts


def _asked(form: Callable[[Any], str]) -> "Callable[[ControlClient, Call], int]":
    """Gives a command that prints what QMGR answers."""

    def run(client: ControlClient, call: Call) -> int:
        _print(call, client.ask(call.word, *call.words), form)
        return sysexits.EX_OK

    return run


def _print(call: Call, result: Any, form: Callable[[Any], str]) -> None:
    if call.json:
        shown = [with_times(row) for row in result] if isinstance(result, list) else with_times(result)
        sys.stdout.write(json.dumps(shown, indent=1) + "\n")
    else:
        sys.stdout.write(form(result) + "\n")


def ask(queue: Path, word: str, *words: str) -> Any:
    """Gives the result of a command, a list as a whole.

    Args:
        queue: the queue directory.
        word: one of SENTENCES.
        words: its other words.

    Raises:
        CliError: qmgr cannot be reached, or refuses.
    """
    with ControlClient(queue / paths.QMGR_CONTROL_SOCKET) as client:
        return _result(client, queue, word, *words)


def _result(client: ControlClient, queue: Path, word: str, *words: str) -> Any:
    result = client.ask(word, *words)
    if word == "status":
        _add_components(result, queue)
    return result


def _run_status(client: ControlClient, call: Call) -> int:
    result = _result(client, call.queue, "status")
    _print(call, result, _status)
    return EX_TROUBLE if result["trouble"] else sysexits.EX_OK


def _run_queue(client: ControlClient, call: Call) -> int:
    return show_queue(client, call.words, form="json" if call.json else "wide")


def _run_show(client: ControlClient, call: Call) -> int:
    return show(client, call.queue, call.words[0], call.parts, as_json=call.json)


def _run_change(client: ControlClient, call: Call) -> int:
    result = listed.change(client, call.word, call.words, sys.stdin, dry_run=call.dry_run)
    if call.json:
        sys.stdout.write(json.dumps(result, indent=1) + "\n")
    else:
        counts = {
            key: value for key, value in result.items() if isinstance(value, int) and key not in ("dry_run", "unknown_count")
        }
        if call.dry_run:
            sys.stdout.write("nothing was changed; it would be:\n")
        sys.stdout.write(f"{_pairs(counts)}\n")
    texts, code = listed.complaints(result)
    for text in texts:
        sys.stderr.write(f"qmgrctl: {text}\n")
    return code


_SELECTOR: Final = "SELECTOR ..."
#: All commands; help, the check of the arguments and the output are made from it.
SENTENCES: Final[dict[str, Sentence]] = {
    "status": Sentence("", "counters of all queues, who is connected, and the components of mcp", _run_status),
    "usage": Sentence("", "use of each resource, 0 to 100", _asked(_usage)),
    "queue": Sentence("[SELECTOR ...]", "recipients in the queues, one a line; mailq has more forms", _run_queue),
    "show": Sentence("ID", "a transaction or a recipient: envelope, attempts with replies; see --header, --body", _run_show),
    "destinations": Sentence("", "what is known of each server", _asked(_list(_DESTINATIONS, "no destination is known"))),
    "hold": Sentence(_SELECTOR, "keep recipients until they are released", _run_change),
    "release": Sentence(_SELECTOR, "try recipients again that are held", _run_change),
    "remove": Sentence(_SELECTOR, "remove recipients without a report to the sender", _run_change),
    "bounce": Sentence(_SELECTOR, "return recipients to their senders now", _run_change),
    "retry": Sentence(_SELECTOR, "try deferred recipients now; those that are held stay", _run_change),
    "requeue": Sentence(_SELECTOR, "begin anew, held or not: tries and time in the queue count from now", _run_change),
    "explain": Sentence("ADDRESS", "where mail goes, and what TLS has to fulfil there", _asked(_list(_EXPLAINED, "nobody"))),
    "verified": Sentence("ADDRESS ...", "what is known of addresses, of @DOMAIN, or all", _asked(_list(_VERIFIED, "nothing"))),
    "forget": Sentence("ADDRESS ...", "forget what is known of addresses: they are verified anew", _asked(_pairs)),
    "limits": Sentence(
        "[NAME=VALUE ...]", "show limits, or change them; NAME=default, default: as in meta1.conf", _asked(_list(_LIMITS, ""))
    ),
    "drain": Sentence("", "take no new mail, deliver what is here", _asked(_pairs)),
    "stop": Sentence("", "take no new mail, begin no delivery", _asked(_pairs)),
    "resume": Sentence("", "end drain and stop", _asked(_pairs)),
}
_SELECTORS: Final = """\
selectors: all, or any of these; several values of one KEY: any of them; several KEYs: all of them; `*`: any characters
  ID RECIPIENT-ID            transactions, recipients; `-`: ids on standard input, one a line
  DOMAIN domain=DOMAIN       domain of the recipient; domain=.example.org: those below it
  sender=ADDRESS recipient=ADDRESS    envelope addresses; sender=<>: reports
  destination=HOST[:PORT]    where it waits for, or was tried at last
  age=2d age=..10m age=1h..2d    time in the queue
  status=TEXT state=deferred|held|active"""


def _status_of_mcp(path: Path) -> dict[str, Any]:
    """Gives what mcp tells; nothing if qmgr runs without mcp, or mcp's socket may not be used."""
    try:
        with ControlClient(path, "mcp") as client:
            found: dict[str, Any] = client.ask("status")
    except cli.CliError:
        return {"components": [], "log": []}
    return found


def _add_components(result: dict[str, Any], queue: Path) -> None:
    """Adds the components of mcp to a status, and what is not well with them and with the log."""
    found = _status_of_mcp(queue / paths.MCP_STATUS_SOCKET)
    result["components"] = found["components"]
    result["trouble"] += [text for text in found.get("log", ()) if text not in result["trouble"]]
    result["trouble"] += [
        f"component {row['component']} is not running: {row['state']}"
        for row in result["components"]
        if row["state"] not in _WELL
    ]


def _help() -> str:
    exit_codes = f"exit code of status: 0 if all is well, {EX_TROUBLE} if there is trouble, which it names"
    commands = "\n".join(f"  {f'{word} {one.arguments}':26} {one.meaning}" for word, one in SENTENCES.items())
    return f"{exit_codes}\n\ncommands:\n{commands}\n\n{_SELECTORS}"


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser("qmgrctl", "Asks and commands the queue manager of meta1g.")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _help()
    parser.add_argument("-f", dest="file", type=Path, default=paths.DEFAULT_CONFIG_FILE, help="configuration file")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("-n", "--dry-run", action="store_true", help="change nothing, say to how many it would be done")
    parser.add_argument("--header", action="store_true", help="show: print the header of the message")
    parser.add_argument("--body", action="store_true", help="show: print the body of the message")
    parser.add_argument("words", nargs="+", metavar="command", help="command and its arguments, see below")
    return parser


def _fits(arguments: str, words: Sequence[str]) -> bool:
    """Tells whether a command has the arguments that it needs."""
    if arguments.startswith("["):
        return True
    return bool(words) if arguments.endswith("...") else len(words) == len(arguments.split())


def main(argv: list[str]) -> int:
    """Runs one command and gives the exit code."""
    parser = _parser()
    options = parser.parse_intermixed_args(argv)
    word, words = options.words[0], options.words[1:]
    sentence = SENTENCES.get(word)
    if sentence is None:
        parser.error(f"unknown command {word!r}")
    if not _fits(sentence.arguments, words):
        parser.error(f"usage: qmgrctl {word} {sentence.arguments}".rstrip())
    if options.dry_run and sentence.run is not _run_change:
        parser.error(f"{word} has no --dry-run")
    if (options.header or options.body) and sentence.run is not _run_show:
        parser.error(f"{word} has neither --header nor --body")
    queue = load_file(options.file, lenient=True).queue_directory
    parts = ContentParts(header=options.header, body=options.body)
    call = Call(word, tuple(words), queue, options.json, options.dry_run, parts)
    with ControlClient(queue / paths.QMGR_CONTROL_SOCKET) as client:
        return sentence.run(client, call)


def run() -> None:
    """Runs the program (console script)."""
    raise SystemExit(cli.run_program("qmgrctl", main))


if __name__ == "__main__":
    run()
