"""The asynchronous resolver: questions over UDP with retries over several servers, TCP after truncation, a cache.

    ask -> cache? -> open question? -> attempt -- answer --> cache, callbacks
                                        |  ^-- time-out, failure: next server, DNS_tries times --> TEMP

A question has one attempt at a time: a packet over UDP, or a connection over TCP, with a number.  Answer, failure and
time-out carry the number of their attempt; the first of them claims it, and whatever comes later is void.

Invariants: each on_answer is called exactly once, without the lock held; a question is open for at most DNS_tries
time-outs and CNAME_MAX renamings; an answer counts only if it comes from the server asked, to the port and with the id
and the name of an open question; names below one domain take no more than their share of open questions.

Ref: MeTA1 design, "Functional Specification: DNS" (manager, requests, servers modelled on); RFC 5452.
"""

import contextlib
import itertools
from dataclasses import replace
from functools import partial

from meta1g.base import failure
from meta1g.base.errors import Module
from meta1g.base.log import Log
from meta1g.base.rsc import Rsc
from meta1g.base.shares import Pool
from meta1g.pt.evthr import Evthr
from meta1g.pt.lock import Lock, LockRank
from meta1g.pt.task import Ev, Result, Task
from meta1g.smar import dnswire
from meta1g.smar.deadlines import Deadlines
from meta1g.smar.dnsaddress import DnsSettings
from meta1g.smar.dnsreader import WireError
from meta1g.smar.dnsserver import CHANNEL_EVENTS, Channel, Key, NameServer, OnDnsAnswer, Question
from meta1g.smar.dnstcp import TcpQuestion
from meta1g.smar.dnswire import DnsAnswer, DnsStatus, FormatRefusedError, RRType
from meta1g.smar.limits import (
    ANSWER_MAX_BYTES,
    CACHE_ENTRIES,
    CALLBACKS_AT_ONCE,
    CNAME_MAX,
    QUESTIONS_MAX,
    READS_PER_RUN,
    SERVER_LOG_S,
    SERVER_PENALTY_S,
    TCP_MAX,
    UDP_MAX_BYTES,
)
from meta1g.smar.turns import Steps, Turns


