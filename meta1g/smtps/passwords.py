"""The password file of SMTPS: read at the start, and again when it has changed.

A changed file is used when all of it is right; until then the old one serves on, and the log says why.  A native thread
reads it.

Owner: the process (all state threads of it).
Ref: docs/auth.md; the lines are in meta1g/sasl/users.py.
"""

from pathlib import Path
from typing import Final

from meta1g.base.clock import Clock
from meta1g.base.errors import Meta1Error, Module, PermError, TempError
from meta1g.base.failure import is_shortage
from meta1g.base.log import Log
from meta1g.base.plainfile import open_plain
from meta1g.base.signature import signature
from meta1g.sasl.users import FILE_MAX_BYTES, Users, read_users
from meta1g.st import offload

#: How often it is looked whether the file has changed, at most.
LOOK_S: Final = 1.0


def read_file(path: Path) -> Users:
    """Reads a password file.  Blocks: yes (disk).

    Raises:
        PermError: it cannot be read, or a line of it is wrong; the text names all.
        TempError: it cannot be read for a shortage that passes.
    """
    try:
        with open_plain(path) as file:
            data = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        kind = TempError if is_shortage(error) else PermError
        hint = "; smpasswd add USER makes it" if isinstance(error, FileNotFoundError) else ""
        raise kind(Module.SMTPS, f"password_file {path}: {error.strerror}{hint}") from error
    if len(data) > FILE_MAX_BYTES:
        raise PermError(Module.SMTPS, f"password_file {path}: longer than {FILE_MAX_BYTES} bytes; use another back end")
    users, wrong = read_users(data.decode("utf-8", "surrogateescape"), str(path))
    if wrong:
        raise PermError(Module.SMTPS, "; ".join(wrong))
    return users


class PasswordFile:
    """A password file that may change.

    Args:
        path: the file.
        log: the log.
        clock: the clock.

    Raises:
        PermError: it is wrong already.

    Attributes:
        users: its content.

    Owner: the process.
    """

    __slots__ = ("_clock", "_log", "_next_s", "_path", "_reading", "_seen", "users")

    def __init__(self, path: Path, log: Log, clock: Clock) -> None:
        self._path = path
        self._log = log
        self._clock = clock
        self._seen = signature(path)
        self._next_s = clock.monotonic() + LOOK_S
        self._reading = False
        self.users = read_file(path)

    def reread(self) -> None:
        """Reads the file if it has changed.  Switches: yes, if it has."""
        now = self._clock.monotonic()
        if now < self._next_s or self._reading:
            return
        self._next_s = now + LOOK_S
        seen = signature(self._path)
        if seen is None or seen == self._seen:  # a file on its way to be replaced is not a change yet
            return
        self._reading = True
        try:
            self.users = offload(read_file, self._path)
            self._seen = seen
            self._log.notice("smtps.auth_file", "the file has changed and is used from now on", path=str(self._path))
        except (Meta1Error, OSError) as error:
            if isinstance(error, PermError):
                self._seen = seen
            elif not is_shortage(error.__cause__ or error):  # which passes without a change of the file
                raise
            text = error.cause if isinstance(error, Meta1Error) else error.strerror
            self._log.error("smtps.auth_file_wrong", f"{text}; the old one is used on", path=str(self._path))
        finally:
            self._reading = False
