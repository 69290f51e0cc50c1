"""The control socket: commands of qmgrctl and mailq, answered with JSON.

Every command gets one answer on every path.  What may take long is done in slices (Defer.scan), and ends when the client is
gone.  What reads needs no more than access to the socket; what changes anything is for root and the account of QMGR.

Locking: none of its own.
Ref: MeTA1 design, "Functional Specification: QMGR, control" (modelled on); docs/operating.md.
"""

import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from meta1g.base import failure, sysexits
from meta1g.base.dataclass import dataclass
from meta1g.base.errors import FullError, TempError
from meta1g.db.defedb import DefeDb
from meta1g.pt.rcbconn import RcbCom
from meta1g.qmgr.control.changing import DRY_RUN, VERBS, Changing
from meta1g.qmgr.control.explain import NO_RESOLVER, address_of, rows_of
from meta1g.qmgr.control.listing import Listing
from meta1g.qmgr.control.selection import CommandError
from meta1g.qmgr.defer import Defer, ReadSteps
from meta1g.qmgr.env import Env
from meta1g.qmgr.limits import LIST_MAX
from meta1g.qmgr.mode import NORMAL, OperatingMode
from meta1g.qmgr.standing import Standing
from meta1g.qmgr.tuning import Tuning
from meta1g.qmgr.verified import Known
from meta1g.qmgr.verify import AddressVerifier
from meta1g.rcb.control import STORED, CommandResult, ControlCommand
from meta1g.rcb.schema import Message

#: Tells whether nobody waits for the answer any more.
_Gone = Callable[[], bool]
#: Characters of a command that are logged.
_LOGGED_MAX_CHARS: Final = 500


class _Answer(Protocol):
    """Gives exit code, result, where the next page begins, and records as they stand that belong to it."""

    def __call__(self, code: int, result: Any, more: str, stored: bytes = b"", /) -> None:
        """Answers, once."""
        ...


class QmgrParts(Protocol):
    """What the commands need of QMGR.

    Attributes:
        env: surroundings; changes are logged.
        defer: DEFEDB, in whose thread queues are looked at.
        mode: drain, stop, resume.
        tuning: limits.
        standing: keeps the two.
        verifier: what is known of addresses.
    """

    env: Env
    defer: Defer
    mode: OperatingMode
    tuning: Tuning
    standing: Standing
    verifier: AddressVerifier

    def where(self, address: str, on_answer: Callable[[Message | None], None]) -> None:
        """Asks SMAR where an address goes."""
        ...

    def status(self) -> dict[str, Any]:
        """Gives the counters."""
        ...

    def usage(self) -> dict[str, Any]:
        """Gives the use of each resource."""
        ...


@dataclass(frozen=True, slots=True)
class _Command:
    """One command.

    Args:
        run: does it.
        changes: tells from its words whether it changes anything.
    """

    run: Callable[[Sequence[str], _Answer, _Gone], None]
    changes: Callable[[Sequence[str]], bool] = lambda words: False


