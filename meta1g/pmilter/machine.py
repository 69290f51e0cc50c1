"""The server's side of one policy milter in one session: what to send for each step, what an answer means.

It is told the same steps as a filter of sendmail 8 (milter/machine.py), gives messages instead of bytes, and what the filter
answers is said in the same words: so a session has one kind of filters.  Header and body become one stream of chunks here.

Pure: no I/O, no clock.  milter/fsm.py has the states.  Ref: MeTA1 pmilter API (stages and meaning modelled on).
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache, reduce
from operator import or_
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.reply import Reply
from meta1g.milter.changes import AddField, AddRcpt, ChangeField, ChangeSender, DeleteRcpt, FilterChange, HoldMail, InsertField
from meta1g.milter.errors import MilterProtocolError
from meta1g.milter.flags import FilterActions
from meta1g.milter.frames import PeerAddress
from meta1g.milter.fsm import IN_MESSAGE, TRANSITIONS, Event, State, next_state
from meta1g.milter.machine import CONTINUE, FilterOutcome, FilterVerdict
from meta1g.pmilter.modify import ModificationError, Modifications
from meta1g.pmilter.stages import MACRO_STAGES, STAGES, is_allowed
from meta1g.rcb.schema import Message
from meta1g.rcb.smtps_pmilter import (
    PM_MACROS_MAX,
    PM_VERSION,
    PMILTER_CHUNK_SIZE,
    Capability,
    Code,
    Function,
    HeaderChange,
    HeaderModification,
    MacroValue,
    MessageChunk,
    PmAbort,
    PmClose,
    PmConnect,
    PmData,
    PmDot,
    PmDotVerdict,
    PmHelo,
    Pmm,
    PmMail,
    PmRcpt,
    PmUnknown,
    PmVerdict,
    PmWanted,
    Stage,
)
from meta1g.smtp.header import Field

#: The words of a refusal for which a filter has none of its own, by the first digit of its code.
_USUAL: Final = {4: Reply(451, "4.7.1", "Refused by a filter, try again later"), 5: Reply(550, "5.7.1", "Refused by a filter")}
#: Values by the names that they have for filters of sendmail 8.
MACRO_NAMES: Final[Mapping[Pmm, str]] = {
    Pmm.SRVHOSTNAME: "j",
    Pmm.CLIENT_RESOLVE: "client_resolve",
    Pmm.CLIENT_PORT: "client_port",
    Pmm.SRVADDR: "daemon_addr",
    Pmm.SRVPORT: "daemon_port",
    Pmm.TLS_VERSION: "tls_version",
    Pmm.TLS_CIPHER_SUITE: "cipher",
    Pmm.TLS_CIPHER_BITS: "cipher_bits",
    Pmm.TLS_ALG_BITS: "alg_bits",
    Pmm.TLS_CERT_SUBJECT: "cert_subject",
    Pmm.TLS_CERT_ISSUER: "cert_issuer",
    Pmm.TLS_CN_SUBJECT: "cn_subject",
    Pmm.TLS_CN_ISSUER: "cn_issuer",
    Pmm.TLS_VRFY: "verify",
    Pmm.AUTH_TYPE: "auth_type",
    Pmm.AUTH_AUTHEN: "auth_authen",
    Pmm.AUTH_AUTHOR: "auth_author",
    Pmm.MAIL_TAID: "i",
    Pmm.DOT_MSGID: "msg_id",
    Pmm.DOT_HOPS: "c",
}
_ACTIONS: Final[Mapping[Function, FilterActions]] = {
    Function.HDR_MOD: FilterActions.ADDHDRS | FilterActions.CHGHDRS,
    Function.RCPT_ADD: FilterActions.ADDRCPT,
    Function.RCPT_DEL: FilterActions.DELRCPT,
    Function.MAIL_SET: FilterActions.CHGFROM,
    Function.MSG_RPLC: FilterActions.CHGHDRS | FilterActions.CHGBODY,
    Function.QUARANTINE: FilterActions.QUARANTINE,
}
_LISTENING: Final = frozenset((State.READY, State.CONNECTED, State.HELLO, *IN_MESSAGE))
#: Answers that are no reply.
_CODES: Final = frozenset(Code)
#: How much of a wrong answer is told.
_SAID_MAX_CHARS: Final = 80
#: Agreements that are kept: more than there are filters in a configuration.
_AGREEMENTS_KEPT: Final = 64
Values = Mapping[str, str]
Messages = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a server and a filter have agreed on.

    Args:
        name: of the filter, as it says.
        capabilities: stages that are sent.
        functions: what it may change.
        macros: those that go with each stage.
    """

    name: str
    capabilities: Capability
    functions: Function
    macros: Mapping[Stage, tuple[Pmm, ...]]


