"""All sessions of one SMTPC: takes deliveries from QMGR, gives each to the thread of its session, reports results.

Each session has one state thread.  Between deliveries it waits until the next one comes or the server closes.

Invariants: each delivery that is taken gets exactly one result, whatever happens to it (I12).  A session belongs to the
connection to QMGR that asked for it, and so do its results: nothing of a former connection reaches a later one, even if it
uses the same ids.

Ref: MeTA1 design, "Implementation: SMTPC" (one thread a session and session reuse modelled on MeTA1).
"""

import contextlib
import errno
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Final

from meta1g.base import failure
from meta1g.base.clock import Clock
from meta1g.base.errors import Module, TempError
from meta1g.base.log import Log
from meta1g.base.reply import Reply
from meta1g.base.tlsneeds import TlsRequirements
from meta1g.conf.errors import ConfigError
from meta1g.db.cdb import Cdb
from meta1g.rcb.common import ServerAddr
from meta1g.rcb.schema import Message
from meta1g.rcb.smtpc_qmgr import CloseDelivery, Deliver, DeliveryResult, Retry, SessionClosed
from meta1g.smtp.esmtp import Ext
from meta1g.smtpc.authout import AuthOut
from meta1g.smtpc.connecting import Unreached
from meta1g.smtpc.content import Content
from meta1g.smtpc.limits import IDLE_MAX_S, LOG_AT_ONCE_LINES, MICROSECONDS
from meta1g.smtpc.rcptneeds import carries_requiretls, is_strict, unmet
from meta1g.smtpc.session import Session, Shared
from meta1g.smtpc.settings import ServerSettings, Settings
from meta1g.smtpc.status import DeliveryStatus, SessionError, where
from meta1g.smtpc.tlsout import TlsOut
from meta1g.st import POLLIN, StError, StThread, st_checkpoint, st_netfd_poll, st_thread_create, st_thread_interrupt, st_usleep
from meta1g.st.rcbconn import RcbConn

_NO_SERVER: Final = ServerAddr(addr="", port=0)


class Job:
    """One delivery and where its result goes.  Owner: the session's thread.

    Attributes:
        answered: the result was sent, or there is nobody any more who waits for it.
        status: what became of it, None while nobody knows.
    """

    __slots__ = ("answered", "conn", "deliver", "request_id", "status")

    def __init__(self, conn: RcbConn, request_id: int, deliver: Deliver) -> None:
        self.conn = conn
        self.request_id = request_id
        self.deliver = deliver
        self.answered = False
        self.status: DeliveryStatus | None = None


class SessionWorker:
    """A session, its thread, and the delivery that waits for it.  Owner: the session's thread, `job` the reader."""

    __slots__ = ("closing", "conn", "job", "probe", "session", "thread", "waiting")

    def __init__(self, session: Session, job: Job) -> None:
        self.session = session
        self.conn = job.conn
        self.job: Job | None = job
        self.probe = job.deliver.probe
        self.thread: StThread | None = None
        self.waiting = False
        self.closing = False

    @property
    def key(self) -> "_Key":
        """What the session is found by."""
        return self.conn, self.session.session_id


_Key = tuple[RcbConn, str]