class Control:
    """The commands.

    Args:
        parts: those of QMGR.
        listing: what looks at recipients and destinations.
        changing: what changes recipients.

    Locking: none of its own.
    """

    def __init__(self, parts: QmgrParts, listing: Listing, changing: Changing) -> None:
        self._where = parts.where
        self._defer = parts.defer
        self._listing = listing
        self._changing = changing
        self._mode = parts.mode
        self._tuning = parts.tuning
        self._log = parts.env.log
        self._standing = parts.standing
        verifier = parts.verifier
        self._commands: Final[dict[str, _Command]] = {
            "status": _Command(lambda words, answer, gone: answer(0, parts.status(), "")),
            "usage": _Command(lambda words, answer, gone: answer(0, parts.usage(), "")),
            "queue": _Command(self._queue),
            "count": _Command(lambda words, answer, gone: self._scan(listing.count(words, gone), answer)),
            "show": _Command(lambda words, answer, gone: self._page(listing.show(words), answer)),
            "transaction": _Command(lambda words, answer, gone: self._scan(listing.transaction(words), answer)),
            "destinations": _Command(lambda words, answer, gone: answer(0, *listing.destinations(words))),
            **{word: _Command(partial(self._change, word), lambda words: DRY_RUN not in words) for word in VERBS},
            "explain": _Command(self._explain),
            "verified": _Command(partial(self._verified, verifier)),
            "forget": _Command(partial(self._forget, verifier), lambda words: True),
            "limits": _Command(self._limits, bool),
            "drain": _Command(partial(self._set_mode, "drain"), lambda words: True),
            "stop": _Command(partial(self._set_mode, "stop"), lambda words: True),
            "resume": _Command(partial(self._set_mode, NORMAL), lambda words: True),
        }

    # -- connections ---------------------------------------------------------------------------------------------------

    def on_connect(self, conn: RcbCom) -> None:
        """Takes a new connection (RcbListener)."""
        conn.on_message = self._on_message
        conn.on_failure = self._on_failure

    def _on_failure(self, conn: RcbCom, request_id: int, msg: Message) -> bool:
        conn.reply(request_id, CommandResult(exit_code=sysexits.EX_SOFTWARE, text="internal error; see the log of qmgr"))
        return True

    def _on_message(self, conn: RcbCom, request_id: int, msg: Message) -> None:
        answered = False

        def answer(code: int, result: Any, more: str = "", stored: bytes = b"", /) -> None:
            nonlocal answered
            if not (answered or conn.closed):
                text = result if isinstance(result, str) else json.dumps(result)
                conn.reply(request_id, CommandResult(exit_code=code, text=text, more=more, stored=stored))
                answered = True

        def failed(error: Exception) -> None:
            answer(sysexits.EX_SOFTWARE, f"internal error: {type(error).__name__}; see the log of qmgr")

        words = msg.words if isinstance(msg, ControlCommand) else ()
        with failure.item(self._log, "qmgr.control", failed, command=_logged(words)):
            self._run(words, conn.peer.uid, answer, lambda: conn.closed)

    def _run(self, words: Sequence[str], uid: int, answer: _Answer, gone: _Gone = lambda: False) -> None:
        try:
            self._checked(words, uid).run(words[1:], answer, gone)
        except CommandError as error:
            answer(error.exit_code, str(error), "")
        except FullError as error:
            answer(sysexits.EX_TEMPFAIL, error.cause, "")

    def _checked(self, words: Sequence[str], uid: int) -> _Command:
        """Gives a command that may be done.

        Raises:
            CommandError: it may not, or there is no such command.
        """
        command = self._commands.get(words[0] if words else "")
        if command is None:
            raise CommandError(f"unknown command; commands are: {' '.join(self._commands)}")
        if command.changes(words[1:]):
            if uid not in (0, os.geteuid()):
                raise CommandError(f"{words[0]} is for root and the account of qmgr only", sysexits.EX_NOPERM)
            self._log.notice("qmgr.control", "ok", command=_logged(words))
        return command

    # -- kinds of commands ---------------------------------------------------------------------------------------------

    def _scan(self, work: Callable[[DefeDb], ReadSteps[Any]], answer: _Answer) -> None:
        """Asks DEFEDB in slices; its failure is the answer."""
        self._ask(work, lambda result: answer(0, result, ""), answer)

    def _queue(self, words: Sequence[str], answer: _Answer, gone: _Gone) -> None:
        if STORED in words:
            self._page(self._listing.stored([word for word in words if word != STORED]), answer)
        else:
            self._page(self._listing.queue(words), answer)

    def _page(self, work: Callable[[DefeDb], ReadSteps[tuple[Any, ...]]], answer: _Answer) -> None:
        self._ask(work, lambda page: answer(0, *page), answer)

    def _ask(self, work: Callable[[DefeDb], ReadSteps[Any]], on_done: Callable[[Any], None], answer: _Answer) -> None:
        def refusing(db: DefeDb) -> ReadSteps[Callable[[], None]]:
            try:
                result = yield from work(db)
            except CommandError as error:
                return partial(answer, error.exit_code, str(error), "")
            return partial(on_done, result)

        def failed(error: Exception) -> None:
            answer(sysexits.EX_TEMPFAIL, f"DEFEDB: {error}", "")

        self._defer.scan(refusing, lambda finish: finish(), failed)

    def _change(self, word: str, words: Sequence[str], answer: _Answer, gone: _Gone) -> None:
        self._scan(self._changing.work(word, words, gone), answer)

    def _explain(self, words: Sequence[str], answer: _Answer, gone: _Gone) -> None:
        if len(words) != 1:
            raise CommandError("write an address or a domain")

        def found(said: Message | None) -> None:
            try:
                answer(0, rows_of(said), "")
            except CommandError as error:
                answer(error.exit_code, str(error), "")

        try:
            self._where(address_of(words[0]), found)
        except TempError as error:
            raise CommandError(NO_RESOLVER, sysexits.EX_TEMPFAIL) from error

    def _verified(self, verifier: AddressVerifier, words: Sequence[str], answer: _Answer, gone: _Gone) -> None:
        def found(known: list[Known]) -> None:
            if len(known) > LIST_MAX:
                answer(sysexits.EX_USAGE, f"{len(known)} addresses; name addresses or domains, of {LIST_MAX} at most", "")
            elif not known and "all" not in words:
                answer(*_nothing_known(words))
            else:
                answer(0, [_row(one) for one in known], "")

        verifier.known(_some(words), found, partial(_unread, answer))

    def _forget(self, verifier: AddressVerifier, words: Sequence[str], answer: _Answer, gone: _Gone) -> None:
        def done(count: int) -> None:
            if count or "all" in words:
                answer(0, {"forgotten": count}, "")
            else:
                answer(*_nothing_known(words))

        verifier.forget(_some(words), done, partial(_unread, answer))

    def _limits(self, words: Sequence[str], answer: _Answer, gone: _Gone) -> None:
        if not words:
            answer(0, self._tuning.rows(), "")
            return
        try:
            rows = self._tuning.change(words)
        except ValueError as error:
            raise CommandError(str(error)) from error
        self._keep(rows, answer)

    def _set_mode(self, name: str, words: Sequence[str], answer: _Answer, gone: _Gone) -> None:
        if words:
            raise CommandError("it takes no argument")
        self._mode.set(name)
        self._keep({"mode": name}, answer)

    def _keep(self, result: Any, answer: _Answer) -> None:
        """Answers when an order is on stable storage."""

        def kept(error: str) -> None:
            if error:
                answer(sysexits.EX_TEMPFAIL, f"it holds now, but ends with this qmgr, since it cannot be kept: {error}", "")
            else:
                answer(0, result, "")

        self._standing.keep(kept)


def _nothing_known(words: Sequence[str]) -> tuple[int, str, str]:
    return sysexits.EX_NOINPUT, f"nothing is known of {' '.join(words)}; qmgrctl verified all lists what is", ""


def _some(words: Sequence[str]) -> Sequence[str]:
    """Gives the words of a command that needs some.

    Raises:
        CommandError: there are none.
    """
    if not words:
        raise CommandError("write addresses, @domain or all")
    return words


def _unread(answer: _Answer, error: Exception) -> None:
    answer(sysexits.EX_SOFTWARE, f"internal error: {type(error).__name__}; see the log of qmgr", "")


def _row(known: Known) -> dict[str, Any]:
    """Gives what is shown of an address."""
    record = known.record
    return {
        "address": record.address,
        "reply": record.reply.code,
        "status": str(record.reply),
        "remote_mta": record.reply.origin,
        "last": record.at,
    }


def _logged(words: Sequence[str]) -> str:
    text = " ".join(words)
    return text if len(text) <= _LOGGED_MAX_CHARS else f"{text[:_LOGGED_MAX_CHARS]}... ({len(words)} words)"
