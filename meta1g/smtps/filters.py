"""The filters of one SMTP session: each step is told to all of them in order, and the first refusal counts.

What a filter refuses, the next ones do not hear of.  What a session without one of them comes to, says its default action:
such a session is refused from then on, or goes on without it, perhaps with its messages held.

    connect -> EHLO -> MAIL -> RCPT -> DATA -> content (filtered.py) -> changes of the envelope (filterenvelope.py)

Ref: MeTA1 design, "Functional Specification: SMTPS, policy milter" (place modelled on); Postfix, MILTER_README.
"""

from collections import ChainMap
from collections.abc import Callable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, Final

from meta1g.base.dataclass import dataclass
from meta1g.base.reply import Reply
from meta1g.milter.changes import FilterChange
from meta1g.milter.fsm import State
from meta1g.milter.machine import CONTINUE, FilterMachine, FilterOutcome, FilterVerdict
from meta1g.milter.settings import WITHOUT_FILTER, DefaultAction
from meta1g.rcb.smtps_qmgr import NewRecipient, NewTransaction
from meta1g.smtp.address import Address
from meta1g.smtp.esmtp import Ext, Extensions, MailParams, RcptParams, format_mail_params, format_rcpt_params
from meta1g.smtps import filtermacros
from meta1g.smtps.dialogue import Dialogue
from meta1g.smtps.filterconn import FilterFailedError, MilterConnection
from meta1g.smtps.filterstats import FilterPresence
from meta1g.smtps.milters import PolicySettings
from meta1g.smtps.received import literal
from meta1g.smtps.transaction import Transaction

if TYPE_CHECKING:
    from meta1g.pmilter.machine import PolicyMachine
    from meta1g.smtps.policylink import PolicyConnection

#: All parameters, as if a server offered all that have some.
_ALL_PARAMETERS: Final = Extensions({ext.value: "" for ext in Ext})
#: What a filter is told, by its machine: bytes, or messages.
Told = Any
Tell = Callable[["OneFilter"], Told]


@dataclass(frozen=True, slots=True)
class OneFilter:
    """One filter of a session: its connection, and the macros that it gets.  Owner: the state thread of the session."""

    connection: "MilterConnection | PolicyConnection"
    macros: MutableMapping[str, str]

    @property
    def machine(self) -> "FilterMachine | PolicyMachine":
        """What it was told."""
        return self.connection.machine

    @property
    def rule(self) -> str:
        """How it is named as the origin of a refusal."""
        name = self.connection.settings.name
        kind = "policy_milter" if isinstance(self.connection.settings, PolicySettings) else "milter"
        return f"{kind} {name}" if name else kind


