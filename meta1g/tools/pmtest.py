"""pmtest: plays a dialogue against a policy milter, without a gateway, and prints what the filter says and changes.

    pmtest unix:/run/filter/socket < dialogue

One step a line; empty lines and those that begin with # are passed over:

    connect 192.0.2.1 [NAME]                a session begins
    helo NAME, ehlo NAME
    mail <ADDRESS> [PARAMETER ...]
    rcpt <ADDRESS> [PARAMETER ...]
    refused <ADDRESS> REPLY                 a recipient that is refused already
    data
    file PATH                               a message, with LF or CR LF, in chunks
    text TEXT                               one line of content
    dot                                     the end; a message that takes the place of this one is pulled and printed
    abort, close, unknown COMMAND
    macro NAME VALUE                        for the steps that follow; as PMM_NAME

A step may end in ` => ANSWER`: then the filter has to say so, else the exit code is not 0.  ANSWER is cont, accept, discard or
skip, or the beginning of a reply.

Ref: MeTA1 pmilter API; the program is ours.
"""

import argparse
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from meta1g.base import cli, sysexits
from meta1g.base.errors import ProtocolError
from meta1g.base.listening import SocketPlace
from meta1g.base.reply import Reply, printable
from meta1g.pmilter.place import FORMS, parse_place
from meta1g.pmilter.session import reply_of
from meta1g.pmilter.stages import STAGES, is_allowed
from meta1g.rcb.schema import Message
from meta1g.rcb.smtps_pmilter import (
    PM_VERSION,
    PMILTER_CHUNK_SIZE,
    PROTOCOL,
    Capability,
    Code,
    Function,
    HeaderChange,
    MacroValue,
    MessageChunk,
    PmAbort,
    PmClose,
    PmConnect,
    PmData,
    PmDot,
    PmDotVerdict,
    PmHello,
    PmHelo,
    Pmm,
    PmMail,
    PmPull,
    PmPullStatus,
    PmRcpt,
    PmUnknown,
    PmVerdict,
    PmWanted,
    Replacement,
    Stage,
)
from meta1g.tools.rcbcaller import RcbCaller

_PROG: Final = "pmtest"
_TIMEOUT_S: Final = 60.0
_SESSION: Final = "pmtest-1"
_EXPECTED: Final = " => "
_PULLED_MAX_BYTES: Final = 64 << 20


class PmClient(RcbCaller):
    """A connection to a filter, as a server has one; blocking.

    Args:
        place: where the filter listens, see parse_place().
        timeout_s: patience with an answer.

    Raises:
        CliError: nobody listens there.

    Owner: the program.
    """

    def __init__(self, place: SocketPlace, timeout_s: float = _TIMEOUT_S) -> None:
        try:
            super().__init__(place, PROTOCOL, timeout_s)
        except OSError as error:
            raise cli.CliError(f"cannot reach the filter: {error.strerror or error}", sysexits.EX_UNAVAILABLE) from error

    def ask(self, msg: Message) -> Any:
        """Sends a request and gives its answer.  Blocks: yes (until it is there).

        Raises:
            CliError: the filter does not answer.
        """
        try:
            return super().ask(msg)
        except (ProtocolError, OSError) as error:
            reason = error.cause if isinstance(error, ProtocolError) else error.strerror or error
            raise cli.CliError(f"the filter, at {type(msg).__name__}: {reason}", sysexits.EX_SOFTWARE) from error


