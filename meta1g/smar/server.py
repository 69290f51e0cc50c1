"""The two services, for SMTPS and for QMGR: one task a connection, questions in any number at the same time.

A question whose maps are in memory is answered at once in the thread that read it, or in the turn of its connection if that
asks much; one that may block goes to a worker; the DNS is asked without a thread.

Invariant: every request gets exactly one reply, unless its connection is gone.

Ref: MeTA1 design, "Functional Specification: SMAR" (tasks modelled on).
"""

from collections.abc import Callable

from meta1g.base import failure
from meta1g.base.errors import ProtocolError
from meta1g.base.log import Log
from meta1g.base.logkeys import Sev
from meta1g.base.reply import Reply
from meta1g.base.shares import Pool, client_key
from meta1g.maps.cidrmap import parse_address
from meta1g.pt.lock import Lock, LockRank
from meta1g.pt.rcbconn import RcbCom
from meta1g.rcb.common import DeliveryAgent
from meta1g.rcb.qmgr_smar import Members, QmgrHelloA, Resolve, Route, SmarContained, SmarHelloQ, Unresolved
from meta1g.rcb.schema import Message
from meta1g.rcb.smtps_smar import (
    CheckClient,
    CheckMail,
    CheckRcpt,
    ClientResolve,
    ClientVerdict,
    FindUser,
    SmarHello,
    SmtpsHelloA,
    UserEntry,
    Verdict,
)
from meta1g.rcb.tlssession import TlsSession
from meta1g.smar.checks import Policy
from meta1g.smar.client import ClientFacts, Gathering
from meta1g.smar.clientname import ClientNames
from meta1g.smar.dnsbl import DnsLists
from meta1g.smar.hostconf import HostConf
from meta1g.smar.limits import CLIENT_SHARE, CLIENTS_MAX, REPLY_TEXT_MAX_CHARS
from meta1g.smar.offload import FAILED, Offload
from meta1g.smar.recipient import Answer, Recipients

__all__ = ["Offload", "QmgrService", "SmtpsService"]


class _Asker:
    """The one reply to a request.

    Args:
        conn: the connection.
        request_id: the request.

    Locking: none needed; whoever takes the token replies.
    """

    __slots__ = ("_conn", "_request_id", "_token")

    def __init__(self, conn: RcbCom, request_id: int) -> None:
        self._conn = conn
        self._request_id = request_id
        self._token = [None]

    def __call__(self, msg: Message) -> None:
        """Replies, unless there is a reply already.

        Raises:
            UnsendableError: the message does not fit its record; another one may be tried.
        """
        try:
            self._token.pop()
        except IndexError:
            return
        try:
            self._conn.reply(self._request_id, msg)
        except BaseException:
            self._token.append(None)
            raise


def _on_failure(conn: RcbCom, request_id: int, msg: Message) -> bool:
    """Answers a request that could not even be begun."""
    if isinstance(msg, CheckClient):
        conn.reply(request_id, ClientVerdict(reply=Reply(421, "4.3.0", FAILED)))
    elif isinstance(msg, CheckMail | CheckRcpt):
        conn.reply(request_id, Verdict(reply=Reply(451, "4.3.0", FAILED)))
    elif isinstance(msg, FindUser):
        conn.reply(request_id, UserEntry(reply=Reply(451, "4.3.0", FAILED)))
    elif isinstance(msg, Resolve):
        conn.reply(request_id, Unresolved(reply=Reply(451, "4.3.0", FAILED)))
    else:
        return False
    return True


