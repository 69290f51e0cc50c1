"""What is needed to log in at servers: the file of logins, read anew when it changes, and tokens.

A file that changed and cannot be used leaves the old logins in use, and the log says why.  A command that prints a token runs
under the account of SMTPC, one at a time for each login, and is killed with its children when its time is over.

Invariant: the file is used only if nobody but its owner and its group may read it, and only root and this account may write it.
Ref: docs/decisions.md, "AUTH at servers".
"""

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meta1g.base.clock import Clock
from meta1g.base.errors import Meta1Error, Module, PermError, TempError
from meta1g.base.failure import is_shortage
from meta1g.base.log import Log
from meta1g.base.reply import Reply
from meta1g.base.signature import Signature, signature
from meta1g.rcb.common import ServerAddr
from meta1g.smtpc.limits import MICROSECONDS, TOKEN_TIMEOUT_S, TOKENS_KEPT
from meta1g.smtpc.logins import FILE_MAX_BYTES, TOKEN_MAX_BYTES, Login, Logins, SecretKind, parse_logins
from meta1g.st import (
    StError,
    StMutex,
    st_mutex_lock,
    st_mutex_new,
    st_mutex_unlock,
    st_netfd_close,
    st_netfd_open,
    st_read,
    st_utime,
)
from meta1g.st.offload import offload

if TYPE_CHECKING:
    import subprocess

#: What has closed its output has so long to end.
_EXIT_S: Final = 1.0
#: What others may not do with a file of secrets.
_TOO_OPEN: Final = stat.S_IRWXO | stat.S_IWGRP