class Play:
    """One session with a filter.

    Args:
        client: the connection.
        say: takes each line of output.

    Owner: the program.
    """

    def __init__(self, client: PmClient, say: Callable[[str], None]) -> None:
        self._client = client
        self._say = say
        self._values: dict[Pmm, str] = {}
        self._rcpts = 0
        self._enough = False
        hello = PmHello(
            version=PM_VERSION,
            capabilities=int(~Capability(0)),
            functions=int(~Function(0)),
            hostname=socket.gethostname(),
        )
        self.wanted: PmWanted = client.ask(hello)
        self._capabilities = Capability(self.wanted.capabilities)
        functions = Function(self.wanted.functions)
        say(f"filter {printable(self.wanted.name)} wants {_names(self._capabilities)}; changes {_names(functions)}")

    def step(self, word: str, argument: str) -> str:
        """Takes one step; gives the answer, empty if there is none.

        Raises:
            CliError: there is no such step, or its argument is wrong.
        """
        take = _STEPS.get(word)
        if take is None:
            raise cli.CliError(f"no step {word!r}; there are {', '.join(_STEPS)}", sysexits.EX_USAGE)
        return take(self, argument)

    def _macros(self, stage: Stage) -> tuple[MacroValue, ...]:
        asked = [Pmm(one.macro) for one in self.wanted.macros if one.stage == stage]
        return tuple(MacroValue(macro=int(one), value=self._values[one]) for one in asked if one in self._values)

    def _ask(self, stage: Stage, msg: Message) -> str:
        """Asks, if the filter wants to be asked, and looks whether the answer is possible."""
        if not self._capabilities & STAGES[stage].capability:
            return ""
        answer: PmVerdict | PmDotVerdict = self._client.ask(msg)
        if not is_allowed(stage, answer.code, answer.reply):
            raise cli.CliError(f"{stage.name}: {answer.code} {answer.reply} is no possible answer", sysexits.EX_SOFTWARE)
        return _said(answer.code, answer.reply)

    def macro(self, argument: str) -> str:
        """Sets a macro."""
        name, _, value = argument.partition(" ")
        try:
            self._values[Pmm[name.upper().removeprefix("PMM_")]] = value
        except KeyError as error:
            text = f"no macro {name!r}; there are {', '.join(one.name for one in Pmm)}"
            raise cli.CliError(text, sysexits.EX_USAGE) from error
        return ""

    def connect(self, argument: str) -> str:
        """Begins the session; without CNNCT it begins too, since every other message needs it."""
        address, _, name = argument.partition(" ")
        msg = PmConnect(session_id=_SESSION, client_addr=address, client_name=name.strip(), macros=self._macros(Stage.CONNECT))
        answer: PmVerdict = self._client.ask(msg)
        return _said(answer.code, answer.reply)

    def helo(self, argument: str, *, ehlo: bool = False) -> str:
        """Says HELO or EHLO."""
        return self._ask(Stage.HELO, PmHelo(session_id=_SESSION, helo=argument, ehlo=ehlo, macros=self._macros(Stage.HELO)))

    def ehlo(self, argument: str) -> str:
        """Says EHLO."""
        return self.helo(argument, ehlo=True)

    def mail(self, argument: str) -> str:
        """Begins a transaction."""
        self._rcpts, self._enough = 0, False
        address, *args = argument.split()
        macros = self._macros(Stage.MAIL)
        return self._ask(
            Stage.MAIL, PmMail(session_id=_SESSION, ta_id="pmtest-ta", mail=address, args=tuple(args), macros=macros)
        )

    def rcpt(self, argument: str) -> str:
        """Names a recipient."""
        address, *args = argument.split()
        self._rcpts += 1
        macros = self._macros(Stage.RCPT)
        msg = PmRcpt(session_id=_SESSION, rcpt_idx=self._rcpts - 1, rcpt=address, args=tuple(args), macros=macros)
        return self._ask(Stage.RCPT, msg)

    def refused(self, argument: str) -> str:
        """Names a recipient that is refused."""
        address, _, reply = argument.partition(" ")
        if not self._capabilities & Capability.RCPT_ST:
            return ""
        self._rcpts += 1
        msg = PmRcpt(session_id=_SESSION, rcpt_idx=self._rcpts - 1, rcpt=address, status=reply_of(reply))
        return self._ask(Stage.RCPT, msg)

    def data(self, argument: str) -> str:
        """Says DATA."""
        return self._ask(Stage.DATA, PmData(session_id=_SESSION, macros=self._macros(Stage.DATA)))

    def file(self, argument: str) -> str:
        """Sends a message in chunks; gives the last answer."""
        said = ""
        try:
            with Path(argument).open("rb") as lines:
                for chunk in _chunks(lines):
                    said = self._content(chunk)
        except OSError as error:
            raise cli.CliError(f"{argument}: {error.strerror}", sysexits.EX_NOINPUT) from error
        return said

    def text(self, argument: str) -> str:
        """Sends one line of content."""
        return self._content(argument.encode() + b"\r\n")

    def _content(self, data: bytes) -> str:
        if self._enough:
            return ""
        said = self._ask(Stage.MSG, MessageChunk(session_id=_SESSION, data=data))
        self._enough = said not in ("", "cont")
        return said

    def dot(self, argument: str) -> str:
        """Ends the content; prints the changes."""
        if not self._capabilities & Capability.DOT:
            return ""
        msg = PmDot(session_id=_SESSION, macros=self._macros(Stage.DOT))
        answer: PmDotVerdict = self._client.ask(msg)
        if not is_allowed(Stage.DOT, answer.code, answer.reply):
            raise cli.CliError(f"DOT: {answer.code} {answer.reply} is no possible answer", sysexits.EX_SOFTWARE)
        for line in _changes(answer):
            self._say(f"  {line}")
        if answer.replace:
            self._pull()
        return _said(answer.code, answer.reply)

    def _pull(self) -> None:
        """Prints the message that takes the place of this one."""
        pulled, end = 0, False
        while not end:
            piece: Replacement = self._client.ask(PmPull(session_id=_SESSION, pulled=pulled))
            if piece.code:
                self._say(f"  message not replaced: the filter says {piece.code}")
                return
            pulled, end = pulled + len(piece.data), piece.end
            for line in piece.data.decode("utf-8", "surrogateescape").splitlines():
                self._say(f"  message| {printable(line)}")
            if pulled > _PULLED_MAX_BYTES:
                self._client.post(PmPullStatus(session_id=_SESSION, reply=Reply(552, "5.3.4", "Too big")))
                raise cli.CliError(f"the message has more than {_PULLED_MAX_BYTES} bytes", sysexits.EX_DATAERR)
        self._client.post(PmPullStatus(session_id=_SESSION, reply=Reply(250, "2.0.0", "ok")))

    def abort(self, argument: str) -> str:
        """Ends the transaction."""
        self._client.post(PmAbort(session_id=_SESSION))
        return ""

    def close(self, argument: str = "") -> str:
        """Ends the session."""
        self._client.post(PmClose(session_id=_SESSION))
        return ""

    def unknown(self, argument: str) -> str:
        """Sends a command that nobody knows."""
        return self._ask(Stage.UNKNOWN, PmUnknown(session_id=_SESSION, command=argument))