class SmtpsService:
    """Answers SMTPS.

    Args:
        policy: decides.
        names: finds names of clients.
        lists: asks DNS lists about clients.
        offload: runs look-ups.
        log: hellos and refusals are logged here.

    Locking: own lock LEAF for the shares of clients.
    """

    def __init__(self, policy: Policy, names: ClientNames, lists: DnsLists, offload: Offload, log: Log) -> None:
        self._policy = policy
        self._names = names
        self._lists = lists
        self._offload = offload
        self._log = log
        self._lock = Lock(LockRank.LEAF, "clients")
        self._clients = Pool(CLIENTS_MAX, cap=CLIENT_SHARE)

    def on_connect(self, conn: RcbCom) -> None:
        """Takes a new connection."""
        conn.on_message = self._on_message
        conn.on_failure = _on_failure

    def _on_message(self, conn: RcbCom, request_id: int, msg: Message) -> None:
        if isinstance(msg, CheckRcpt):
            rcpt = msg
            self._ask(conn, request_id, lambda: self._rcpt(rcpt), rcpt.client_addr, blocking=self._policy.rcpt_blocks)
        elif isinstance(msg, CheckMail):
            mail = msg
            self._ask(conn, request_id, lambda: self._policy.mail(mail), mail.client_addr, blocking=self._policy.mail_blocks)
        elif isinstance(msg, CheckClient):
            self._client(conn, request_id, msg)
        elif isinstance(msg, FindUser):
            self._user(conn, request_id, msg)
        elif isinstance(msg, SmtpsHelloA):
            self._log.info("smar.smtps", "connected", name=msg.name or None, pid=conn.peer.pid)
            conn.reply(request_id, SmarHello(checks=int(self._policy.checks(msg.flags))))
        else:
            raise ProtocolError(f"{type(msg).__name__} is not expected from SMTPS")

    def _user(self, conn: RcbCom, request_id: int, msg: FindUser) -> None:
        reply = _Asker(conn, request_id)
        self._offload.run(
            lambda: reply(self._policy.user(msg)),
            lambda text: reply(UserEntry(reply=Reply(451, "4.3.0", text))),
            blocking=self._policy.users_block,
            source=conn,
            asker=msg.name,
        )

    def _rcpt(self, msg: CheckRcpt) -> Verdict:
        verdict = self._policy.rcpt(msg)
        if self._log.level >= Sev.DEBUG:
            self._log.debug(
                "smar.rcpt",
                verdict.reply.one_line or "ok",
                ss_ta=msg.ta_id,
                rcpt_idx=msg.rcpt_idx,
                rcpt=msg.rcpt,
                reply=verdict.reply.code,
            )
        return verdict

    def _ask(self, conn: RcbCom, request_id: int, decide: Callable[[], Verdict], client_addr: str, *, blocking: bool) -> None:
        reply = _Asker(conn, request_id)
        self._offload.run(
            lambda: reply(decide()),
            lambda text: reply(Verdict(reply=Reply(451, "4.3.0", text))),
            blocking=blocking,
            source=conn,
            asker=client_key(client_addr),
        )

    def _client(self, conn: RcbCom, request_id: int, msg: CheckClient) -> None:
        try:
            address = str(parse_address(msg.client_addr))
        except ValueError:  # a local socket
            self._judge(conn, request_id, ClientFacts(msg.session_id, msg.client_addr, flags=msg.flags))
            return
        key = client_key(address)
        with self._lock:
            has_room = self._clients.take(key)
        if not has_room:
            self._judge(conn, request_id, ClientFacts(msg.session_id, address, resolve=ClientResolve.TEMP, flags=msg.flags))
            return
        facts = ClientFacts(msg.session_id, address, flags=msg.flags)
        place = [key]  # whoever takes it out gives it back

        def leave() -> None:
            with self._lock:
                if place:
                    self._clients.give(place.pop())

        def done() -> None:
            leave()
            self._judge(conn, request_id, facts)

        try:
            Gathering(facts, done).start(self._names, self._lists)
        except BaseException:
            leave()
            raise

    def _judge(self, conn: RcbCom, request_id: int, facts: ClientFacts) -> None:
        reply = _Asker(conn, request_id)
        for one in facts.listed:
            self._log.info(
                "smar.listed",
                "listed",
                ss_sess=facts.session_id,
                client=facts.address,
                client_name=facts.name or None,
                name=self._lists.zone(one.number),
                answer=one.address,
            )

        def decide() -> None:
            verdict = self._policy.client(facts.address, facts.name, facts.resolve, facts.listed, facts.flags)
            if verdict.reply.is_perm:
                self._log.debug(
                    "smar.client",
                    verdict.reply.one_line,
                    ss_sess=facts.session_id,
                    client=facts.address,
                    client_name=facts.name or None,
                )
            reply(verdict)

        self._offload.run(
            decide,
            lambda text: reply(ClientVerdict(reply=Reply(421, "4.3.0", text))),
            blocking=self._policy.access_blocks,
            source=conn,
            asker=client_key(facts.address),
        )


