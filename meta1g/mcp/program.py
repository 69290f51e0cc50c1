"""Which program a service runs, and with which arguments.

A path that names one of the five programs and is not there runs the bundled one, so that an unchanged MeTA1
configuration starts.

Ref: meta1.conf(5), `path` and `arguments`.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from meta1g.base.cli import CliError
from meta1g.base.dataclass import dataclass
from meta1g.base.sysexits import EX_NOPERM
from meta1g.mcp.service import Service

BUNDLED: Final = frozenset({"smtps", "smtpc", "smar", "qmgr"})
_CONFIG_OPTIONS: Final = ("-f", "--config")
#: Where the console scripts of this package name it.
_SCRIPT_HEAD_BYTES: Final = 1024
#: Words before the arguments of a module: interpreter, -m, its name.
_MODULE_WORDS: Final = 3


@dataclass(frozen=True, slots=True)
class Program:
    """What to execute.

    Args:
        executable: absolute path.
        argv: all arguments, the program's name first.
        bundled: name of the component of this package, or None for a program of somebody else.
        reads_config: it is of this package and reads the running configuration.
        is_module: it is a module of this package, run by the interpreter of mcp, and not a file of its own.
    """

    executable: str
    argv: tuple[str, ...]
    bundled: str | None
    reads_config: bool = False
    is_module: bool = False

    @property
    def own_arguments(self) -> tuple[str, ...]:
        """The command line without what names the program, whether it is a module or a file."""
        return self.argv[_MODULE_WORDS if self.is_module else 1 :]


def program_of(service: Service, config_file: Path, *, lenient: bool = False) -> Program:
    """Finds the program of a service.

    Args:
        service: the service.
        config_file: the running configuration, absolute; for a bundled program whose arguments name none that exists.
        lenient: unknown options are warnings; passed on to bundled programs.

    Raises:
        CliError: there is no such program, or it cannot be executed.
    """
    path = Path(service.path or service.kind)
    words = service.arguments or (path.name,)
    if path.is_absolute() and path.exists():
        if not path.is_file() or not os.access(path, os.X_OK):
            raise CliError(f"{service.where}: {path} is not a program that can be executed; mend its mode", EX_NOPERM)
        ours = path.name if path.name in BUNDLED and _is_ours(path) else None
        rest = _own_arguments(service, words[1:], config_file, lenient) if ours else words[1:]
        return Program(str(path), (words[0], *rest), ours, bool(ours) and _reads(rest, config_file))
    if path.name not in BUNDLED:
        advice = "no such program" if path.is_absolute() else "path must be absolute, or name one of the bundled programs"
        raise CliError(f"{service.where}: path of {service.label}: {path}: {advice}")
    rest = _own_arguments(service, words[1:], config_file, lenient)
    argv = (sys.executable, "-m", f"meta1g.{path.name}.main", *rest)
    return Program(sys.executable, argv, path.name, _reads(rest, config_file), is_module=True)


def _reads(words: Sequence[str], config_file: Path) -> bool:
    """Tells whether the first configuration file that arguments name is the running one."""
    named = next((words[number + 1] for number, word in enumerate(words[:-1]) if word in _CONFIG_OPTIONS), None)
    return named is not None and Path(named).resolve() == config_file.resolve()


def _is_ours(path: Path) -> bool:
    """Tells a console script of this package from MeTA1's program of the same name."""
    with path.open("rb") as file:
        head = file.read(_SCRIPT_HEAD_BYTES)
    return head.startswith(b"#!") and b"meta1g." in head


def _own_arguments(service: Service, words: Sequence[str], config_file: Path, lenient: bool) -> tuple[str, ...]:
    """Adds what a program of this package needs to find its section: configuration, name, index."""
    made = _with_config(words, config_file)
    if service.name and "-n" not in made:
        made += ["-n", service.name]
    if service.index and "-i" not in made:
        made += ["-i", str(service.index)]
    if lenient and "-L" not in made:
        made.append("-L")
    return tuple(made)


def _with_config(words: Sequence[str], config_file: Path) -> list[str]:
    made = list(words)
    for number, word in enumerate(made[:-1]):
        if word in _CONFIG_OPTIONS:
            given = Path(made[number + 1])
            made[number + 1] = str(given.absolute() if given.exists() else config_file)
            return made
    return ["-f", str(config_file), *made]
