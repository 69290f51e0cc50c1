"""The check that every component makes of itself (`--check`): all that is wrong, one line each, and an exit code.

mcp lets each component check itself under its own account before it starts or reloads; so what is found is what the
component would meet.  A check opens what the component will open, changes nothing, and goes on after a problem.

Ref: docs/failures.md, "an order of the operator".
"""

import contextlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from meta1g.base import reach, startup
from meta1g.base.cli import CliError, code_of
from meta1g.base.errors import Meta1Error
from meta1g.base.sysexits import EX_CONFIG, EX_OK, EX_SOFTWARE

#: What Python loads of a package.
_CODE: Final = (".py", ".so")
#: Packages that this process has found readable: several components that check themselves in it look once.
_READABLE: Final[set[str]] = set()


class Findings:
    """Collects what is wrong.

    Args:
        prog: name of the component, before each line.

    Owner: the process.
    """

    def __init__(self, prog: str) -> None:
        self._prog = prog
        self.lines: list[str] = []
        self._known: set[str] = set()
        self.code = EX_OK

    def add(self, text: str, code: int = EX_CONFIG) -> None:
        """Notes a problem; the first one decides about the exit code, and the same text or closed directory counts once."""
        obstacle = text.partition(reach.OUT_OF_REACH)[2] or text
        if obstacle not in self._known:
            self._known.add(obstacle)
            self.lines.append(text)
            self.code = self.code or code

    def warn(self, text: str) -> None:
        """Notes what an operator should look at and what prevents nothing; the same text counts once."""
        line = f"warning: {text}"
        if line not in self.lines:
            self.lines.append(line)

    @contextlib.contextmanager
    def part(self, where: str = "") -> Iterator[None]:
        """Notes what goes wrong inside, and goes on.

        Args:
            where: place in the configuration of what is looked at, if what goes wrong does not name it.
        """
        before = f"{where}: " if where else ""
        try:
            yield
        except CliError as error:
            self.add(f"{before}{error}", error.exit_code)
        except Meta1Error as error:
            self.add(f"{before}{error.cause}", code_of(error))
        except OSError as error:
            self.add(f"{before}{reach.explain(error)}", code_of(error))
        except Exception as error:  # noqa: BLE001  a check tells everything that its component would fail at
            self.add(f"{before}{type(error).__name__}: {error}", EX_SOFTWARE)

    def look(self, function: Callable[..., object], *args: object, where: str = "") -> None:
        """Calls a function and notes what it raises; `where` as for part()."""
        with self.part(where):
            function(*args)

    def directories(self, paths: Iterable[Path], mode: int, purpose: str) -> None:
        """Looks whether directories are there and may be used; see reach.need_directory()."""
        for path in paths:
            self.look(reach.need_directory, path, mode, purpose)

    def socket(self, path: Path, where: str, otherwise: str) -> None:
        """Warns of a Unix socket that could not be connected to now; its server may come later.

        Args:
            path: the socket.
            where: the section that names it.
            otherwise: what it comes to as long as that is so.
        """
        text = reach.closed_socket(path)
        if text:
            self.warn(f"{where}: {text}; {otherwise}")

    def log(self, module: str, glob: startup.Options, section: startup.Options, directory: Path) -> None:
        """Looks whether the log of the process could be opened."""
        self.look(startup.check_log, module, glob, section, directory)

    def libraries(self, *names: str) -> None:
        """Looks whether this package and libraries can be found and read, without the time that it takes to load them."""
        for name in (one for one in ("meta1g", *names) if one not in _READABLE):
            known = len(self.lines)
            with self.part():
                spec = importlib.util.find_spec(name)
                if spec is None:
                    places = os.pathsep.join(sys.path)
                    self.add(f"library {name} is missing or out of reach of {reach.user_name()}: looked in {places}")
                    continue
                for place in spec.submodule_search_locations or ():
                    self._readable(Path(place))
            if len(self.lines) == known:
                _READABLE.add(name)

    def _readable(self, directory: Path) -> None:
        """Names the first file or directory of a package that cannot be read, if there is one."""
        for place, _directories, files in os.walk(directory):
            if not os.access(place, os.R_OK | os.X_OK, effective_ids=True):
                self.look(reach.need_directory, Path(place), os.R_OK | os.X_OK, "read it")
                return
            for name in files:
                if name.endswith(_CODE) and not os.access(f"{place}/{name}", os.R_OK, effective_ids=True):
                    self.look(reach.need_file, Path(place, name), os.R_OK, "read it")
                    return

    def finish(self) -> int:
        """Writes all lines to standard error; gives the exit code."""
        for text in self.lines:
            sys.stderr.write(f"{self._prog}: {text}\n")
        return self.code