def agree(wanted: PmWanted) -> Agreement:
    """Reads what a filter wants.

    Raises:
        MilterProtocolError: it wants what there is not.
    """
    if wanted.version >> 8 != PM_VERSION >> 8:
        raise MilterProtocolError(f"it speaks version {wanted.version >> 8} of pmilter, not {PM_VERSION >> 8}")
    if wanted.capabilities & ~int(~Capability(0)) or wanted.functions & ~int(~Function(0)):
        raise MilterProtocolError("it wants what was not offered")
    macros: dict[Stage, tuple[Pmm, ...]] = {}
    for one in wanted.macros:
        try:
            stage, macro = Stage(one.stage), Pmm(one.macro)
        except ValueError as error:
            raise MilterProtocolError(f"it asks for macro {one.macro} at stage {one.stage}") from error
        if stage not in MACRO_STAGES[macro]:
            raise MilterProtocolError(f"it asks for macro {macro.name} at stage {stage.name}, where that has no value")
        macros[stage] = (*macros.get(stage, ()), macro)
        if len(macros[stage]) > PM_MACROS_MAX:
            raise MilterProtocolError(f"it asks for more than {PM_MACROS_MAX} macros at stage {stage.name}")
    return Agreement(wanted.name, Capability(wanted.capabilities), Function(wanted.functions), macros)


@lru_cache(_AGREEMENTS_KEPT)
def _actions_of(functions: Function) -> FilterActions:
    """Gives what a filter may do that may use these functions."""
    return reduce(or_, (actions for function, actions in _ACTIONS.items() if functions & function), FilterActions(0))


@lru_cache(_AGREEMENTS_KEPT)
def _stages_of(capabilities: Capability) -> frozenset[Stage]:
    """Gives the stages that a filter is told of."""
    return frozenset(stage for stage, rule in STAGES.items() if capabilities & rule.capability)


