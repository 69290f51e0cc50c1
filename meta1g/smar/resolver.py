"""The asynchronous resolver: questions over UDP with retries over several servers, TCP after truncation, a cache.

    ask -> cache? -> open question? -> send -- answer --> cache, callbacks
                                        |  ^-- time-out, failure: next server, DNS_tries times --> TEMP

Invariants: each on_answer is called exactly once, without the lock held; a question is open for at most DNS_tries
time-outs and CNAME_MAX renamings; an answer counts only if it comes from the server asked, to the port and with the id
and the name of an open question.

Ref: MeTA1 design, "Functional Specification: DNS" (manager, requests, servers modelled on); RFC 5452.
"""

import contextlib
import heapq
import itertools
from collections.abc import Callable, Sequence

from meta1g.base.errors import BugError, Module
from meta1g.base.log import Log
from meta1g.base.rsc import Rsc
from meta1g.pt.evthr import Evthr
from meta1g.pt.lock import Lock, LockRank
from meta1g.pt.task import Ev, Result, Task
from meta1g.smar import dnswire
from meta1g.smar.dnsserver import CHANNEL_EVENTS, Channel, NameServer, ServerAddress
from meta1g.smar.dnstcp import TcpQuestion
from meta1g.smar.dnswire import DnsAnswer, DnsStatus, FormatRefusedError, RRType, WireError
from meta1g.smar.limits import (
    CACHE_ENTRIES,
    CNAME_MAX,
    QUESTIONS_MAX,
    READS_PER_RUN,
    SERVER_LOG_S,
    SERVER_PENALTY_S,
    TCP_MAX,
    UDP_MAX_BYTES,
)

OnAnswer = Callable[[DnsAnswer], None]
Key = tuple[str, RRType]


class Question:
    """One open question.  Locking: caller holds the lock of the resolver."""

    __slots__ = ("attempt", "callbacks", "channel", "done", "key", "name", "number", "renamed", "rrtype", "server", "tries")

    def __init__(self, key: Key, on_answer: OnAnswer) -> None:
        self.key = key
        self.name, self.rrtype = key  # the name changes when a CNAME record leads on
        self.callbacks = [on_answer]
        self.tries = 0
        self.attempt = 0  # number of the packet sent last; older timers are void
        self.renamed = 0
        self.number = 0
        self.channel: Channel | None = None
        self.server: NameServer | None = None
        self.done = False