class Filters:
    """All filters of one session.

    Args:
        dialogue: the session.

    Attributes:
        dialogue: the session.
        denial: what the session hears from now on instead of being served.
        rule: the filter that the last refusal comes from, `milter NAME`.
        hold: why messages of the session are held; empty if they are not.
        announced: what QMGR was told of the transaction.
        rcpts: what it was told of its recipients.

    Owner: the state thread of the session.
    """

    __slots__ = ("_all", "_hello", "_macros", "announced", "denial", "dialogue", "hold", "rcpts", "rule")

    def __init__(self, dialogue: Dialogue) -> None:
        self.dialogue = dialogue
        self._macros = filtermacros.of_session(dialogue)
        self._all = [
            *(OneFilter(one.session(dialogue.id), self._macros) for one in dialogue.context.policies),
            *(
                OneFilter(
                    MilterConnection(one, dialogue.context.filter_stats.of("milter", one.name)),
                    ChainMap(dict(one.macros), self._macros) if one.macros else self._macros,
                )
                for one in dialogue.settings.milters
            ),
        ]
        self._hello = ""
        self.denial: Reply | None = None
        self.rule = ""
        self.hold = ""
        self.announced: NewTransaction | None = None
        self.rcpts: list[NewRecipient] = []

    # -- the session

    def connect(self) -> Reply | None:
        """Connects to all filters and tells who the client is; gives a refusal or None.  Switches: yes (network)."""
        for one in self._all:
            tally = one.connection.tally
            tally.sessions += 1
            was_down = tally.presence is FilterPresence.DOWN
            try:
                one.connection.open()
                if was_down and tally.presence is FilterPresence.UP:
                    self.dialogue.context.log.notice("smtps.milter_back", "ok", ss_sess=self.dialogue.id, key=tally.name)
            except FilterFailedError as error:
                verdict = self._failed(one, error)
                if verdict.reply is not None:
                    return verdict.reply
        dialogue = self.dialogue
        host = dialogue.client_name or literal(dialogue.client_addr)
        peer = filtermacros.peer(dialogue, self._macros)
        return self._session(lambda one: one.machine.connect(host.encode(), peer, one.macros))

    def helo(self, name: str, *, ehlo: bool) -> Reply | None:
        """Tells the argument of HELO or EHLO, whichever it is; gives a refusal or None.  Switches: yes (network)."""
        self._hello = name
        self._macros |= filtermacros.of_helo(self.dialogue, name)
        return self._session(lambda one: one.machine.helo(_wire(name), one.macros, ehlo=ehlo))

    def _session(self, tell: Tell) -> Reply | None:
        """Switches: yes (network)."""
        if self.denial is None:
            self.denial = self._each(tell)
        return self.denial

    def unknown_command(self, line: bytes) -> Reply | None:
        """Tells a command that nobody knows; gives a refusal in other words than ours, or None.  Switches: yes (network)."""
        return self.denial or self._each(lambda one: one.machine.unknown(line))

    def close(self) -> None:
        """Ends all connections.  Switches: yes (write)."""
        for one in self._all:
            one.connection.close()

    # -- the envelope

    def mail(self, ta: Transaction) -> Reply | None:
        """Tells the sender; gives a refusal or None.  Switches: yes (network)."""
        if self.denial is not None:
            return self.denial
        self.abort()  # who had decided about the last message hears that it is over
        self.announced, self.rcpts = None, []
        if (
            self._hello != self.dialogue.ehlo
            and self.helo(self.dialogue.ehlo, ehlo=self.dialogue.protocol != "SMTP") is not None
        ):
            return self.denial  # somebody else said it for the client
        self._macros |= filtermacros.of_mail(self.dialogue, ta)
        words = (_path(ta.mail), *_mail_words(ta.params))

        def tell(one: OneFilter) -> Told:
            one.connection.tally.messages += 1
            return one.machine.mail(words, one.macros)

        return self._each(tell, ta)

    def rcpt(self, ta: Transaction, address: Address, params: RcptParams) -> Reply | None:
        """Tells a recipient that is accepted otherwise; gives a refusal or None.  Switches: yes (network)."""
        if self.denial is not None or ta.discard:
            return self.denial
        self._macros |= filtermacros.of_rcpt(address)
        words = (_path(address), *format_rcpt_params(params, _ALL_PARAMETERS).encode().split())
        return self._each(lambda one: one.machine.rcpt(words, one.macros), ta)

    def refused_rcpt(self, ta: Transaction, address: Address, reply: Reply) -> None:
        """Tells a refused recipient to those who want to hear of it; what they say does not count.  Switches: yes (network)."""
        if self.denial is not None or ta.discard:
            return
        self._macros |= filtermacros.of_refused_rcpt(reply)
        for one in self._all:
            if one.machine.listens and one.machine.wants_refused_rcpts:
                self._ask(one, lambda one: one.machine.refused_rcpt((_path(address),), reply, one.macros))

    def data(self, ta: Transaction) -> Reply | None:
        """Tells that content follows; gives a refusal or None.  Switches: yes (network)."""
        if self.denial is not None or ta.discard:
            return self.denial
        return self._each(lambda one: one.machine.data(one.macros), ta)

    def abort(self) -> None:
        """Ends a transaction that is not over; the filters hear of it with what comes next."""
        for one in self._all:
            told: Told = one.machine.abort()
            one.connection.later(told)

    def listening(self) -> list[OneFilter]:
        """Gives those that want to see the content."""
        return [one for one in self._all if one.machine.listens]

    # -- answers

    def _each(self, tell: Tell, ta: Transaction | None = None) -> Reply | None:
        """Tells something to all that listen, up to the first that refuses or discards.  Switches: yes (network)."""
        for one in self._all:
            if not one.machine.listens:
                continue
            verdict = self.verdict(one, tell)
            if verdict.reply is not None:
                self.rule = one.rule
                return verdict.reply
            if verdict.outcome is FilterOutcome.DISCARD and ta is not None:
                ta.discard, ta.rule = True, one.rule
                return None
        return None

    def verdict(self, one: OneFilter, tell: Tell, on_change: Callable[[FilterChange], None] | None = None) -> FilterVerdict:
        """Tells something to one filter; gives its answer, or what its absence comes to.  Switches: yes (network)."""
        verdict = self._ask(one, tell, on_change)
        if verdict is not CONTINUE and one.connection.machine.state is not State.FAILED:
            one.connection.tally.refused += verdict.reply is not None
            one.connection.tally.discarded += verdict.outcome is FilterOutcome.DISCARD
        return verdict

    def _ask(self, one: OneFilter, tell: Tell, on_change: Callable[[FilterChange], None] | None = None) -> FilterVerdict:
        """Switches: yes (network)."""
        try:
            told: Callable[[Any], Any] = lambda _machine: tell(one)  # noqa: E731  of one kind or the other
            return one.connection.ask(told, on_change)
        except FilterFailedError as error:
            return self._failed(one, error)

    def _failed(self, one: OneFilter, error: FilterFailedError) -> FilterVerdict:
        dialogue, action = self.dialogue, one.connection.settings.default_action
        one.connection.tally.faults[error.fault] += 1
        dialogue.context.log.error(
            "smtps.milter_failed",
            f"{error}; default action: {action}",
            ss_sess=dialogue.id,
            ss_ta=None if dialogue.ta is None else dialogue.ta.ta_id,
            client=dialogue.client_addr,
            key=one.connection.settings.name,
        )
        if action is DefaultAction.QUARANTINE:
            self.hold = f"{one.rule} failed"
        reply = WITHOUT_FILTER.get(action)
        if reply is None:
            return CONTINUE
        self.denial, self.rule = reply, one.rule
        return FilterVerdict(FilterOutcome.REFUSE, reply)

    @property
    def macros(self) -> MutableMapping[str, str]:
        """Those that all filters get."""
        return self._macros


def _wire(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _path(address: Address) -> bytes:
    return _wire(f"<{address.text}>")


def _mail_words(params: MailParams) -> Iterator[bytes]:
    yield from format_mail_params(params, _ALL_PARAMETERS, params.by).encode().split()
    if params.auth is not None:
        yield f"AUTH={params.auth}".encode()
    if params.verp is not None:
        yield f"XVERP={params.verp}".encode()