class PolicyMachine:
    """One policy milter in one session; the same steps as meta1g.milter.machine.FilterMachine has.

    Args:
        session_id: of the session.
        agreement: what the filter wants.

    Attributes:
        state: of the machine.
        actions: what the filter may do.
        chunk_bytes: most bytes of body that it wants in one step.

    Owner: whoever made it.
    """

    __slots__ = ("_agreement", "_enough", "_held", "_rcpts", "_session", "_stages", "actions", "chunk_bytes", "state")

    def __init__(self, session_id: str, agreement: Agreement) -> None:
        self._session = session_id
        self._agreement = agreement
        self._held = bytearray()
        self._rcpts = 0
        self._enough = False
        self._stages = _stages_of(agreement.capabilities)
        self.actions = _actions_of(agreement.functions)
        self.chunk_bytes = PMILTER_CHUNK_SIZE
        self.state = State.NEW
        self.step(Event.NEGOTIATE)
        self.step(Event.AGREED)

    @property
    def wants_refused_rcpts(self) -> bool:
        """The filter wants to hear of recipients that are refused anyhow."""
        return bool(self._agreement.capabilities & Capability.RCPT_ST)

    @property
    def listens(self) -> bool:
        """The filter has not decided yet, and has not failed."""
        return self.state in _LISTENING

    def step(self, event: Event) -> None:
        """Feeds an event to the machine."""
        self.state = next_state(self.state, event)

    # what the server tells

    def connect(self, hostname: bytes, peer: PeerAddress, macros: Values) -> Messages:
        """Tells who the client is; an address in brackets is no name."""
        self.step(Event.CONNECT)
        return (
            PmConnect(
                session_id=self._session,
                client_addr=peer.address.decode("ascii", "replace"),
                client_name="" if hostname.startswith(b"[") else hostname.decode("ascii", "replace"),
                macros=self._macros(Stage.CONNECT, macros),
            ),
        )

    def helo(self, name: bytes, macros: Values, *, ehlo: bool) -> Messages:
        """Tells the argument of HELO or EHLO."""
        if not self._tells(Event.HELO, Stage.HELO):
            return ()
        helo = name.decode("utf-8", "replace")
        return (PmHelo(session_id=self._session, helo=helo, ehlo=ehlo, macros=self._macros(Stage.HELO, macros)),)

    def mail(self, words: tuple[bytes, ...], macros: Values) -> Messages:
        """Tells the sender in angle brackets, and the parameters of MAIL."""
        self._held.clear()
        self._rcpts, self._enough = 0, False
        if not self._tells(Event.MAIL, Stage.MAIL):
            return ()
        mail, *args = (word.decode("utf-8", "replace") for word in words)
        return (
            PmMail(
                session_id=self._session,
                ta_id=macros.get("i", ""),
                mail=mail,
                args=tuple(args),
                macros=self._macros(Stage.MAIL, macros),
            ),
        )

    def rcpt(self, words: tuple[bytes, ...], macros: Values) -> Messages:
        """Tells a recipient in angle brackets, and the parameters of RCPT."""
        if not self._tells(Event.RCPT, Stage.RCPT):
            return ()
        return (self._rcpt(words, macros),)

    def refused_rcpt(self, words: tuple[bytes, ...], reply: Reply, macros: Values) -> Messages:
        """Tells a recipient that is refused anyhow."""
        if not self._tells(Event.RCPT, Stage.RCPT):
            return ()
        return (self._rcpt(words, macros, reply),)

    def _rcpt(self, words: tuple[bytes, ...], macros: Values, status: Reply = Reply(0)) -> PmRcpt:  # noqa: B008  immutable
        rcpt, *args = (word.decode("utf-8", "replace") for word in words)
        self._rcpts += 1
        return PmRcpt(
            session_id=self._session,
            rcpt_idx=self._rcpts - 1,
            rcpt=rcpt,
            args=tuple(args),
            status=status,
            macros=self._macros(Stage.RCPT, macros),
        )

    def data(self, macros: Values) -> Messages:
        """Tells that the content follows."""
        if not self._tells(Event.DATA, Stage.DATA):
            return ()
        return (PmData(session_id=self._session, macros=self._macros(Stage.DATA, macros)),)

    def header(self, field: Field) -> Messages:
        """Tells a field of the header."""
        return self._content(Event.HEADER, field.raw)

    def eoh(self, macros: Values) -> Messages:
        """Tells that the header is over."""
        return self._content(Event.EOH, b"\r\n")

    def body(self, chunk: bytes) -> Messages:
        """Tells a piece of the body."""
        return self._content(Event.BODY, chunk)

    def eom(self, macros: Values) -> Messages:
        """Tells that the message is complete."""
        if not self.listens:
            return ()
        rest = tuple(self._chunks(whole=True))
        self.step(Event.EOM)
        if Stage.DOT not in self._stages:
            return rest
        return (*rest, PmDot(session_id=self._session, macros=self._macros(Stage.DOT, macros)))

    def unknown(self, line: bytes) -> Messages:
        """Tells a command that the server does not know."""
        if (self.state, Event.UNKNOWN) not in TRANSITIONS or Stage.UNKNOWN not in self._stages:
            return ()
        self.step(Event.UNKNOWN)
        return (PmUnknown(session_id=self._session, command=line.decode("utf-8", "replace")),)

    def abort(self) -> Messages:
        """Ends a message that is not over; nothing if there is none."""
        if self.state not in IN_MESSAGE and self.state is not State.PASSED:
            return ()
        self.step(Event.ABORT)
        return (PmAbort(session_id=self._session),)

    def quit(self) -> Messages:
        """Ends the session; a filter that failed gets no last word."""
        silent = self.state in (State.FAILED, State.READY)
        self.step(Event.QUIT)
        return () if silent else (PmClose(session_id=self._session),)

    def fail(self) -> None:
        """Is told that the filter is lost."""
        if self.state not in (State.FAILED, State.CLOSED):
            self.step(Event.FAIL)

    def over(self) -> None:
        """Is told that the end of the message is answered, with all that it asked for."""
        if self.state is State.EOM:
            self.step(Event.OVER)

    def _tells(self, event: Event, stage: Stage) -> bool:
        if not self.listens:
            return False
        self.step(event)
        return stage in self._stages

    def _content(self, event: Event, data: bytes) -> Messages:
        if not self._tells(event, Stage.MSG) or self._enough:
            return ()
        self._held += data
        return tuple(self._chunks(whole=False)) if len(self._held) >= PMILTER_CHUNK_SIZE else ()

    def _chunks(self, *, whole: bool) -> Iterator[MessageChunk]:
        while len(self._held) >= PMILTER_CHUNK_SIZE or (whole and self._held):
            yield MessageChunk(session_id=self._session, data=bytes(self._held[:PMILTER_CHUNK_SIZE]))
            del self._held[:PMILTER_CHUNK_SIZE]

    def _macros(self, stage: Stage, macros: Values) -> tuple[MacroValue, ...]:
        asked = self._agreement.macros.get(stage, ())
        return tuple(MacroValue(macro=int(one), value=value) for one in asked if (value := macros.get(MACRO_NAMES[one], "")))

    # what the filter answers

    def take(self, asked: Message, answer: Message) -> FilterVerdict:
        """Takes an answer.

        Raises:
            MilterProtocolError: it may not say that here; the caller calls fail().
        """
        stage = _STAGES[type(asked)]
        if not isinstance(answer, PmDotVerdict if stage is Stage.DOT else PmVerdict):
            raise MilterProtocolError(f"{type(answer).__name__} is no answer at stage {stage.name}")
        if not is_allowed(stage, answer.code, answer.reply):
            said = f"{answer.code} {str(answer.reply)[:_SAID_MAX_CHARS]}"
            raise MilterProtocolError(f"{said} is no answer at stage {stage.name}")
        verdict = _verdict(answer.code, answer.reply)
        if answer.code == Code.SKIP:
            self._enough = True
        elif stage in (Stage.CONNECT, Stage.HELO):
            if answer.code == Code.ACCEPT or verdict.outcome is FilterOutcome.REFUSE:
                self.step(Event.SETTLED_ALL)
        elif stage not in (Stage.DOT, Stage.UNKNOWN):
            self._settle(stage, answer.code, verdict)
        return verdict

    def _settle(self, stage: Stage, code: int, verdict: FilterVerdict) -> None:
        refused = verdict.outcome is FilterOutcome.REFUSE
        if code in (Code.ACCEPT, Code.DISCARD) or (refused and stage is not Stage.RCPT):
            self.step(Event.SETTLED)

    def changes(self, answer: PmDotVerdict) -> list[FilterChange]:
        """Gives the changes of the end of a message, checked.

        Raises:
            MilterProtocolError: one was not agreed on, or cannot be made.
        """
        checked = Modifications(self._agreement.functions)
        try:
            for one in answer.header:
                checked.change_header(HeaderChange(one.change), one.position, one.field)
            for rcpt in answer.rcpts_added:
                checked.add_rcpt(rcpt)
            for rcpt in answer.rcpts_removed:
                checked.remove_rcpt(rcpt)
            if answer.mail is not None:
                checked.set_mail(answer.mail)
            if answer.replace:
                checked.replace()
            if answer.quarantine:
                checked.hold(answer.quarantine)
        except (ModificationError, ValueError) as error:
            raise MilterProtocolError(str(error)) from error
        changes: list[FilterChange] = [_header_change(one) for one in checked.header]
        changes += [AddRcpt(rcpt.encode()) for rcpt in checked.added]
        changes += [DeleteRcpt(rcpt.encode()) for rcpt in checked.removed]
        if checked.mail is not None:
            changes.append(ChangeSender(checked.mail.encode()))
        return [*changes, HoldMail(checked.quarantine)] if checked.quarantine else changes