class Resolver:
    """The resolver of a process.

    Args:
        evthr: the system it runs in; its clock is used.
        servers: name servers, preferred first; at least one.
        timeout_s: how long one server may take for one answer.
        tries: how often a question is sent before it fails.
        log: failing servers are logged here.
        edns: larger answers over UDP are asked for.
        use_tcp: all questions go over TCP.

    Locking: own lock CACHE.
    """

    def __init__(
        self,
        evthr: Evthr,
        servers: Sequence[ServerAddress],
        *,
        timeout_s: float,
        tries: int,
        log: Log,
        edns: bool = True,
        use_tcp: bool = False,
    ) -> None:
        self._evthr = evthr
        self._clock = evthr.clock
        self._servers = [NameServer(where, edns=edns) for where in servers]
        self._timeout_s = timeout_s
        self._tries = max(1, tries)
        self._use_tcp = use_tcp
        self._log = log
        self._lock = Lock(LockRank.CACHE, "resolver")
        self._cache: Rsc[Key, tuple[float, DnsAnswer]] = Rsc(CACHE_ENTRIES, Module.DNS)
        self._open: dict[Key, Question] = {}
        self._timers: list[tuple[float, int, Question]] = []
        self._attempts = itertools.count(1)
        self._tcp_count = 0
        self._timer = evthr.task_new(self._on_timer, events=Ev.NONE, name="dns timer")

    # -- asking --------------------------------------------------------------------------------------------------------

    def ask(self, name: str, rrtype: RRType, on_answer: OnAnswer) -> None:
        """Asks for records.

        Args:
            name: domain name, any case.
            rrtype: type of the records.
            on_answer: called once as on_answer(answer), at once if the answer is known, else in a worker.

        Blocks: no.
        """
        try:
            key = (dnswire.normal_name(name), rrtype)
        except WireError:
            on_answer(DnsAnswer(DnsStatus.NXDOMAIN))
            return
        known = self._known_or_join(key, on_answer)
        if known is not None:
            on_answer(known)

    def _known_or_join(self, key: Key, on_answer: OnAnswer) -> DnsAnswer | None:
        """Gives the answer if it is known; else the question is open afterwards."""
        with self._lock:
            cached = self._cache.get(key)
            if cached is not None and cached[0] > self._clock.monotonic():
                return cached[1]
            question = self._open.get(key)
            if question is not None:
                question.callbacks.append(on_answer)
                return None
            if len(self._open) >= QUESTIONS_MAX:
                return DnsAnswer(DnsStatus.TEMP, reason="too many open questions")
            question = self._open[key] = Question(key, on_answer)
        self._send(question)
        return None

    def open_questions(self) -> int:
        """Gives the number of questions without answer."""
        return len(self._open)

    def flush(self) -> None:
        """Forgets all cached answers."""
        with self._lock:
            self._cache = Rsc(CACHE_ENTRIES, Module.DNS)

    def close(self) -> None:
        """Closes the sockets; open questions get no answer any more.  Called when the system stops."""
        with self._lock:
            for server in self._servers:
                for channel in server.channels:
                    channel.close()
                server.channels.clear()
                server.current = None
        self._timer.delete()

    # -- sending -------------------------------------------------------------------------------------------------------

    def _send(self, question: Question) -> None:
        """Sends a question to the next server, or ends it when all tries are used up."""
        error = "no answer in time"
        while (server := self._take_server(question)) is not None:
            try:
                self._send_to(server, question)
            except OSError as caught:
                error = f"{server.where}: {caught.strerror}"
                server.bad_until_s = self._clock.monotonic() + SERVER_PENALTY_S
            else:
                return
            self._log_server(server, error)
        self._finish(question, DnsAnswer(DnsStatus.TEMP, reason=error))

    def _take_server(self, question: Question) -> NameServer | None:
        """Gives the best server that was not asked last, None when all tries are used up; the last packet is void."""
        with self._lock:
            self._forget_packet(question)
            if question.done or question.tries >= self._tries:
                return None
            question.tries += 1
            now = self._clock.monotonic()
            last = question.server
            question.server = min(self._servers, key=lambda one: (one is last, one.bad_until_s > now))
            return question.server

    def _send_to(self, server: NameServer, question: Question) -> None:
        if self._use_tcp:
            with self._lock:
                self._set_timer(question)
            self._ask_by_tcp(question, server)
            return
        with self._lock:
            if question.done:
                return
            channel = server.current
            if channel is None or channel.worn:
                channel = self._new_channel(server)
            number = channel.new_id()
            packet = dnswire.build_question(question.name, question.rrtype, number, edns=server.edns)
            with contextlib.suppress(BlockingIOError):  # as good as lost on the way
                channel.sock.send(packet)
            channel.sent += 1
            channel.open_questions[number] = question
            question.number, question.channel = number, channel
            self._set_timer(question)

    def _new_channel(self, server: NameServer) -> Channel:
        channel = Channel(server)
        channel.task = self._evthr.task_new(
            lambda task: self._on_readable(task, channel), fd=channel.sock.fileno(), events=CHANNEL_EVENTS, name="dns"
        )
        old = server.current
        server.current = channel
        server.channels.append(channel)
        if old is not None and not old.open_questions:
            self._drop_channel(old)
        return channel

    def _drop_channel(self, channel: Channel) -> None:
        server = channel.server
        if channel in server.channels:
            server.channels.remove(channel)
            channel.close()
        if server.current is channel:
            server.current = None

    def _forget_packet(self, question: Question) -> None:
        channel = question.channel
        if channel is None:
            return
        question.channel = None
        channel.open_questions.pop(question.number, None)
        if channel.worn and not channel.open_questions and channel is not channel.server.current:
            self._drop_channel(channel)

    # -- time-outs -----------------------------------------------------------------------------------------------------

    def _set_timer(self, question: Question) -> None:
        question.attempt = next(self._attempts)
        due_s = self._clock.monotonic() + self._timeout_s
        first = not self._timers
        heapq.heappush(self._timers, (due_s, question.attempt, question))
        if first:
            self._timer.sleep_until(due_s)

    def _on_timer(self, task: Task) -> Result:
        late: list[tuple[Question, NameServer | None]] = []
        with self._lock:
            now = self._clock.monotonic()
            while self._timers and (self._timers[0][0] <= now or self._timers[0][2].done):
                _, attempt, question = heapq.heappop(self._timers)
                if not question.done and question.attempt == attempt:
                    late.append((question, question.server))
                    if question.server is not None:
                        question.server.bad_until_s = now + SERVER_PENALTY_S
            task.sleep_until(self._timers[0][0] if self._timers else None)
        for question, server in late:
            if server is not None:
                self._log_server(server, "no answer in time")
            self._send(question)
        return Result.SLPQ

    def _log_server(self, server: NameServer, text: str) -> None:
        now = self._clock.monotonic()
        if now - server.logged_s >= SERVER_LOG_S:
            server.logged_s = now
            self._log.warn("dns.server", text, server=str(server.where), count=len(self._open))

    # -- answers -------------------------------------------------------------------------------------------------------

    def _on_readable(self, task: Task, channel: Channel) -> Result:
        if task.seen_bits & Ev.CL:
            channel.sock.close()
            return Result.DEL
        for _ in range(READS_PER_RUN):
            try:
                packet = channel.sock.recv(UDP_MAX_BYTES)
            except BlockingIOError:
                break
            except OSError as error:  # the server's machine says that nobody listens there
                self._refused(channel, error)
                break
            self._on_packet(channel, packet)
        return Result.WAITQ

    def _refused(self, channel: Channel, error: OSError) -> None:
        with self._lock:
            questions = list(channel.open_questions.values())
            channel.server.bad_until_s = self._clock.monotonic() + SERVER_PENALTY_S
        self._log_server(channel.server, str(error.strerror))
        for question in questions:
            self._send(question)

    def _on_packet(self, channel: Channel, packet: bytes) -> None:
        try:
            number = dnswire.question_id_of(packet)
        except WireError:
            return
        with self._lock:
            question = channel.open_questions.get(number)
        if question is None:
            return
        if dnswire.is_truncated(packet):
            self._ask_by_tcp(question, channel.server)
            return
        self._on_answer(question, channel.server, packet)

    def _on_answer(self, question: Question, server: NameServer, packet: bytes) -> None:
        """Takes an answer to an open question, from either transport."""
        try:
            answer = dnswire.parse_answer(packet, question.name, question.rrtype)
        except FormatRefusedError:
            self._without_edns(question, server)
            return
        except WireError as error:  # not ours, or damaged: the right one may still come, else the timer acts
            self._log_server(server, str(error))
            return
        server.bad_until_s = 0.0
        if answer.status is DnsStatus.TEMP:
            self._log_server(server, answer.reason)
            self._after_failure(question, answer)
        elif answer.next_name:
            self._rename(question, answer)
        else:
            self._finish(question, answer)

    def _without_edns(self, question: Question, server: NameServer) -> None:
        if server.edns:
            server.edns = False
            question.tries -= 1
            self._send(question)
        else:
            self._after_failure(question, DnsAnswer(DnsStatus.TEMP, reason="FORMERR"))

    def _after_failure(self, question: Question, answer: DnsAnswer) -> None:
        if question.tries >= self._tries:
            self._finish(question, answer)
        else:
            self._send(question)

    def _rename(self, question: Question, answer: DnsAnswer) -> None:
        """Asks for the name at which a chain of CNAME records ended."""
        question.renamed += 1
        if question.renamed > CNAME_MAX:
            self._finish(question, DnsAnswer(DnsStatus.TEMP, reason="CNAME chain is too long or a loop"))
            return
        question.name = answer.next_name
        question.tries = 0
        self._send(question)

    def _finish(self, question: Question, answer: DnsAnswer) -> None:
        with self._lock:
            if question.done:
                return
            question.done = True
            self._forget_packet(question)
            self._open.pop(question.key, None)
            if answer.ttl_s > 0:
                self._cache.put(question.key, (self._clock.monotonic() + answer.ttl_s, answer))
            callbacks = question.callbacks
        for on_answer in callbacks:
            self._tell(on_answer, answer)

    def _tell(self, on_answer: OnAnswer, answer: DnsAnswer) -> None:
        """Calls an asker; one that fails must not cost the others their answer, nor the system its name server."""
        try:
            on_answer(answer)
        except BugError:
            raise
        except Exception as error:  # noqa: BLE001  the askers know nothing of each other
            self._log.error("dns.answer", f"{type(error).__name__}: {error}")

    # -- TCP -----------------------------------------------------------------------------------------------------------

    def _ask_by_tcp(self, question: Question, server: NameServer) -> None:
        with self._lock:
            if question.done or self._tcp_count >= TCP_MAX:
                return  # without a free connection the timer asks again
            self._forget_packet(question)
            self._tcp_count += 1
            self._set_timer(question)
        packet = dnswire.build_question(question.name, question.rrtype, question.number, edns=server.edns)
        tcp = TcpQuestion(
            self._evthr, server.where, packet, self._timeout_s, lambda data: self._tcp_done(question, server, data)
        )
        with contextlib.suppress(OSError):
            tcp.start()
            return
        self._tcp_done(question, server, None)

    def _tcp_done(self, question: Question, server: NameServer, packet: bytes | None) -> None:
        """Takes the answer of a TCP connection, None if there is none."""
        with self._lock:
            self._tcp_count -= 1
        if packet is None:
            self._log_server(server, "TCP connection failed")
            self._after_failure(question, DnsAnswer(DnsStatus.TEMP, reason="TCP connection failed"))
        else:
            self._on_answer(question, server, packet)