class Client:
    """The sessions of this process.

    Args:
        settings: configuration, of all servers and of some.
        cdb: content files.
        clock: time of idle sessions and of log lines.
        log: the log.
        post: sends a message to QMGR, or drops it while QMGR is away.

    Owner: the process; state threads switch only where a docstring says so.
    """

    __slots__ = ("_cdb", "_log", "_post", "_settings", "_shared", "_workers", "stopping")

    def __init__(self, settings: ServerSettings, cdb: Cdb, clock: Clock, log: Log, post: Callable[[Message], None]) -> None:
        self._settings = settings
        self._cdb = cdb
        self._log = log
        self._post = post
        self._shared = Shared(clock, TlsOut(log, post), AuthOut(clock, log), Unreached())
        self._workers: dict[_Key, SessionWorker] = {}
        self.stopping = False

    @property
    def busy(self) -> int:
        """Number of sessions that are delivering; who only asks about an address can be asked again."""
        return sum(1 for worker in self._workers.values() if not worker.waiting and not worker.probe)

    def on_message(self, conn: RcbConn, request_id: int, msg: Message) -> None:
        """Takes a message from QMGR."""
        if isinstance(msg, Deliver):
            job = Job(conn, request_id, msg)
            with self._owing(job):
                self._take(job)
        elif isinstance(msg, CloseDelivery):
            self._close(conn, msg.session_id)

    def on_down(self) -> None:
        """QMGR is gone: idle sessions close; busy ones finish, their results are lost, and QMGR tries again."""
        workers = list(self._workers.values())
        failure.steps(self._log, "smtpc.session", *(partial(self._stop_worker, worker) for worker in workers))

    def stop(self) -> None:
        """Takes no more work and lets idle sessions close."""
        self.stopping = True
        self.on_down()

    def _owing(self, job: Job) -> AbstractContextManager[None]:
        """Contains what is done for a delivery: if it fails, the delivery gets a temporary result all the same."""
        deliver = job.deliver
        give_up = partial(self._failed, job)
        return failure.item(self._log, "smtpc.deliver", give_up, ss_ta=deliver.ta_id, da_ta=deliver.da_ta_id)

    def _failed(self, job: Job, error: Exception) -> None:
        """Gives the result of a delivery that met an unexpected failure; what is known of it already counts."""
        nothing = DeliveryStatus()
        nothing.rest(job.deliver, Reply(451, "4.3.0", f"delivery agent failed: {type(error).__name__}"))
        known = job.status or nothing
        failure.steps(
            self._log, "smtpc.deliver", lambda: self._report(job, known, None), lambda: self._report(job, nothing, None)
        )

    def _take(self, job: Job) -> None:
        worker = self._workers.get((job.conn, job.deliver.session_id))
        if worker is not None and worker.waiting and not worker.closing:
            worker.job = job
            self._wake(worker)
        elif self.stopping:
            # no answer: QMGR tries again as soon as the connection ends, and nothing is held against the server
            self._log.debug("smtpc.not_taken", "stopping, not taken", ss_ta=job.deliver.ta_id, da_ta=job.deliver.da_ta_id)
        elif worker is not None or self._is_full():
            self._report(job, DeliveryStatus(session=Reply(451, "4.3.2", "delivery agent has no free session")), None)
        else:
            self._begin(job)

    def _begin(self, job: Job) -> None:
        """Starts a session with its thread."""
        deliver, server = job.deliver, job.deliver.server[0]
        try:
            settings = self._settings_for(server)
            session = Session(deliver.session_id, deliver.server, deliver.da, settings, self._shared)
        except SessionError as wrong:
            self._report(job, DeliveryStatus(session=wrong.reply), None)
            return
        worker = SessionWorker(session, job)
        worker.thread = st_thread_create(self._serve, worker)
        self._workers[worker.key] = worker

    def _settings_for(self, server: ServerAddr) -> Settings:
        """Gives the settings for a server.

        Raises:
            SessionError: its piece of configuration is wrong; SMAR sends none that is.
        """
        try:
            return self._settings.of(server.conf)
        except ConfigError as error:
            self._log.error("smtpc.conf", error.cause, server=server.addr, server_name=server.host or None)
            raise SessionError(Reply(451, "4.3.5", "Configuration for this server is wrong")) from error

    def _is_full(self) -> bool:
        """Tells whether there is no room for another session; one that was told to close still says QUIT and counts no more."""
        limit = self._settings.common.max_threads
        return len(self._workers) >= limit and sum(not one.closing for one in self._workers.values()) >= limit

    def _close(self, conn: RcbConn, session_id: str) -> None:
        worker = self._workers.get((conn, session_id))
        if worker is not None:
            self._stop_worker(worker)

    def _stop_worker(self, worker: SessionWorker) -> None:
        worker.closing = True
        if worker.waiting:
            self._wake(worker)

    @staticmethod
    def _wake(worker: SessionWorker) -> None:
        worker.waiting = False
        if worker.thread is not None:
            st_thread_interrupt(worker.thread)

    # -- the thread of a session --------------------------------------------------------------------------------------

    def _serve(self, worker: SessionWorker) -> None:
        """Runs the deliveries of one session.  Switches: yes."""
        session = worker.session
        try:
            while (job := worker.job) is not None:
                worker.job, kept = None, False
                with self._owing(job):
                    kept = self._work(worker, job)
                if not kept:
                    break
                with failure.item(self._log, "smtpc.session", lambda _: self._gone(worker), da_sess=session.session_id):
                    self._wait(worker)
        finally:
            if self._workers.get(worker.key) is worker:
                del self._workers[worker.key]
            failure.steps(self._log, "smtpc.session", session.quit, session.close)

    def _work(self, worker: SessionWorker, job: Job) -> bool:
        """Runs one delivery and reports it; tells whether the session stays open for another.  Switches: yes."""
        session = worker.session
        job.status = self._deliver(session, job.deliver)
        job.status.tried, job.status.server = session.tried, session.server
        keep = session.is_open and job.deliver.keep_open and not self.stopping and not worker.closing
        if not keep:
            self._workers.pop(worker.key, None)
        self._report(
            job,
            job.status,
            session if keep else None,
            dsn=session.extensions.has(Ext.DSN),
            by=session.extensions.has(Ext.DELIVERBY),
        )
        return keep

    def _deliver(self, session: Session, job: Deliver) -> DeliveryStatus:
        """Runs one delivery; a session that turns out to be closed is opened again, once.  Switches: yes."""
        content = None if job.probe else Content(self._cdb, job)
        status = DeliveryStatus()
        try:
            # its address has another name, or a map has changed
            if not session.serves(job.server, by_name=is_strict(job)):
                with contextlib.suppress(SessionError):
                    session.quit()
                session.close()
                session.treat_as(job.server, self._settings_for(job.server[0]))
            session.aim(job.server)
            for attempt in (1, 2):
                if not session.is_open:
                    _open(session)
                try:
                    return self._transact(session, job, content)
                except SessionError as broken:
                    if attempt == 2 or not broken.stale:
                        raise
        except SessionError as broken:
            status.session = broken.reply
        except TempError as error:  # a shortage here; nothing is held against the server
            status.rest(job, error.reply)
        return status

    def _transact(self, session: Session, job: Deliver, content: Content | None) -> DeliveryStatus:
        """Runs one delivery for those who may go over this session; raises and switches as Session.deliver().

        Switches: yes (read, write, offload).
        """
        refused: dict[int, Reply] = {}
        whole = job
        if is_strict(job):
            refused = unmet(job, session.tls, session.extensions, self._needs_of)
            job = replace(
                job,
                rcpts=tuple(rcpt for rcpt in job.rcpts if rcpt.rcpt_idx not in refused),
                requiretls=carries_requiretls(job, session.tls, session.extensions),
            )
        status = DeliveryStatus()
        if job.rcpts:
            status = session.probe(job) if content is None else session.deliver(job, content)
        status.rcpts.update(refused)
        status.retry.update(dict.fromkeys(refused, Retry.OTHER_SERVER))
        if refused and session.spare and session.login_tried is None:
            left = tuple(rcpt for rcpt in whole.rcpts if rcpt.rcpt_idx in refused)
            self._ask_overtaken(session, replace(whole, rcpts=left), content, status)
        return status

    def _ask_overtaken(self, session: Session, job: Deliver, content: Content | None, status: DeliveryStatus) -> None:
        """Asks better addresses that were only overtaken for those whose demands this one does not meet: QMGR does not.

        Switches: yes (connect, read, write, offload).
        """
        spare, session.spare = session.spare, ()
        try:
            session.quit()
            session.open(spare)
            more = self._transact(session, job, content)
        except (SessionError, TempError):  # what was said before stays
            return
        common = more.session or more.transaction
        if common is not None:
            more.rest(job, common)
        for idx, reply in more.rcpts.items():
            status.rcpts[idx] = reply
            status.retry[idx] = more.retry.get(idx, Retry.BY_CODE)

    def _needs_of(self, snippet: str) -> TlsRequirements | None:
        """Gives what a recipient's piece of configuration demands.

        Raises:
            TempError: it is wrong; SMAR sends none that is.
        """
        try:
            return self._settings.needs_of(snippet)
        except ConfigError as error:
            raise TempError(Module.SMTPC, f"smtpc_rcpt_conf: {error.cause}") from error

    def _wait(self, worker: SessionWorker) -> None:
        """Waits for the next delivery; anything the server does meanwhile ends the session.  Switches: yes (poll)."""
        worker.waiting = True
        server_spoke = _poll(worker.session)
        woken, worker.waiting = not worker.waiting, False
        if server_spoke:
            worker.session.close()
            if woken:
                _take_interrupt()
        if not woken:
            self._gone(worker)

    def _gone(self, worker: SessionWorker) -> None:
        """Tells QMGR that an idle session has ended."""
        session = worker.session
        self._workers.pop(worker.key, None)
        self._log.debug("smtpc.session", "closed while idle", da_sess=session.session_id, server=where(session.server))
        if not worker.conn.closed:
            self._post(SessionClosed(session_id=session.session_id))

    def _report(
        self, job: Job, status: DeliveryStatus, session: Session | None, *, dsn: bool = False, by: bool = False
    ) -> None:
        """Sends the result to QMGR, once, and logs it."""
        if job.answered:
            return
        deliver = job.deliver
        server = status.server or (deliver.server[0] if deliver.server else _NO_SERVER)
        result = status.result(deliver, session_open=session is not None, dsn=dsn, by=by and deliver.by_mode is not None)
        try:
            if not job.conn.closed:
                job.conn.reply(job.request_id, result)
        except TempError as error:  # QMGR went away this moment, and tries again
            self._log.debug("smtpc.not_told", error.cause, ss_ta=deliver.ta_id, da_ta=deliver.da_ta_id)
        job.answered = True
        if len(deliver.rcpts) <= LOG_AT_ONCE_LINES:
            self._log_result(deliver, server, result)
        else:
            st_thread_create(lambda _: self._log_result(deliver, server, result))

    def _log_result(self, deliver: Deliver, server: ServerAddr, result: DeliveryResult) -> None:
        """Writes one line for each recipient: with it the life of a message can be told.  Switches: if there are many."""
        if result.damage:
            self._log.error("smtpc.damage", result.damage, ss_ta=deliver.ta_id, da_ta=deliver.da_ta_id, cdb_id=deliver.cdb_id)
        replies = {one.rcpt_idx: one.reply for one in result.rcpts}
        common = result.transaction if result.transaction.code else result.session
        if result.damage:
            common = Reply(0, text=f"not delivered: {result.damage}")
        for rcpt in deliver.rcpts:
            if len(deliver.rcpts) > LOG_AT_ONCE_LINES:
                st_checkpoint()
            reply = replies.get(rcpt.rcpt_idx, common)
            self._log.info(
                "smtpc.probe" if deliver.probe else "smtpc.deliver",
                reply.one_line,
                ss_ta=deliver.ta_id or None,
                da_sess=deliver.session_id,
                da_ta=deliver.da_ta_id,
                rcpt_idx=rcpt.rcpt_idx,
                rcpt=rcpt.rcpt,
                server=server.addr,
                port=server.port,
                server_name=server.host or None,
                reply=reply.code,
                ecode=reply.ecode,
            )


def _open(session: Session) -> None:
    """Opens a session: what is said at one address is no answer of those that it has only overtaken.

    They are asked, too, since QMGR goes on behind it.  Raises and switches as Session.open().  Switches: yes.
    """
    try:
        session.open()
    except SessionError:
        used, spare = session.server, session.spare
        if not spare or session.login_tried is not None:  # an account is not to be locked by many tries
            raise
        session.quit()
        try:
            session.open(spare)
        except SessionError:
            if session.server is not used:
                raise
        else:
            return
        raise  # nobody is reached there


def _poll(session: Session) -> bool:
    """Waits; tells whether the server said something or closed.  Switches: yes."""
    try:
        st_netfd_poll(session.connection.netfd, POLLIN, IDLE_MAX_S * MICROSECONDS)
    except StError as error:
        return error.errno not in (errno.EINTR, errno.ETIME)
    return True


def _take_interrupt() -> None:
    """Takes an interrupt that came when the thread was runnable already, so that the next call does not get it.

    Switches: yes.
    """
    try:
        st_usleep(0)
    except StError as error:
        if error.errno != errno.EINTR:
            raise