#: What a filter wants that cannot be asked: a session without it.
NOTHING: Final = Agreement("", Capability(0), Function(0), {})


def _verdict(code: int, reply: Reply) -> FilterVerdict:
    if code == Code.DISCARD:
        return FilterVerdict(FilterOutcome.DISCARD)
    if code in _CODES:
        return CONTINUE
    usual = _USUAL[code // 100]
    said = reply if reply.code else Reply(code, usual.ecode, usual.text)
    return FilterVerdict(FilterOutcome.CLOSE if code == 421 else FilterOutcome.REFUSE, said)


def _header_change(one: HeaderModification) -> FilterChange:
    """Gives a change of the header in the words of milter/changes.py; positions of MeTA1 count from 0."""
    change = HeaderChange(one.change)
    name, _colon, value = one.field.partition(b":")
    name = name.rstrip(b" \t")
    if change is HeaderChange.APPEND:
        return AddField(name, value)
    if change in (HeaderChange.PREPEND, HeaderChange.INSERT):
        return InsertField(0 if change is HeaderChange.PREPEND else one.position, name, value)
    return ChangeField(one.position + 1, name, b"" if change is HeaderChange.REMOVE else value)


_STAGES: Final[Mapping[type[Message], Stage]] = {
    PmConnect: Stage.CONNECT,
    PmHelo: Stage.HELO,
    PmMail: Stage.MAIL,
    PmRcpt: Stage.RCPT,
    PmData: Stage.DATA,
    MessageChunk: Stage.MSG,
    PmDot: Stage.DOT,
    PmUnknown: Stage.UNKNOWN,
}