def read_secret_file(path: Path, most_bytes: int) -> bytes:
    """Reads a file of secrets.

    Args:
        path: the file.
        most_bytes: how much of it is read, and one byte more.

    Raises:
        PermError: others may read or change it; the text says what to do.
        OSError: it cannot be read.

    Blocks: yes.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise PermError(Module.SMTPC, f"{path} is no plain file")
        if status.st_mode & _TOO_OPEN:
            raise PermError(Module.SMTPC, f"{path} may be read by others or changed by its group: chmod 640 {path}")
        if status.st_uid not in (0, os.geteuid()):
            raise PermError(Module.SMTPC, f"{path} belongs to neither root nor this account: chown root {path}")
        return os.read(fd, most_bytes + 1)
    finally:
        os.close(fd)


def load_logins(path: Path) -> Logins:
    """Reads the file of logins.

    Raises:
        PermError: it is missing or wrong, or not protected; the text names all wrong lines.
        TempError: it cannot be read for a shortage that passes.

    Blocks: yes (a small local file).
    """
    try:
        data = read_secret_file(path, FILE_MAX_BYTES)
        if len(data) > FILE_MAX_BYTES:
            raise PermError(Module.SMTPC, f"{path} has more than {FILE_MAX_BYTES} bytes")
        return parse_logins(data.decode(), str(path))
    except OSError as error:
        kind = TempError if is_shortage(error) else PermError
        raise kind(Module.SMTPC, f"{path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise PermError(Module.SMTPC, f"{path} is no UTF-8") from None


class AuthOut:
    """Logins and tokens of this process.

    Args:
        clock: for the end of tokens.
        log: hears of a changed file that cannot be used.

    Owner: the process; state threads switch only where a docstring says so.
    """

    __slots__ = ("_clock", "_files", "_log", "_mutexes", "_tokens")

    def __init__(self, clock: Clock, log: Log) -> None:
        self._clock = clock
        self._log = log
        self._files: dict[Path, tuple[Signature | None, Logins]] = {}
        self._tokens: dict[Login, tuple[str, float]] = {}
        self._mutexes: dict[Login, StMutex] = {}

    def login(self, path: Path, server: ServerAddr) -> Login | None:
        """Gives the login for a server, None if it has none.

        Raises:
            TempError: the file cannot be used, and there is nothing from before.

        Switches: yes, if it is new or has changed (offload).
        """
        return self._logins(path).of(server)

    def _logins(self, path: Path) -> Logins:
        """Switches: yes, if the file is new or has changed."""
        now = signature(path)
        known = self._files.get(path)
        if known is not None and known[0] == now:
            return known[1]
        try:
            logins = offload(load_logins, path)
        except Meta1Error as error:
            if known is None:
                raise TempError(Module.SMTPC, error.cause) from error
            self._log.error("smtpc.auth_file", f"{error.cause}; the logins from before are used on")
            logins = known[1]
        self._files[path] = now, logins
        return logins

    # -- secrets -------------------------------------------------------------------------------------------------------

    def secret(self, login: Login) -> str:
        """Gives the password, or a token that has not ended.

        Raises:
            TempError: there is no token now.

        Switches: yes, if a token has to be got.
        """
        if login.kind is SecretKind.PASSWORD:
            return login.secret[0]
        if login.kind is SecretKind.TOKEN_FILE:
            from meta1g.smtpc.token import parse_token

            return parse_token(offload(_token_file, Path(login.secret[0])), login.secret[0]).text
        mutex = self._mutexes.setdefault(login, st_mutex_new())
        st_mutex_lock(mutex)  # all sessions of a login wait for one command
        try:
            return self._kept(login) or self._new_token(login)
        finally:
            st_mutex_unlock(mutex)

    def _kept(self, login: Login) -> str:
        text, until_s = self._tokens.get(login, ("", 0.0))
        return text if self._clock.monotonic() < until_s else ""

    def _new_token(self, login: Login) -> str:
        """Switches: yes (the command)."""
        from meta1g.smtpc.token import parse_token

        token = parse_token(run_command(login.secret, TOKEN_TIMEOUT_S), login.secret[0])
        while len(self._tokens) >= TOKENS_KEPT:
            del self._tokens[next(iter(self._tokens))]
        self._tokens[login] = token.text, self._clock.monotonic() + token.keep_s
        return token.text

    # -- what became of it ---------------------------------------------------------------------------------------------

    def agreed(self, session_id: str, server: ServerAddr, login: Login, mechanism: str) -> None:
        """Tells that a server knows us."""
        self._log.info(
            "smtpc.auth",
            "ok",
            da_sess=session_id,
            server=server.addr,
            server_name=server.host or None,
            auth=login.user,
            mechanism=mechanism,
        )

    def failed(self, session_id: str, server: ServerAddr, login: Login, mechanism: str, why: Reply) -> None:
        """Tells that we could not log in; a token that may have been refused is forgotten.

        Args:
            session_id: the session.
            server: the server.
            login: who we wanted to be.
            mechanism: the one that was tried, empty if it did not come to that.
            why: what the server said, or what is wrong here.
        """
        self._tokens.pop(login, None)
        self._log.error(
            "smtpc.auth_failed",
            str(why),
            da_sess=session_id,
            server=server.addr,
            server_name=server.host or None,
            auth=login.user,
            mechanism=mechanism or None,
        )

    def demanded(self, session_id: str, server: ServerAddr, *, known: bool) -> None:
        """Tells that a server wants to know who we are, or TLS, before it takes mail; known: we have logged in."""
        how = "our login does not do" if known else "the file of section auth has no login for it"
        self._log.error(
            "smtpc.auth_demanded",
            f"the server wants AUTH or STARTTLS first; {how}; mail for it waits",
            da_sess=session_id,
            server=server.addr,
            server_name=server.host or None,
        )


def _token_file(path: Path) -> bytes:
    try:
        return read_secret_file(path, TOKEN_MAX_BYTES)
    except PermError as error:
        raise TempError(Module.SMTPC, error.cause) from error
    except OSError as error:
        raise TempError(Module.SMTPC, f"{path}: {error.strerror}") from error


def run_command(words: tuple[str, ...], timeout_s: int) -> bytes:
    """Runs a command and gives what it prints; without a shell, with nothing to read.

    Args:
        words: the program and its arguments.
        timeout_s: after this time it is killed, with all that it has started.

    Raises:
        TempError: it cannot be started, fails, prints too much, or takes too long.

    Switches: yes.
    """
    try:
        process = offload(_start, words)
    except OSError as error:
        raise TempError(Module.SMTPC, f"{words[0]}: {error.strerror}") from error
    grace_s = 0.0
    try:
        output = _output(process, words[0], timeout_s)
        grace_s = _EXIT_S
    finally:
        code = offload(_end, process, grace_s)
    if code:
        raise TempError(Module.SMTPC, f"{words[0]} ended with {code}")
    return output


def _start(words: tuple[str, ...]) -> "subprocess.Popen[bytes]":
    import subprocess

    nothing = subprocess.DEVNULL
    return subprocess.Popen(
        words, stdin=nothing, stdout=subprocess.PIPE, stderr=nothing, bufsize=0, start_new_session=True, cwd="/"
    )


def _output(process: "subprocess.Popen[bytes]", name: str, timeout_s: int) -> bytes:
    """Reads until the command closes its output.  Switches: yes."""
    if process.stdout is None:
        return b""
    netfd = st_netfd_open(os.dup(process.stdout.fileno()))
    end_us = st_utime() + timeout_s * MICROSECONDS
    output = bytearray()
    try:
        while len(output) <= TOKEN_MAX_BYTES:
            piece = st_read(netfd, TOKEN_MAX_BYTES, max(1, end_us - st_utime()))
            if not piece:
                return bytes(output)
            output += piece
    except StError as error:
        raise TempError(Module.SMTPC, f"{name} gave no token in {timeout_s} s: {error.strerror}") from error
    finally:
        st_netfd_close(netfd)
    raise TempError(Module.SMTPC, f"{name} prints more than {TOKEN_MAX_BYTES} bytes")


def _end(process: "subprocess.Popen[bytes]", grace_s: float) -> int:
    """Gives the exit code of a command; one that still runs then is killed, with what it has started.  Blocks: for grace_s."""
    import contextlib
    import signal
    import subprocess

    if process.stdout is not None:
        process.stdout.close()
    try:
        return process.wait(grace_s)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return process.wait()
