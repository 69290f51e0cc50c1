"""A directory in which a page of the manual is played, without touching the machine.

Commands run as they are written but for these differences, which are made to their text and taken back in what they print:
paths below /etc, /var, /run, /srv, /tmp, /home and /opt are below the directory, those that programs have by default, too;
ports are free ones; sm.setup and sm.check use no accounts, and nothing gets their groups: everything belongs to the caller.
A page begins in /etc/meta1; /usr/src/meta1g is the checkout.
"""

import contextlib
import importlib
import io
import os
import re
import shutil
import signal
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

from contrib.lib.gateway import free_port, wait_until
from contrib.lib.programs import console_scripts
from meta1g.base import cli
from tests.manual.blocks import ROOT
from tests.manual.player import captured, script

_PATH = re.compile(r"(?<![\w./\]-])/(?=(?:etc|var|run|srv|tmp|home|opt)/)")
_PORTS = tuple(
    re.compile(text)
    for text in (
        r"(?<=port = )\d+",
        r"(?<=--port )\d+",
        r"(?<=127\.0\.0\.1:)\d+",
        r"\b\d+(?=\^)",
    )
)
_WITHOUT_ACCOUNTS = re.compile(r"\b(sm\.setup|sm\.check)\b")
_GROUPS = re.compile(r"CDB_gid = \d+;|(?<=install -d) -g meta1s|chgrp meta1\w \S+ && ")


#: Where the manual has the checkout.
CHECKOUT = "/usr/src/meta1g"


#: What every Python of the directory runs first: the places that programs have by default are below it.
_DEFAULTS = """
from pathlib import Path
import meta1g.base.paths as paths
for name in ("DEFAULT_QUEUE_DIRECTORY", "DEFAULT_CONFIG_DIRECTORY", "DEFAULT_CONFIG_FILE"):
    setattr(paths, name, Path({directory!r} + str(getattr(paths, name))))
"""
#: Names the directory in the environment of its processes.
_MARK = "META1G_MANUAL"


class Scratch:
    """One directory; also its processes, which end with it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports: dict[str, str] = {}
        for name in ("etc/meta1", "var/log", "var/spool", "var/mail", "var/backups", "run", "tmp", "home", "opt/meta1g/bin"):
            (directory / name).mkdir(parents=True)
        self.state = directory / "state.sh"
        self.state.touch()
        programs = Path(sysconfig.get_path("scripts"))
        for name in console_scripts():
            (directory / "opt/meta1g/bin" / name).symlink_to(programs / name)
        (directory / "site").mkdir()
        (directory / "site/sitecustomize.py").write_text(_DEFAULTS.format(directory=str(directory)))
        self.environment = {
            **os.environ,
            _MARK: str(directory),
            "PATH": f"{directory}/opt/meta1g/bin:{os.environ['PATH']}:/usr/sbin:/sbin",
            "PYTHONPATH": f"{directory}/site:{ROOT}",
        }

    def rewritten(self, text: str) -> str:
        """The text for this directory."""
        text = _PATH.sub(f"{self.directory}/", text).replace(CHECKOUT, str(ROOT))
        for expression in _PORTS:
            text = expression.sub(self._port, text)
        return _GROUPS.sub("", text)

    def _port(self, match: re.Match[str]) -> str:
        if match[0] in self.ports.values():
            return match[0]
        return self.ports.setdefault(match[0], str(free_port()))

    def restored(self, text: str) -> str:
        """What was printed, as it would be without this directory."""
        text = text.replace(f"{self.directory}/", "/").replace(str(ROOT), CHECKOUT)
        for number, port in self.ports.items():
            text = re.sub(rf"\b{port}\b", number, text)
        return text

    def run(self, command: str, timeout_s: float) -> tuple[int, str]:
        """Runs a command; variables and the directory stay for the next one."""
        command = _WITHOUT_ACCOUNTS.sub(r"\1 --no-accounts", self.rewritten(command))
        shell = ["bash", "-c", script(command, str(self.state))]
        code, printed = captured(shell, self.environment, self.directory / "etc/meta1", timeout_s)
        return code, self.restored(printed)

    def tool(self, program: str, *arguments: str) -> tuple[int, str]:
        """Calls a program as a function: a Python for each sample would be most of what a page costs."""
        module = console_scripts()[program].partition(":")[0]
        with io.StringIO() as printed, contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            code = cli.run_program(program, importlib.import_module(module).main, [self.rewritten(one) for one in arguments])
            return code, self.restored(printed.getvalue())

    def write(self, path: str, text: str) -> None:
        """Writes a file."""
        target = self.directory / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(self.rewritten(text))

    def has_output(self, path: str) -> bool:
        """Tells whether a file has something in it."""
        target = self.directory / path.lstrip("/")
        return target.exists() and target.stat().st_size > 0

    def processes(self) -> dict[int, int]:
        """Processes that were started here, and the parent of each."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if f"{_MARK}={self.directory}\0".encode() in path.read_bytes():
                    found[int(path.parent.name)] = int((path.parent / "stat").read_text().rpartition(") ")[2].split()[1])
        return found

    def end(self) -> None:
        """Ends what still runs: mcp stops its components, whatever is left is killed."""
        found = self.processes()
        for pid in (pid for pid, parent in found.items() if parent not in found):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: not self.processes(), 25, "processes have ended")
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def scratch() -> Iterator[Scratch]:
    """A new one; removed at the end, with its processes."""
    directory = Path(tempfile.mkdtemp(prefix="m1-", dir="/tmp"))
    directory.chmod(0o755)
    made = Scratch(directory)
    try:
        yield made
    finally:
        made.end()
        shutil.rmtree(directory)
