"""The MTA's side of one connection to a filter: what to send for each step, what an answer means.

The caller sends the bytes that a step gives, and as long as `waits_for` names a command, reads frames and gives them to
take().  Most steps that a filter declines, or that come after it has decided, give no bytes and wait for nothing.

Pure: no I/O, no clock.  fsm.py has the states, steps.py the tables of steps and answers.
Ref: sendmail 8, libmilter/docs; Postfix, MILTER_README (defaults where filters differ).
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, Final

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import BugError, Module
from meta1g.base.reply import Reply
from meta1g.milter.changes import CHANGES, FilterChange, NewBody, change_of
from meta1g.milter.codec import encode
from meta1g.milter.errors import MilterProtocolError
from meta1g.milter.flags import ACTIONS_OF, STEPS_OF, VERSION_MAX, VERSION_MIN, FilterActions, FilterSteps, MacroStage
from meta1g.milter.frames import (
    BodyChunk,
    ConnectData,
    FieldData,
    Frame,
    FrameData,
    MacroData,
    OptNeg,
    PeerAddress,
    Smfic,
    Smfir,
    TextData,
    WordsData,
)
from meta1g.milter.fsm import IN_MESSAGE, TRANSITIONS, Event, State, next_state
from meta1g.milter.header import value_for_filter
from meta1g.milter.limits import CHANGES_MAX, CHANGES_MAX_BYTES, FRAME_SLACK_BYTES
from meta1g.milter.macros import DEFAULT_MACROS, asked_for, values_of
from meta1g.milter.replycode import parse_replycode
from meta1g.milter.steps import ANSWERS, STEPS, FilterStep, Scope
from meta1g.milter.terms import terms_of
from meta1g.smtp.header import Field


class FilterOutcome(Enum):
    """What becomes of what a filter was asked about."""

    CONTINUE = auto()
    REFUSE = auto()
    DISCARD = auto()
    CLOSE = auto()  # 421, and the connection of the client is closed


@dataclass(frozen=True, slots=True)
class FilterVerdict:
    """What a filter has decided.

    Args:
        outcome: about session, message or recipient, by the step that was answered.
        reply: to the client, if it is refused or closed.
    """

    outcome: FilterOutcome
    reply: Reply | None = None


CONTINUE: Final = FilterVerdict(FilterOutcome.CONTINUE)
_DISCARD: Final = FilterVerdict(FilterOutcome.DISCARD)
_REJECT: Final = FilterVerdict(FilterOutcome.REFUSE, Reply(550, "5.7.1", "Command rejected"))
_TEMPFAIL: Final = FilterVerdict(FilterOutcome.REFUSE, Reply(451, "4.7.1", "Service unavailable - try again later"))
_CLOSE: Final = FilterVerdict(FilterOutcome.CLOSE, Reply(421, "4.7.0", "Service unavailable - closing connection"))
_CLOSING_CODE: Final = 421
#: Answers without data of their own.
_DECISIONS: Final[Mapping[Smfir, FilterVerdict]] = {
    Smfir.CONTINUE: CONTINUE,
    Smfir.SKIP: CONTINUE,
    Smfir.ACCEPT: CONTINUE,
    Smfir.DISCARD: _DISCARD,
    Smfir.REJECT: _REJECT,
    Smfir.TEMPFAIL: _TEMPFAIL,
    Smfir.SHUTDOWN: _CLOSE,
    Smfir.CONN_FAIL: _CLOSE,
}
#: Answers that settle nothing.
_GO_ON: Final = frozenset((Smfir.CONTINUE, Smfir.SKIP))
Macros = Mapping[str, str]
_NO_MACROS: Final[Macros] = {}


class FilterMachine:
    """One filter in one session.

    Args:
        version: greatest version of the protocol that is offered.

    Attributes:
        state: of the machine.
        waits_for: the command whose answer is to come; None if nothing is.
        version: the one that was agreed on.

    Owner: whoever made it.
    """

    __slots__ = (
        "_changes",
        "_changes_bytes",
        "_macros",
        "_skipping",
        "_terms",
        "state",
        "version",
        "waits_for",
    )

    def __init__(self, version: int = VERSION_MAX) -> None:
        self.state = State.NEW
        self.waits_for: Smfic | None = None
        self.version = version
        self._terms = terms_of(version, int(ACTIONS_OF[version]), 0)
        self._macros: Mapping[MacroStage, tuple[str, ...]] = DEFAULT_MACROS
        self._skipping: Smfic | None = None
        self._changes = 0
        self._changes_bytes = 0

    @property
    def actions(self) -> FilterActions:
        """What the filter may do."""
        return self._terms.actions

    @property
    def steps(self) -> FilterSteps:
        """What it does not want to hear, and so on."""
        return self._terms.steps

    @property
    def chunk_bytes(self) -> int:
        """Most bytes of body for one frame."""
        return self._terms.chunk_bytes

    @property
    def frame_max_bytes(self) -> int:
        """Greatest frame that the filter may send."""
        return self.chunk_bytes + FRAME_SLACK_BYTES

    @property
    def wants_refused_rcpts(self) -> bool:
        """The filter wants to hear of recipients that are refused anyhow."""
        return bool(self.steps & FilterSteps.RCPT_REJ)

    @property
    def listens(self) -> bool:
        """The filter has not decided yet, and has not failed."""
        return self.state in _LISTENING

    def step(self, event: Event) -> None:
        """Feeds an event to the machine."""
        self.state = next_state(self.state, event)

    # what the MTA tells

    def negotiate(self) -> bytes:
        """Offers what there is."""
        self.step(Event.NEGOTIATE)
        self.waits_for = Smfic.OPTNEG
        return encode(Frame(Smfic.OPTNEG, OptNeg(self.version, int(ACTIONS_OF[self.version]), int(STEPS_OF[self.version]))))

    def connect(self, hostname: bytes, peer: PeerAddress, macros: Macros = _NO_MACROS) -> bytes:
        """Tells who the client is."""
        return self._tell(Smfic.CONNECT, ConnectData(hostname, peer), macros)

    def helo(self, name: bytes, macros: Macros = _NO_MACROS, *, ehlo: bool = True) -> bytes:
        """Tells the argument of HELO or EHLO, whichever it was; a message that was begun has been aborted before."""
        return self._tell(Smfic.HELO, TextData(name), macros)

    def mail(self, words: tuple[bytes, ...], macros: Macros = _NO_MACROS) -> bytes:
        """Tells the sender in angle brackets, and the parameters of MAIL."""
        self._changes = self._changes_bytes = 0
        return self._tell(Smfic.MAIL, WordsData(words), macros)

    def rcpt(self, words: tuple[bytes, ...], macros: Macros = _NO_MACROS) -> bytes:
        """Tells a recipient in angle brackets, and the parameters of RCPT."""
        return self._tell(Smfic.RCPT, WordsData(words), macros)

    def refused_rcpt(self, words: tuple[bytes, ...], reply: Reply, macros: Macros = _NO_MACROS) -> bytes:
        """Tells a recipient that is refused anyhow; the reply is in the macros."""
        return self.rcpt(words, macros)

    def data(self, macros: Macros = _NO_MACROS) -> bytes:
        """Tells that the content follows."""
        return self._tell(Smfic.DATA, None, macros)

    def header(self, field: Field) -> bytes:
        """Tells a field of the header."""
        if not self.listens:
            return b""
        value = value_for_filter(field, leading_space=self._terms.leading_space)
        return self._tell(Smfic.HEADER, FieldData(field.name, value), _NO_MACROS)

    def eoh(self, macros: Macros = _NO_MACROS) -> bytes:
        """Tells that the header is over."""
        return self._tell(Smfic.EOH, None, macros)

    def body(self, chunk: bytes) -> bytes:
        """Tells a piece of the body, of at most chunk_bytes."""
        return self._tell(Smfic.BODY, BodyChunk(chunk), _NO_MACROS)

    def eom(self, macros: Macros = _NO_MACROS) -> bytes:
        """Tells that the message is complete; changes and the decision follow."""
        return self._tell(Smfic.BODYEOB, BodyChunk(b""), macros)

    def unknown(self, line: bytes) -> bytes:
        """Tells a command that the MTA does not know."""
        if (self.state, Event.UNKNOWN) not in TRANSITIONS:
            return b""
        return self._tell(Smfic.UNKNOWN, TextData(line.replace(b"\0", b"")), _NO_MACROS)

    def abort(self) -> bytes:
        """Ends a message that is not over; nothing if there is none."""
        if self.state not in IN_MESSAGE and self.state is not State.PASSED:
            return b""
        self.step(Event.ABORT)
        self.waits_for = self._skipping = None
        return encode(Frame(Smfic.ABORT))

    def quit(self) -> bytes:
        """Ends the connection; one that failed gets no last word."""
        failed = self.state in (State.FAILED, State.NEW)
        self.step(Event.QUIT)
        self.waits_for = None
        return b"" if failed else encode(Frame(Smfic.QUIT))

    def fail(self) -> None:
        """Is told that the filter is lost: time-out, broken connection, nonsense; after the end that is nothing new."""
        if self.state not in (State.FAILED, State.CLOSED):
            self.step(Event.FAIL)
        self.waits_for = None

    def _tell(self, command: Smfic, data: FrameData, macros: Macros) -> bytes:
        if self.waits_for is not None:
            raise BugError(Module.MILTER, f"{command.name} before the answer to {self.waits_for.name}")
        if not self.listens:
            return b""
        step = STEPS[command]
        self.step(step.event)
        before = self._macros_for(command, step, macros)
        if self._skipping is not command:
            self._skipping = None
        if command in self._terms.declined or self._skipping is command:
            return before
        if command not in self._terms.silent:
            self.waits_for = command
        return before + encode(Frame(command, data))

    def _macros_for(self, command: Smfic, step: FilterStep, macros: Macros) -> bytes:
        """Gives the macros of a stage; they go even if the command does not, as filters may ask for them later."""
        names = () if step.macros is None else self._macros.get(step.macros, ())
        values = values_of(names, macros) if macros else ()
        return encode(Frame(Smfic.MACRO, MacroData(command, values))) if values else b""

    # what the filter answers

    def take(self, frame: Frame) -> FilterVerdict | FilterChange | None:
        """Takes an answer.

        Returns:
            What the filter has decided, after which nothing is waited for; or a change, or None if it needs more time, and
            then more is to come.

        Raises:
            MilterProtocolError: it may not say that, or not now; the caller ends the connection and calls fail().
        """
        command, kind = self.waits_for, frame.kind
        if command is None or not isinstance(kind, Smfir):
            raise MilterProtocolError(f"{kind.name}, and nothing was asked")
        if command not in ANSWERS[kind].to:
            raise MilterProtocolError(f"{kind.name} is no answer to {command.name}")
        if isinstance(frame.data, OptNeg):
            return self._agree_on(frame.data)
        if kind not in self._terms.answers:
            raise MilterProtocolError(f"{kind.name} was not agreed on")
        if kind is Smfir.PROGRESS:
            return None
        if kind in CHANGES:
            return self._change(kind, frame.data)
        return self._decide(command, kind, frame.data)

    def _agree_on(self, data: OptNeg) -> FilterVerdict:
        if not VERSION_MIN <= data.version <= self.version:
            raise MilterProtocolError(f"version {data.version}; {VERSION_MIN} to {self.version} are spoken here")
        offered = int(ACTIONS_OF[self.version])
        if data.actions & ~offered:
            raise MilterProtocolError(f"it wants actions {data.actions:#x}; {offered:#x} were offered")
        self.version = data.version
        self._terms = terms_of(data.version, data.actions, data.steps)
        if data.lists and self.actions & FilterActions.SETSYMLIST:
            self._macros = {**DEFAULT_MACROS, **asked_for(data.lists)}
        self.step(Event.AGREED)
        self.waits_for = None
        return CONTINUE

    def _change(self, kind: Smfir, data: Any) -> FilterChange:
        change = change_of(kind, data, leading_space=self._terms.leading_space)
        if not isinstance(change, NewBody):
            self._changes += 1
            self._changes_bytes += sum(len(part) for part in _parts(data))
        if self._changes > CHANGES_MAX or self._changes_bytes > CHANGES_MAX_BYTES:
            raise MilterProtocolError(f"more than {CHANGES_MAX} changes, or {CHANGES_MAX_BYTES} bytes of them")
        return change

    def _decide(self, command: Smfic, kind: Smfir, data: FrameData) -> FilterVerdict:
        self.waits_for = None
        verdict = _by_reply(data) if isinstance(data, TextData) else _DECISIONS[kind]
        scope = STEPS[command].scope
        if kind is Smfir.DISCARD and scope in (Scope.SESSION, Scope.COMMAND):
            return CONTINUE  # nothing is there yet to discard: no more than a word out of place
        if kind is Smfir.SKIP:
            self._skipping = command
        if command is Smfic.BODYEOB:
            self.step(Event.OVER)
        elif kind not in _GO_ON:
            self._settle(kind, scope, verdict)
        return verdict

    def _settle(self, kind: Smfir, scope: Scope, verdict: FilterVerdict) -> None:
        if verdict.outcome is FilterOutcome.CLOSE:
            return
        if scope is Scope.SESSION:
            self.step(Event.SETTLED_ALL)
        elif scope is Scope.MESSAGE or (scope is Scope.RCPT and verdict.outcome is not FilterOutcome.REFUSE):
            self.step(Event.SETTLED)


_LISTENING: Final = frozenset((State.READY, State.CONNECTED, State.HELLO, *IN_MESSAGE))


def _by_reply(data: TextData) -> FilterVerdict:
    reply = parse_replycode(data.text)
    return FilterVerdict(FilterOutcome.CLOSE if reply.code == _CLOSING_CODE else FilterOutcome.REFUSE, reply)


def _parts(data: Any) -> tuple[bytes, ...]:
    if isinstance(data, TextData):
        return (data.text,)
    return data.words if isinstance(data, WordsData) else (data.name, data.value)
