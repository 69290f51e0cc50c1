"""smtps with a fault in it, or with few descriptors: tests ask what that costs.

    python -m tests.fakes.hurt_smtps FAULT ARGUMENTS

FAULT is a name of FAULTS, or `descriptors=N`.
"""

import errno
import resource
import sys
from collections.abc import Callable

from meta1g.base import cli
from meta1g.db.cdb import Cdb
from meta1g.smtp.command import Verb
from meta1g.smtps import commands, content, main, qmgr_link, session
from meta1g.st.errors import StError


def _fail(*_args: object, **_keywords: object) -> None:
    raise ZeroDivisionError("made for a test")


def in_a_command() -> None:
    commands.HANDLERS[Verb.VRFY] = _fail  # type: ignore[index]


def in_the_content() -> None:
    content.IncomingContent.check_header = _fail  # type: ignore[method-assign]


def in_the_end_of_a_session() -> None:
    session.ServerSession.reset = _fail  # type: ignore[method-assign]


def in_a_message_of_qmgr() -> None:
    qmgr_link.QmgrLink._on_message = _fail  # type: ignore[method-assign]


def in_the_end_of_a_connection_to_qmgr() -> None:
    qmgr_link.QmgrLink._on_down = _fail  # type: ignore[method-assign]


def in_the_signal_to_stop() -> None:
    main.SmtpsProcess._stop = _fail  # type: ignore[method-assign]


def in_the_listener() -> None:
    from meta1g.smtps.server import Server

    turns = iter([True])

    def once(_self: object) -> bool:
        return next(turns, None) or _fail()  # type: ignore[func-returns-value]

    Server._may_accept = once  # type: ignore[method-assign]


def in_stopping_the_server() -> None:
    from meta1g.smtps.server import Server

    Server.stop = _fail  # type: ignore[method-assign]


def in_reading() -> None:
    """The system's own error: no client is gone, and nobody has waited too long."""

    def broken(*_args: object) -> None:
        raise StError(errno.EIO, "made for a test")

    session.st_read = broken  # type: ignore[assignment]


def in_unlinking() -> None:
    def broken(*_args: object) -> None:
        raise OSError(errno.EROFS, "made for a test")

    Cdb.unlink = broken  # type: ignore[assignment]


FAULTS: dict[str, Callable[[], None]] = {
    function.__name__: function
    for function in (
        in_a_command,
        in_the_content,
        in_the_end_of_a_session,
        in_a_message_of_qmgr,
        in_the_end_of_a_connection_to_qmgr,
        in_the_signal_to_stop,
        in_the_listener,
        in_stopping_the_server,
        in_reading,
        in_unlinking,
    )
}

if __name__ == "__main__":
    fault = sys.argv.pop(1)
    if fault.startswith("descriptors="):
        number = int(fault.partition("=")[2])
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))
    else:
        FAULTS[fault]()
    sys.exit(cli.run_program("smtps", main.main))