class QmgrService:
    """Answers QMGR.

    Args:
        recipients: resolves.
        offload: runs look-ups.
        log: hellos and failures are logged here.
        conf: pieces of configuration for servers and recipients, None without an access map.
        counted: hears of sessions of SMTPC, for reports.

    Locking: own lock LEAF for the connections.
    """

    def __init__(
        self,
        recipients: Recipients,
        offload: Offload,
        log: Log,
        conf: HostConf | None = None,
        counted: Callable[[TlsSession], None] = lambda session: None,
    ) -> None:
        self._counted = counted
        self._conf = conf
        self._lock = Lock(LockRank.LEAF, "qmgr connections")
        self._conns: set[RcbCom] = set()
        self._before = failure.contained_count()
        self._recipients = recipients
        self._offload = offload
        self._log = log

    def on_connect(self, conn: RcbCom) -> None:
        """Takes a new connection."""
        conn.on_message = self._on_message
        conn.on_failure = _on_failure
        conn.on_close = self._on_close
        with self._lock:
            self._conns.add(conn)

    def _on_close(self, conn: RcbCom) -> None:
        with self._lock:
            self._conns.discard(conn)

    def contained(self, count: int, text: str) -> None:
        """Tells QMGR of a failure that was contained."""
        report = SmarContained(count=count, last=text.encode("utf-8", "replace").decode()[:REPLY_TEXT_MAX_CHARS])
        with self._lock:
            conns = tuple(self._conns)
        for conn in conns:
            conn.post(report)

    def _on_message(self, conn: RcbCom, request_id: int, msg: Message) -> None:
        if isinstance(msg, Resolve):
            self._resolve(conn, request_id, msg)
        elif isinstance(msg, TlsSession):
            self._counted(msg)
        elif isinstance(msg, QmgrHelloA):
            self._log.info("smar.qmgr", "connected", pid=conn.peer.pid)
            # an access map may have demands for single recipients, now or after its next change
            conn.reply(request_id, SmarHelloQ(by_domain=self._recipients.by_domain and self._conf is None))
            count = failure.contained_count()
            if count > self._before:
                conn.post(SmarContained(count=count, last="before QMGR connected"))
        else:
            raise ProtocolError(f"{type(msg).__name__} is not expected from QMGR")

    def _tell(self, msg: Resolve, found: Route | Members) -> None:
        """Logs where a recipient goes, for those who follow a message."""
        if self._log.level < Sev.DEBUG:
            return
        if isinstance(found, Members):
            self._log.debug("smar.alias", "ok", ss_ta=msg.ta_id, rcpt_idx=msg.rcpt_idx, rcpt=msg.rcpt, count=len(found.members))
            return
        first = found.servers[0]
        self._log.debug(
            "smar.route",
            "ok",
            ss_ta=msg.ta_id,
            rcpt_idx=msg.rcpt_idx,
            rcpt=msg.rcpt,
            da=DeliveryAgent(found.da).name.lower(),
            server=first.addr,
            port=first.port,
            count=len(found.servers),
        )

    def _resolve(self, conn: RcbCom, request_id: int, msg: Resolve) -> None:
        reply = _Asker(conn, request_id)
        conf = self._conf
        domain = msg.rcpt.rpartition("@")[2].lower()

        def answer(found: Answer) -> None:
            if not isinstance(found, Route) or conf is None:
                tell(found)
            elif conf.blocking:  # the route may have come in the thread that reads answers of the DNS
                self._offload.run(lambda: tell(conf.applied(msg.rcpt, found)), failed, blocking=True, source=conn, asker=domain)
            else:
                tell(conf.applied(msg.rcpt, found))

        def failed(text: str) -> None:
            tell(Unresolved(reply=Reply(451, "4.3.0", text)))

        def tell(found: Answer) -> None:
            if isinstance(found, Unresolved):
                said = found.reply
                self._log.debug(
                    "smar.resolve", said.one_line, ss_ta=msg.ta_id, rcpt_idx=msg.rcpt_idx, rcpt=msg.rcpt, reply=said.code
                )
            else:
                self._tell(msg, found)
            reply(found)

        self._offload.run(
            lambda: self._recipients.resolve(msg, answer),
            failed,
            blocking=self._recipients.blocking,
            source=conn,
            asker=domain,
        )