_STEPS: Final[Mapping[str, Callable[[Play, str], str]]] = {
    "connect": Play.connect,
    "helo": lambda play, argument: play.helo(argument),
    "ehlo": Play.ehlo,
    "mail": Play.mail,
    "rcpt": Play.rcpt,
    "refused": Play.refused,
    "data": Play.data,
    "file": Play.file,
    "text": Play.text,
    "dot": Play.dot,
    "abort": Play.abort,
    "unknown": Play.unknown,
    "macro": Play.macro,
    "close": Play.close,
}


def _chunks(lines: Any) -> Iterator[bytes]:
    """Gives a file in chunks whose lines end in CR LF."""
    held = b""
    for line in lines:
        held += line.rstrip(b"\r\n") + b"\r\n"
        while len(held) >= PMILTER_CHUNK_SIZE:
            yield held[:PMILTER_CHUNK_SIZE]
            held = held[PMILTER_CHUNK_SIZE:]
    if held:
        yield held


def _names(flags: Capability | Function) -> str:
    return " ".join(one.name or "" for one in flags) or "nothing"


def _said(code: int, reply: Reply) -> str:
    if code in tuple(Code):
        return Code(code).name.lower()
    return str(reply) if reply.code else str(code)


def _changes(answer: PmDotVerdict) -> Iterator[str]:
    """Gives the changes that a filter asks for, one a line."""
    for one in answer.header:
        field = printable(one.field.decode("utf-8", "surrogateescape"))
        yield f"header {HeaderChange(one.change).name.lower()} {one.position}: {field}"
    yield from (f"add rcpt {printable(rcpt)}" for rcpt in answer.rcpts_added)
    yield from (f"remove rcpt {printable(rcpt)}" for rcpt in answer.rcpts_removed)
    if answer.mail is not None:
        yield f"mail {printable(answer.mail)}"
    if answer.quarantine:
        yield f"quarantine {printable(answer.quarantine)}"


def play(client: PmClient, lines: Iterator[str], say: Callable[[str], None]) -> int:
    """Plays a dialogue; gives the number of answers that were not as expected.

    Raises:
        CliError: a line cannot be understood, or the filter does not keep to the protocol.
    """
    session, wrong = Play(client, say), 0
    for number, line in enumerate(lines, 1):
        text, arrow, expected = line.strip().partition(_EXPECTED)
        word, _, argument = text.strip().partition(" ")
        if not word or word.startswith("#"):
            continue
        try:
            said = session.step(word, argument.strip())
        except (ValueError, cli.CliError) as error:
            code = error.exit_code if isinstance(error, cli.CliError) else sysexits.EX_USAGE
            raise cli.CliError(f"line {number}: {error}", code) from error
        say(f"{text.strip()}: {said or '-'}")
        if arrow and not said.startswith(expected.strip()):
            wrong += 1
            say(f"line {number}: expected {expected.strip()}")
    return wrong


def main(argv: list[str]) -> int:
    """Runs the program; gives its exit code, EX_DATAERR if an answer was not as expected.

    Raises:
        CliError: the filter cannot be reached, or the dialogue is wrong.
    """
    options = _parser().parse_args(argv)
    try:
        lines = (options.dialogue.read_text() if options.dialogue else sys.stdin.read()).splitlines()
    except OSError as error:
        raise cli.CliError(f"{error.filename}: {error.strerror}", sysexits.EX_NOINPUT) from error
    client = PmClient(parse_place(options.socket), options.timeout)
    try:
        wrong = play(client, iter(lines), print)
    finally:
        client.close()
    return sysexits.EX_DATAERR if wrong else sysexits.EX_OK


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(_PROG, "Plays a dialogue against a policy milter and prints what it says and changes.")
    parser.add_argument("socket", metavar="SOCKET", help=f"where the filter listens: {FORMS}")
    parser.add_argument("dialogue", metavar="FILE", nargs="?", type=Path, help="the dialogue; standard input if not given")
    parser.add_argument("-t", dest="timeout", type=float, default=_TIMEOUT_S, metavar="SECONDS", help="patience with an answer")
    return parser


def run() -> None:
    """Is the program of the shell."""
    sys.exit(cli.run_program(_PROG, main))


if __name__ == "__main__":
    run()
