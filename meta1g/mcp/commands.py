"""What control clients may ask of mcp.

    ("status",)          JSON {"pid", "config", "well", "reload", "components": [{"component", "state", "pids", ...}]}
    ("reload", [FILE])   answered when the reload is over: 0 and JSON {"number", "exit", "time", "lines"}, or its exit code and
                         the lines as text; for root and the account of mcp only.  FILE has to be the file of mcp.

Owner: the event loop.
Ref: our choice; protocol in rcb/control.py.
"""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from meta1g.base.dataclass import dataclass
from meta1g.base.sysexits import EX_NOPERM, EX_OK, EX_USAGE
from meta1g.mcp.child import Member
from meta1g.mcp.reload import OnReloaded, ReloadResult
from meta1g.rcb.control import CommandResult


def component_facts(members: Iterable[Member]) -> list[dict[str, object]]:
    """Gives what the status tells of each component."""
    return [
        {
            "component": member.label,
            "kind": member.plan.service.kind,
            "index": member.plan.service.index,
            "state": member.state.name.lower(),
            "since": round(member.since_s, 3),
            "pid": member.pids[0] if member.pids else None,
            "pids": member.pids,
            "user": member.plan.launch.identity.user,
            "starts": member.starts,
            "restarts": max(member.starts - 1, 0),
            "exit": member.last_exit,
            "trouble": member.trouble,
        }
        for member in members
    ]


@dataclass(frozen=True, slots=True)
class Request:
    """A command and who gives it; reply(result) sends the answer, now or later."""

    words: tuple[str, ...]
    uid: int
    reply: Callable[[CommandResult], object]


class Commands:
    """Carries out what comes through the status socket.

    Args:
        facts: gives what the status tells.
        reload: orders a reload, whose result goes to its argument.
        config: the configuration file of this mcp.

    Owner: the event loop.
    """

    def __init__(self, facts: Callable[[], dict[str, object]], reload: Callable[[OnReloaded], object], config: Path) -> None:
        self._facts = facts
        self._reload = reload
        self._config = config

    def answer(self, request: Request) -> None:
        """Answers one command."""
        word, *arguments = request.words or ("",)
        if word == "status" and not arguments:
            request.reply(CommandResult(exit_code=EX_OK, text=json.dumps(self._facts())))
        elif word == "reload" and len(arguments) <= 1:
            self._order_reload(request, Path(*arguments))
        else:
            request.reply(CommandResult(exit_code=EX_USAGE, text="mcp knows the commands status and reload [FILE]"))

    def _order_reload(self, request: Request, file: Path) -> None:
        if request.uid not in (0, os.geteuid()):
            text = f"user id {request.uid} may not order a reload; run it as root or as the account of mcp"
            request.reply(CommandResult(exit_code=EX_NOPERM, text=text))
        elif file.name and file.resolve() != self._config.resolve():
            text = f"mcp runs with {self._config}, not with {file}; name that one, or stop mcp and start it with the other"
            request.reply(CommandResult(exit_code=EX_USAGE, text=text))
        else:
            self._reload(lambda result: request.reply(_as_command_result(result)))


def _as_command_result(result: ReloadResult) -> CommandResult:
    text = "\n".join(result.lines) if result.code else json.dumps(result.facts())
    return CommandResult(exit_code=result.code, text=text)
