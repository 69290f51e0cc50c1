"""Answers SMTPS whether the mail server of an address takes it: from what is known, or by a probe.

    SMTPS -> known? -- yes --> reply; the address is probed once more if that is due
                |
                no --> one probe for all who ask; who has waited for `wait` is told to come back

What is known is bounded, the address that was asked for longest ago goes first, and stands in a file too.  Probes are bounded,
and each client has a share of them (invariants I4, I11).

Locking: own lock CACHE; nothing is called while it is held.
Ref: Postfix, ADDRESS_VERIFICATION_README (the idea); times: verified.py; the question itself: probes.py.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from meta1g.base import failure
from meta1g.base.dataclass import dataclass
from meta1g.base.errors import FullError, Module
from meta1g.base.mailbox import mailbox_of
from meta1g.base.reply import Reply
from meta1g.base.rsc import Rsc
from meta1g.base.shares import Pool, client_key
from meta1g.db.verifydb import VerifyDb
from meta1g.pt.lock import Lock, LockRank
from meta1g.pt.task import Ev, Result, Task
from meta1g.pt.workers import Workers
from meta1g.qmgr import verified
from meta1g.qmgr.env import Env
from meta1g.qmgr.limits import SLICE, STATUS_TEXT_MAX_CHARS
from meta1g.qmgr.probes import Probes
from meta1g.qmgr.verified import Known
from meta1g.rcb.verified import Verified

_Answer = Callable[[Reply], object]
#: What is done when the file was read, and what if that fails.
_Early = tuple[Callable[[], None], Callable[[Exception], object]]


@dataclass(slots=True)
class _Running:
    """A probe that runs, and who waits for it.  Locking: own lock of AddressVerifier."""

    client: str
    waiting: dict[_Answer, None]


@dataclass(frozen=True, slots=True)
class _Question:
    """What SMTPS asks."""

    address: str
    client: str
    answer: _Answer


def _give_up(question: _Question, _error: Exception) -> None:
    question.answer(verified.NOT_YET)


class AddressVerifier:
    """What is known of addresses.

    Args:
        env: surroundings.
        probes: ask servers.
        db: the file; it is read when the first question comes.
        workers: a pool of one thread, for the file.

    Locking: own lock CACHE.
    """

    def __init__(self, env: Env, probes: Probes, db: VerifyDb, workers: Workers) -> None:
        settings = env.settings.verify
        self._log = env.log
        self._clock = env.clock
        self._times = settings
        self._wait_s = settings.wait_s
        self._probes = probes
        self._db = db
        self._workers = workers
        self._lock = Lock(LockRank.CACHE, "verify")
        self._known: Rsc[str, Known] = Rsc(settings.cache_size, Module.QMGR)
        self._running: dict[str, _Running] = {}
        self._pool = Pool(settings.max_probes)
        self._late: deque[tuple[float, str, _Answer]] = deque()  # who is told at which time to come back
        self._told: deque[tuple[_Answer, Reply]] = deque()  # who is to be answered
        self._early: list[_Early] | None = []  # what waits for the file; None if it was read
        self._unsaved: list[Verified] = []
        self._rewrite = False  # something was forgotten that stands in the file
        self._task = env.evthr.task_new(self._run, events=Ev.NONE, name="verify")

    def __len__(self) -> int:
        """Gives the number of addresses that are known."""
        return len(self._known)

    # -- questions -----------------------------------------------------------------------------------------------------

    def ask(self, address: str, client_addr: str, answer: _Answer) -> None:
        """Answers whether an address is taken.

        Args:
            address: a mail address.
            client_addr: who wants to use it, for its share.
            answer: called once with 250, 550, or 450 if nothing is known yet; perhaps before this returns.
        """
        question = _Question(address, client_key(client_addr), answer)
        self._when_read(partial(self._take, question), partial(_give_up, question))

    def _when_read(self, then: Callable[[], None], failed: Callable[[Exception], object]) -> None:
        """Calls a function when the file was read, which begins with the first call; failed if that function fails then."""
        with self._lock:
            early = self._early
            first = early == []
            if early is not None:
                early.append((then, failed))
        if early is None:
            then()
        elif first:
            try:
                self._workers.submit(self._db.load, self._loaded)
            except FullError as error:
                self._not_read(error)

    def _not_read(self, error: FullError) -> None:
        """Fails all that wait for the file; the next call tries to read it again."""
        self._db.tell(f"cannot be read now: {error.cause}")
        with self._lock:
            early, self._early = self._early or [], []
        failure.steps(self._log, "qmgr.verify", *(partial(failed, error) for _, failed in early))

    def _loaded(self, found: dict[str, Verified] | None, error: Exception | None) -> None:
        """Takes what was in the file, and what was asked meanwhile."""
        if error is not None:
            failure.contained(self._log, "qmgr.verify", error)
        now = self._clock.now()
        with self._lock:
            for key, record in (found or {}).items():
                known = Known(record, record.at)
                if known.counts(now, self._times):
                    self._known.put(key, known)
            early, self._early = self._early or [], None
        self._log.debug("qmgr.known", "ok", count=len(self._known))
        for then, failed in early:
            with failure.item(self._log, "qmgr.verify", failed):
                then()

    def _take(self, question: _Question) -> None:
        key = mailbox_of(question.address)
        with self._lock:
            reply, begins = self._decide(key, question)
        if reply is not None:
            question.answer(reply)
        if begins:
            self._probes.ask(question.address, partial(self._done, key, question.address))

    def _decide(self, key: str, question: _Question) -> tuple[Reply | None, bool]:
        """Gives what is told at once, None if the answer comes later; and whether a probe begins."""
        now, known = self._clock.now(), self._known.get(key)
        if known is not None and known.record.at > now:  # the clock was turned back
            known.record, known.tried = Verified(address=key, reply=known.record.reply, at=now), now
        reply = verified.told(known.record.reply) if known is not None and known.counts(now, self._times) else None
        running = self._running.get(key)
        begins = running is None and (reply is None or (known is not None and known.is_due(now, self._times)))
        if begins:
            if not self._pool.take(question.client):
                return reply or verified.TOO_MANY, False
            running = self._running[key] = _Running(question.client, {})
        if reply is None and running is not None:
            if not self._wait_s:
                return verified.NOT_YET, begins
            running.waiting[question.answer] = None
            self._late.append((self._clock.monotonic() + self._wait_s, key, question.answer))
            self._task.sleep_until(self._late[0][0])
        return reply, begins

    def _run(self, task: Task) -> Result:
        """Answers some of those who wait for it; who has waited long enough is told to come back."""
        now_s = self._clock.monotonic()
        with self._lock:
            for _ in range(SLICE):
                if not self._late or self._late[0][0] > now_s:
                    break
                _, key, answer = self._late.popleft()
                running = self._running.get(key)
                if running is not None and answer in running.waiting:
                    del running.waiting[answer]
                    self._told.append((answer, verified.NOT_YET))
            told = [self._told.popleft() for _ in range(min(SLICE, len(self._told)))]
            if self._late:
                task.sleep_until(self._late[0][0])
            if self._told:
                task.wakeup()
        failure.steps(self._log, "qmgr.verify", *(partial(answer, reply) for answer, reply in told))
        return Result.SLPQ

    # -- results -------------------------------------------------------------------------------------------------------

    def _done(self, key: str, address: str, reply: Reply) -> None:
        """Takes the result of a probe, and answers all who wait for it."""
        record = Verified(address=key, reply=reply.cut(STATUS_TEXT_MAX_CHARS), at=self._clock.now())
        with self._lock:
            running = self._running.pop(key)
            self._pool.give(running.client)
            known = verified.update(self._known.get(key), record, self._times)
            self._known.put(key, known)
            answer = verified.told(known.record.reply)
            self._told.extend((one, answer) for one in running.waiting)
            if not reply.is_temp:
                self._unsaved.append(record)
        self._task.wakeup()
        self._log.info(
            "qmgr.verified",
            reply.one_line or "ok",
            rcpt=address,
            relay=reply.origin or None,
            reply=reply.code,
            ecode=reply.ecode or None,
        )
        if not reply.is_temp:
            self._save()

    # -- orders of the operator ----------------------------------------------------------------------------------------

    def known(self, words: Sequence[str], then: Callable[[list[Known]], None], failed: Callable[[Exception], object]) -> None:
        """Finds what is known of addresses.

        Args:
            words: addresses, `@domain` for all of a domain, `all`.
            then: called with what is known; perhaps before this returns.
            failed: called if it fails.
        """
        self._when_read(lambda: then(self._chosen(words)), failed)

    def forget(self, words: Sequence[str], then: Callable[[int], None], failed: Callable[[Exception], object]) -> None:
        """Forgets what is known of addresses, in the file too, so that they are asked for anew; arguments as those of known().

        then is called with how many there were.
        """

        def forget() -> None:
            chosen = self._chosen(words)
            with self._lock:
                for one in chosen:
                    self._known.pop(one.record.address)
                self._rewrite = True
            self._save()
            then(len(chosen))

        self._when_read(forget, failed)

    def _chosen(self, words: Sequence[str]) -> list[Known]:
        wanted = {mailbox_of(word) for word in words}
        with self._lock:
            if "all" in wanted:
                return self._known.values()
            domains = {word for word in wanted if word.startswith("@")}
            if domains:
                return [
                    one
                    for one in self._known.values()
                    if one.record.address in wanted or f"@{one.record.address.rpartition('@')[2]}" in domains
                ]
            found = (self._known.get(word) for word in wanted)
            return [one for one in found if one is not None]

    # -- the file ------------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        """Lets the file be written."""
        with contextlib.suppress(FullError):  # what is not saved is probed again after a restart
            self._workers.submit(self._write)

    def _write(self) -> None:
        """Runs in the pool.  Blocks: yes (disk)."""
        with self._lock:
            unsaved, self._unsaved = self._unsaved, []
            rewrite, self._rewrite = self._rewrite, False
        if not unsaved and not rewrite:
            return
        try:
            self._db.append(unsaved, self._all, 0 if rewrite else 2 * self._known.limit)
        except OSError as error:
            self._db.tell(f"cannot write: {error.strerror}; mend the disk")

    def _all(self) -> list[Verified]:
        """Gives all results, the one that nobody used for longest first."""
        with self._lock:
            return [one.record for one in self._known.values() if not one.record.reply.is_temp]

    def close(self) -> None:
        """Writes what waits.  Blocks: yes (disk)."""
        self._workers.close()
