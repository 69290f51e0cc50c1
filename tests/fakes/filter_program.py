"""A filter of contrib/filters as a process of its own, with a configuration file and a socket in a directory of a test."""

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
WAIT_S = 30


class FilterProgram:
    """A filter that runs.

    Args:
        module: its program, such as `meta1g_filters.regex.main`.
        directory: for its socket, its configuration and its log.
        text: its configuration.
        options: further words of its command line.
    """

    def __init__(self, module, directory, text, *options):
        self.module = module
        self.path = directory / "filter.sock"
        self.file = directory / "filter.conf"
        self.place = f"unix:{self.path}"
        self.conf = f'socket {{ type = unix; path = "{self.path}"; }}'
        self.lines = []
        self._options = options
        self._process = None
        self.file.write_text(text)

    def check(self):
        """Runs it to check the configuration only; gives exit code and what it says."""
        done = subprocess.run(
            [*self._command(), "-c"], cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S, check=False, env=_environment()
        )
        return done.returncode, done.stderr

    def _command(self):
        return [sys.executable, "-m", self.module, "-f", str(self.file), *self._options]

    def start(self):
        """Starts it and waits until it listens."""
        self._process = subprocess.Popen(
            [*self._command(), self.place], cwd=ROOT, stderr=subprocess.PIPE, text=True, env=_environment()
        )
        try:
            self.wait_log("func=pmilter.start,")
        except AssertionError:
            self._end_by_force()
            raise
        return self

    def wait_log(self, *texts):
        """Reads its log up to a line with all these texts, and gives that line."""
        while line := self._process.stderr.readline():
            self.lines.append(line.rstrip("\n"))
            if all(text in line for text in texts):
                return line
        raise AssertionError("\n".join(["the filter has ended", *self.lines]))

    def reload(self, text):
        """Gives it another configuration."""
        self.file.write_text(text)
        self._process.send_signal(signal.SIGHUP)

    def stop(self):
        """Ends it in order."""
        self._process.terminate()
        try:
            _, rest = self._process.communicate(timeout=WAIT_S)
        except subprocess.TimeoutExpired:
            self._end_by_force()
            raise
        self.lines += rest.splitlines()
        assert self._process.returncode == 0, "\n".join(self.lines)

    def _end_by_force(self):
        with self._process as process:  # this closes its pipe and waits for it
            process.kill()

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()


def _environment():
    return os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'contrib/filters'}"}
