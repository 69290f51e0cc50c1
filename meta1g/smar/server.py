"""The two services, for SMTPS and for QMGR: one task a connection, questions in any number at the same time.

A question whose maps are in memory is answered at once in the thread that read it; one that may block goes to a worker;
the DNS is asked without a thread.

Invariant: every request gets exactly one reply, unless its connection is gone.

Ref: MeTA1 design, "Functional Specification: SMAR" (tasks modelled on).
"""

from collections.abc import Callable
from typing import Final

from meta1g.base.errors import BugError, FullError, ProtocolError
from meta1g.base.log import Log
from meta1g.base.logkeys import Sev
from meta1g.maps.cidrmap import parse_address
from meta1g.pt.rcbcom import RcbCom
from meta1g.pt.workers import Workers
from meta1g.rcb.common import DeliveryAgent
from meta1g.rcb.qmgr_smar import Members, QmgrHelloA, Resolve, Route, SmarHelloQ, Unresolved
from meta1g.rcb.schema import Message
from meta1g.rcb.smtps_smar import (
    CheckClient,
    CheckMail,
    CheckRcpt,
    ClientVerdict,
    SmarHello,
    SmtpsHelloA,
    Verdict,
)
from meta1g.smar.checks import Policy
from meta1g.smar.client import ClientFacts, Gathering
from meta1g.smar.clientname import ClientNames
from meta1g.smar.dnsbl import DnsLists
from meta1g.smar.recipient import Answer, Recipients

_BUSY: Final = "Too many look-ups at the same time; try again later"
_FAILED: Final = "Look-up failed; try again later"
_SERVER_ERROR: Final = 500


class Offload:
    """Runs look-ups: here, or in a worker if they may block.

    Args:
        workers: the threads for look-ups that block.
        log: look-ups that fail are logged here.

    Locking: none needed.
    """

    def __init__(self, workers: Workers, log: Log) -> None:
        self._workers = workers
        self._log = log

    def run(self, look_up: Callable[[], None], on_failure: Callable[[str], None], *, blocking: bool) -> None:
        """Runs a look-up.

        Args:
            look_up: asks and answers.
            on_failure: called with a text for the client instead, if it cannot be run or fails.
            blocking: it may block.

        Blocks: no.
        """
        if not blocking:
            self._guarded(look_up, on_failure)
            return
        try:
            self._workers.submit(lambda: self._guarded(look_up, on_failure))
        except FullError:
            on_failure(_BUSY)

    def _guarded(self, look_up: Callable[[], None], on_failure: Callable[[str], None]) -> None:
        try:
            look_up()
        except BugError:
            raise
        except Exception as error:  # noqa: BLE001  one question that fails must not end a connection with all the others
            self._log.error("smar.look_up", f"{type(error).__name__}: {error}")
            on_failure(_FAILED)


class SmtpsService:
    """Answers SMTPS.

    Args:
        policy: decides.
        names: finds names of clients.
        lists: asks DNS lists about clients.
        offload: runs look-ups.
        log: hellos and refusals are logged here.

    Locking: none needed.
    """

    def __init__(self, policy: Policy, names: ClientNames, lists: DnsLists, offload: Offload, log: Log) -> None:
        self._policy = policy
        self._names = names
        self._lists = lists
        self._offload = offload
        self._log = log

    def on_connect(self, conn: RcbCom) -> None:
        """Takes a new connection."""
        conn.on_message = self._on_message

    def _on_message(self, conn: RcbCom, request_id: int, msg: Message) -> None:
        if isinstance(msg, CheckRcpt):
            rcpt = msg
            self._ask(conn, request_id, lambda: self._rcpt(rcpt), blocking=self._policy.rcpt_blocks)
        elif isinstance(msg, CheckMail):
            mail = msg
            self._ask(conn, request_id, lambda: self._policy.mail(mail), blocking=self._policy.access_blocks)
        elif isinstance(msg, CheckClient):
            self._client(conn, request_id, msg)
        elif isinstance(msg, SmtpsHelloA):
            self._log.info("smar.smtps", "connected", name=msg.name or None, pid=conn.peer_pid)
            conn.reply(request_id, SmarHello(checks=int(self._policy.checks)))
        else:
            raise ProtocolError(f"{type(msg).__name__} is not expected from SMTPS")

    def _rcpt(self, msg: CheckRcpt) -> Verdict:
        verdict = self._policy.rcpt(msg)
        if self._log.level >= Sev.DEBUG:
            self._log.debug(
                "smar.rcpt",
                verdict.text or "ok",
                ss_ta=msg.ta_id,
                rcpt_idx=msg.rcpt_idx,
                rcpt=msg.rcpt,
                reply=verdict.code,
            )
        return verdict

    def _ask(self, conn: RcbCom, request_id: int, decide: Callable[[], Verdict], *, blocking: bool) -> None:
        self._offload.run(
            lambda: conn.reply(request_id, decide()),
            lambda text: conn.reply(request_id, Verdict(code=451, ecode="4.3.0", text=text)),
            blocking=blocking,
        )

    def _client(self, conn: RcbCom, request_id: int, msg: CheckClient) -> None:
        try:
            address = str(parse_address(msg.client_addr))
        except ValueError:  # a local socket
            self._judge(conn, request_id, ClientFacts(msg.session_id, msg.client_addr))
            return
        facts = ClientFacts(msg.session_id, address)
        Gathering(facts, lambda: self._judge(conn, request_id, facts)).start(self._names, self._lists)

    def _judge(self, conn: RcbCom, request_id: int, facts: ClientFacts) -> None:
        def decide() -> None:
            verdict = self._policy.client(facts.address, facts.name, facts.resolve, facts.listed)
            if verdict.code >= _SERVER_ERROR:
                self._log.info(
                    "smar.client",
                    verdict.text,
                    ss_sess=facts.session_id,
                    client=facts.address,
                    client_name=facts.name or None,
                )
            conn.reply(request_id, verdict)

        self._offload.run(
            decide,
            lambda text: conn.reply(request_id, ClientVerdict(code=421, ecode="4.3.0", text=text)),
            blocking=self._policy.access_blocks,
        )


class QmgrService:
    """Answers QMGR.

    Args:
        recipients: resolves.
        offload: runs look-ups.
        log: hellos and failures are logged here.

    Locking: none needed.
    """

    def __init__(self, recipients: Recipients, offload: Offload, log: Log) -> None:
        self._recipients = recipients
        self._offload = offload
        self._log = log

    def on_connect(self, conn: RcbCom) -> None:
        """Takes a new connection."""
        conn.on_message = self._on_message

    def _on_message(self, conn: RcbCom, request_id: int, msg: Message) -> None:
        if isinstance(msg, Resolve):
            self._resolve(conn, request_id, msg)
        elif isinstance(msg, QmgrHelloA):
            self._log.info("smar.qmgr", "connected", pid=conn.peer_pid)
            conn.reply(request_id, SmarHelloQ())
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
        def answer(found: Answer) -> None:
            if isinstance(found, Unresolved):
                self._log.info(
                    "smar.resolve", found.text, ss_ta=msg.ta_id, rcpt_idx=msg.rcpt_idx, rcpt=msg.rcpt, reply=found.code
                )
            else:
                self._tell(msg, found)
            conn.reply(request_id, found)

        self._offload.run(
            lambda: self._recipients.resolve(msg, answer),
            lambda text: answer(Unresolved(code=451, ecode="4.3.0", text=text)),
            blocking=self._recipients.blocking,
        )