class Resolver:
    """The resolver of a process.

    Args:
        evthr: the system it runs in; its clock is used.
        settings: how names are looked up.
        log: failing servers are logged here.
        turns: where the answer is given to many askers.

    Locking: own lock CACHE.
    """

    def __init__(self, evthr: Evthr, settings: DnsSettings, log: Log, turns: Turns | None = None) -> None:
        self._evthr = evthr
        self._clock = evthr.clock
        self._servers = [NameServer(where, edns=settings.edns) for where in settings.servers]
        self._tries = settings.tries
        self._use_tcp = settings.use_tcp
        self._validated = settings.validated
        self._log = log
        self._turns = Turns(evthr, log) if turns is None else turns
        self._lock = Lock(LockRank.CACHE, "resolver")
        self._cache: Rsc[Key, tuple[float, DnsAnswer]] = Rsc(CACHE_ENTRIES, Module.DNS)
        self._open: dict[Key, Question] = {}
        self._attempts = itertools.count(1)
        self._zones = Pool(QUESTIONS_MAX)
        self._tcp = Pool(TCP_MAX)
        self._late = Deadlines[tuple[Question, int]](
            evthr,
            settings.timeout_s,
            self._on_late,
            log=log,
            is_over=lambda entry: entry[0].attempt != entry[1],
            name="dns timer",
        )

    # -- asking --------------------------------------------------------------------------------------------------------

    def ask(self, name: str, rrtype: RRType, on_answer: OnDnsAnswer) -> None:
        """Asks for records.

        Args:
            name: domain name, any case.
            rrtype: type of the records.
            on_answer: called once as on_answer(answer), at once if the answer is known, else in a worker.
        """
        try:
            key = (dnswire.normal_name(name), rrtype)
        except WireError:
            on_answer(DnsAnswer(DnsStatus.NXDOMAIN))
            return
        known = self._known_or_join(key, on_answer)
        if known is not None:
            on_answer(known)

    def _known_or_join(self, key: Key, on_answer: OnDnsAnswer) -> DnsAnswer | None:
        """Gives the answer if it is known; else the question is open afterwards."""
        with self._lock:
            cached = self._cache.get(key)
            if cached is not None and cached[0] > self._clock.monotonic():
                return cached[1]
            question = self._open.get(key)
            if question is not None:
                question.callbacks.append(on_answer)
                return None
            zone = zone_of(key[0])
            if len(self._open) >= QUESTIONS_MAX or not self._zones.take(zone):
                return DnsAnswer(DnsStatus.TEMP, reason=f"too many open questions, {self._zones.held(zone)} below {zone}")
            question = self._open[key] = Question(key, zone, on_answer)
        with failure.item(self._log, "dns.ask", lambda error: self._finish(question, _FAILED), name=key[0]):
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
        self._late.close()

    # -- attempts ------------------------------------------------------------------------------------------------------

    def _send(self, question: Question) -> None:
        """Begins the next attempt, or ends the question when all tries are used up."""
        error = "no answer in time"
        while (server := self._take_server(question)) is not None:
            try:
                self._send_to(server, question)
            except OSError as caught:
                error = f"{server.where}: {caught.strerror}"
                if not failure.is_shortage(caught):
                    server.bad_until_s = self._clock.monotonic() + SERVER_PENALTY_S
            else:
                return
            self._log_server(server, error)
        self._finish(question, DnsAnswer(DnsStatus.TEMP, reason=error))

    def _take_server(self, question: Question) -> NameServer | None:
        """Gives the best server that was not asked last, None when all tries are used up; the last attempt is void."""
        with self._lock:
            self._void(question)
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
                if not question.done:
                    self._begin(question)
            self._ask_by_tcp(question, server, question.attempt)
            return
        with self._lock:
            if question.done:
                return
            channel = self._channel(server)
            number = channel.new_id()
            packet = self._packet(question, number, server)
            with contextlib.suppress(BlockingIOError):  # as good as lost on the way
                channel.sock.send(packet)
            channel.sent += 1
            channel.open_questions[number] = question
            question.number, question.channel, question.edns = number, channel, server.edns
            self._begin(question)

    def _packet(self, question: Question, number: int, server: NameServer) -> bytes:
        return dnswire.build_question(question.name, question.rrtype, number, edns=server.edns, validated=self._validated)

    def _begin(self, question: Question) -> None:
        """Gives a new attempt its number and its time.  Caller holds the lock."""
        question.attempt = next(self._attempts)
        self._late.add((question, question.attempt))

    def _claim(self, question: Question, attempt: int) -> bool:
        """Ends an attempt; tells whether it was still the one of its question: only then the caller may act for it."""
        with self._lock:
            if question.done or not attempt or question.attempt != attempt:
                return False
            self._void(question)
            return True

    def _void(self, question: Question) -> None:
        """Ends the attempt under way.  Caller holds the lock."""
        question.attempt = 0
        tcp, question.tcp = question.tcp, None
        if tcp is not None:
            tcp.close()
        channel, question.channel = question.channel, None
        if channel is None:
            return
        channel.open_questions.pop(question.number, None)
        if channel.worn and not channel.open_questions and channel is not channel.server.current:
            self._drop_channel(channel)

    def _on_late(self, entry: tuple[Question, int]) -> None:
        question, attempt = entry
        server = question.server
        if not self._claim(question, attempt):
            return
        if server is not None:
            server.bad_until_s = self._clock.monotonic() + SERVER_PENALTY_S
            self._log_server(server, "no answer in time")
        self._send(question)

    def _log_server(self, server: NameServer, text: str) -> None:
        now = self._clock.monotonic()
        if now - server.logged_s >= SERVER_LOG_S:
            server.logged_s = now
            self._log.warn("dns.server", text, server=str(server.where), count=len(self._open))

    # -- sockets -------------------------------------------------------------------------------------------------------

    def _channel(self, server: NameServer) -> Channel:
        """Gives the socket to send from; one that was used long enough goes on for want of another.  Caller holds the lock."""
        channel = server.current
        if channel is not None and not channel.worn:
            return channel
        try:
            return self._new_channel(server)
        except OSError as error:
            if channel is None or not failure.is_shortage(error):
                raise
            return channel

    def _new_channel(self, server: NameServer) -> Channel:
        channel = Channel(server)
        try:
            channel.task = self._evthr.task_new(
                lambda task: self._on_readable(task, channel), fd=channel.sock.fileno(), events=CHANNEL_EVENTS, name="dns"
            )
        except BaseException:
            channel.close()
            raise
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

    def _on_readable(self, task: Task, channel: Channel) -> Result:
        if task.seen_bits & Ev.CL:
            with self._lock:
                self._drop_channel(channel)
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
            again = partial(self._ask_again, channel, packet)
            with failure.item(self._log, "dns.packet", again, server=str(channel.server.where)):
                self._on_packet(channel, packet)
        return Result.WAITQ

    def _ask_again(self, channel: Channel, packet: bytes, error: Exception) -> None:
        """Makes another attempt at the question whose answer could not be used for an unexpected reason."""
        question, attempt = self._asked_by(channel, packet)
        if question is not None and self._claim(question, attempt):
            self._send(question)

    def _refused(self, channel: Channel, error: OSError) -> None:
        with self._lock:
            attempts = [(question, question.attempt) for question in channel.open_questions.values()]
            channel.server.bad_until_s = self._clock.monotonic() + SERVER_PENALTY_S
        self._log_server(channel.server, str(error.strerror))
        for question, attempt in attempts:
            if self._claim(question, attempt):
                self._send(question)

    # -- answers -------------------------------------------------------------------------------------------------------

    def _asked_by(self, channel: Channel, packet: bytes) -> tuple[Question | None, int]:
        """Gives the question that a packet answers, and its attempt; None if it answers none."""
        try:
            number = dnswire.question_id_of(packet)
        except WireError:
            return None, 0
        with self._lock:
            question = channel.open_questions.get(number)
            return question, 0 if question is None else question.attempt

    def _on_packet(self, channel: Channel, packet: bytes) -> None:
        question, attempt = self._asked_by(channel, packet)
        if question is None:
            return
        if dnswire.is_truncated(packet):
            self._ask_by_tcp(question, channel.server, attempt)
            return
        self._on_answer(question, attempt, channel.server, packet)

    def _on_answer(self, question: Question, attempt: int, server: NameServer, packet: bytes) -> None:
        """Takes an answer to an attempt, from either transport."""
        try:
            if len(packet) > ANSWER_MAX_BYTES:
                raise WireError(f"answer is longer than {ANSWER_MAX_BYTES} bytes")
            answer = dnswire.parse_answer(packet, question.name, question.rrtype)
        except FormatRefusedError:
            if self._claim(question, attempt):
                self._without_edns(question, server)
            return
        except WireError as error:  # not ours, or damaged: the right one may still come, else the timer acts
            self._log_server(server, str(error))
            return
        if not self._claim(question, attempt):
            return
        with failure.item(self._log, "dns.answer", lambda error: self._finish(question, _FAILED), name=question.name):
            self._use(question, server, answer)

    def _use(self, question: Question, server: NameServer, answer: DnsAnswer) -> None:
        server.bad_until_s = 0.0
        if answer.status is DnsStatus.TEMP:
            self._log_server(server, answer.reason)
            self._after_failure(question, answer)
        elif answer.next_name:
            self._rename(question, answer)
        else:
            self._finish(question, answer)

    def _without_edns(self, question: Question, server: NameServer) -> None:
        server.edns = False
        if question.edns:
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
        question.secure = question.secure and answer.secure
        question.tries = 0
        self._send(question)

    def _finish(self, question: Question, answer: DnsAnswer) -> None:
        with self._lock:
            if question.done:
                return
            question.done = True
            answer = self._judged(question, answer)
            self._void(question)
            self._open.pop(question.key, None)
            self._zones.give(question.zone)
            if answer.ttl_s > 0:
                self._cache.put(question.key, (self._clock.monotonic() + answer.ttl_s, answer))
            callbacks = question.callbacks
        steps = self._tell(callbacks, answer)
        for _ in zip(range(CALLBACKS_AT_ONCE), steps, strict=False):
            pass
        if len(callbacks) > CALLBACKS_AT_ONCE:
            self._turns.later(steps, lambda error: None)

    def _judged(self, question: Question, answer: DnsAnswer) -> DnsAnswer:
        """Gives an answer as secure only if all that led to it was, from a server that is believed."""
        secure = self._validated and answer.secure and question.secure
        canonical = answer.canonical or (question.name if question.name != question.key[0] else "")
        if (secure, canonical) == (answer.secure, answer.canonical):
            return answer
        return replace(answer, secure=secure, canonical=canonical)

    def _tell(self, callbacks: list[OnDnsAnswer], answer: DnsAnswer) -> Steps:
        """Calls the askers; one that fails must not cost the others their answer, nor the system its name server."""
        for on_answer in callbacks:
            with failure.item(self._log, "dns.tell"):
                on_answer(answer)
            yield None

    # -- TCP -----------------------------------------------------------------------------------------------------------

    def _ask_by_tcp(self, question: Question, server: NameServer, attempt: int) -> None:
        """Goes on over TCP with an attempt of its own."""
        with self._lock:
            if question.done or question.attempt != attempt or not self._tcp.take(question.zone):
                return  # without a free connection the timer asks again
            self._void(question)
            self._begin(question)
            attempt = question.attempt
            packet = self._packet(question, question.number, server)
            question.edns = server.edns
            question.tcp = tcp = TcpQuestion(
                self._evthr, server.where, packet, lambda data: self._tcp_done(question, attempt, server, data)
            )
        try:
            tcp.start()
        except OSError:
            self._tcp_done(question, attempt, server, None)

    def _tcp_done(self, question: Question, attempt: int, server: NameServer, packet: bytes | None) -> None:
        """Takes the answer of a TCP connection, None if there is none."""
        with self._lock:
            self._tcp.give(question.zone)
        if packet is not None and _answers(packet, question.number):
            self._on_answer(question, attempt, server, packet)
        if self._claim(question, attempt):  # no other answer comes on this connection
            self._log_server(server, "TCP connection failed")
            self._after_failure(question, DnsAnswer(DnsStatus.TEMP, reason="TCP connection failed"))


_FAILED = DnsAnswer(DnsStatus.TEMP, reason="internal error")
_ZONE_LABELS = 2
_REVERSE_LABELS = {"in-addr.arpa": 4, "ip6.arpa": 10}  # a /16, a /32


def zone_of(name: str) -> str:
    """Gives what a name shares its part of the open questions with: names below the same domain, or nearby addresses."""
    labels = name.split(".")
    count = _REVERSE_LABELS.get(".".join(labels[-2:]), _ZONE_LABELS)
    return ".".join(labels[-count:])


def _answers(packet: bytes, number: int) -> bool:
    try:
        return dnswire.question_id_of(packet) == number and not dnswire.is_truncated(packet)
    except WireError:
        return False
