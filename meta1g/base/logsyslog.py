"""Log lines to syslog and to journald: one datagram a line to a Unix socket.

    rfc3164    <22>Nov 27 04:00:00 smtps[17]: sevr=INFO, func=...     what syslog(3) of the C library writes
    rfc5424    <22>1 2026-11-27T04:00:00.123456Z host smtps 17 smtps.message - sevr=INFO, func=...
    journal    fields: MESSAGE, PRIORITY, SYSLOG_IDENTIFIER, META1G_EVENT, and META1G_SS_TA and so on for each key

A service that takes nothing more for _PATIENCE_S keeps nobody waiting any longer: lines are kept, see logkept.

Ref: RFC 3164; RFC 5424 6; systemd, "Native Journal Protocol".
"""

import errno
import os
import socket
import struct
import syslog
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from meta1g.base.dataclass import dataclass
from meta1g.base.logkept import Outbox
from meta1g.base.logkeys import Sev
from meta1g.base.logtext import LogValue, sanitize

#: How long a line waits for a service whose queue is full, of a few lines.  Ref: our choice: it holds up the whole process.
_PATIENCE_S: Final = 0.005
SYSLOG_SOCKET: Final = Path("/dev/log")
JOURNAL_SOCKET: Final = Path("/run/systemd/journal/socket")
_PRIORITY: Final = {
    Sev.FATAL: syslog.LOG_CRIT,
    Sev.ERROR: syslog.LOG_ERR,
    Sev.WARN: syslog.LOG_WARNING,
    Sev.NOTICE: syslog.LOG_NOTICE,
    Sev.INFO: syslog.LOG_INFO,
    Sev.DEBUG: syslog.LOG_DEBUG,
}
#: Names of months as RFC 3164 4.1.2 wants them, whatever the locale.
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class SentLine:
    """One line with its facts.

    Args:
        sevr: severity.
        when: seconds since the epoch.
        stamp: the same as RFC 3339 says, with fraction.
        host: name of the host.
        pid: process id.
        event: the event.
        stat: its outcome.
        keys: its keys.
        text: the line as its format wants it.
    """

    sevr: Sev
    when: float
    stamp: str
    host: str
    pid: int
    event: str
    stat: str
    keys: Mapping[str, LogValue]
    text: str


class Encoder(Protocol):
    """Makes a datagram of a line."""

    def __call__(self, record: SentLine, ident: str, facility: int) -> bytes:
        """Gives the datagram; facility is a multiple of 8, as in <syslog.h>."""
        ...


def rfc3164(record: SentLine, ident: str, facility: int) -> bytes:
    """Gives a line as syslog(3) writes it: local time, no host."""
    at = time.localtime(record.when)
    stamp = f"{_MONTHS[at.tm_mon - 1]} {at.tm_mday:2} {at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
    return f"<{facility | _PRIORITY[record.sevr]}>{stamp} {ident}[{record.pid}]: {record.text}".encode(
        "ascii", "backslashreplace"
    )


def rfc5424(record: SentLine, ident: str, facility: int) -> bytes:
    """Gives a line with the event as MSGID; there is no structured data, since the text has all of it."""
    head = f"<{facility | _PRIORITY[record.sevr]}>1 {record.stamp} {record.host} {ident} {record.pid} {record.event} -"
    return f"{head} {record.text}".encode("ascii", "backslashreplace")


def journal(record: SentLine, ident: str, facility: int) -> bytes:
    """Gives a line as fields; no value has a line end, so each is one line."""
    fields = {
        "MESSAGE": record.text,
        "PRIORITY": _PRIORITY[record.sevr],
        "SYSLOG_FACILITY": facility >> 3,
        "SYSLOG_IDENTIFIER": ident,
        "SYSLOG_PID": record.pid,
        "META1G_EVENT": record.event,
        "META1G_STAT": sanitize(record.stat),
        **{f"META1G_{key.upper()}": sanitize(value) for key, value in record.keys.items() if value is not None},
    }
    return "".join(f"{name}={value}\n" for name, value in fields.items()).encode("ascii", "backslashreplace")


def listens(path: Path) -> bool:
    """Tells whether somebody takes datagrams at a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.connect(os.fspath(path))
        except OSError:
            return False
    return True


#: What `protocol` in `log { }` may say.
ENCODERS: Final[Mapping[str, Encoder]] = {"rfc3164": rfc3164, "rfc5424": rfc5424, "journal": journal}


class SyslogSink:
    """Lines to syslog or journald under an ident and a facility.

    Args:
        ident: tag of the lines.
        facility: as in <syslog.h>, a multiple of 8.
        path: the socket.
        protocol: one of ENCODERS.
        directory: where lines are kept while nobody takes them; None: they go to standard error.

    Owner: the process; each line is one system call.
    """

    def __init__(
        self,
        ident: str,
        facility: int,
        *,
        path: Path = SYSLOG_SOCKET,
        protocol: str = "rfc3164",
        directory: Path | None = None,
    ) -> None:
        self._ident = ident
        self._facility = facility
        self._path = path
        self._encode: Callable[[SentLine, str, int], bytes] = ENCODERS[protocol]
        self._sock: socket.socket | None = None
        self.outbox = Outbox(self._send, self._connected, str(path), b"\n\x00" if protocol == "journal" else b"\n", directory)

    def take(self, record: SentLine) -> None:
        """Sends one line, or keeps it."""
        self.outbox.put(self._encode(record, self._ident, self._facility))

    def _connected(self) -> socket.socket:
        if self._sock is None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, int(_PATIENCE_S * 1_000_000)))
                sock.connect(os.fspath(self._path))
            except OSError:
                sock.close()
                raise
            self._sock = sock
        return self._sock

    def _send(self, data: bytes) -> None:
        try:
            self._connected().send(data)
        except OSError as error:
            if error.errno not in (errno.ECONNREFUSED, errno.ENOTCONN, errno.ECONNRESET):
                raise
            self.reopen()  # the service was started again: it has another socket
            self._connected().send(data)

    def reopen(self) -> None:
        """Connects anew with the next line."""
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()

    def close(self) -> None:
        """Sends what is kept, if that is possible, and closes the socket."""
        self.outbox.close()
        self.reopen()
