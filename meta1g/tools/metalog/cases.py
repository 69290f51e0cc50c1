"""What became of a message or session and of each recipient, by the events of its story.

One table tells what an event means for a recipient (_RCPT_EVENTS), one what it means for the message or session as a whole
(_WHOLE_EVENTS).  The last event of a recipient decides, but a line of
an earlier event whose time is later, since a clock was set back, undoes no end.

Pure.  Ref: base/events.py (the events); docs/metalog.md.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from enum import StrEnum
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.mailbox import bare, mailbox_of
from meta1g.tools.metalog.lines import LogLine

#: In words, for those of whom no line says more.
NOT_TRIED: Final = "in the queue, not tried yet"


class RcptFate(StrEnum):
    """What became of a recipient."""

    OFFERED = "offered"  # accepted at RCPT; the message is not whole yet
    QUEUED = "queued"
    DELIVERED = "delivered"
    WAITS = "waits"
    FAILED = "failed"
    EXPANDED = "expanded"
    HELD = "held"
    REMOVED = "removed"
    DISCARDED = "discarded"
    REFUSED = "refused"
    LOST = "lost"


#: Nothing more will happen to it.
FINAL: Final = frozenset(RcptFate) - {RcptFate.OFFERED, RcptFate.QUEUED, RcptFate.WAITS, RcptFate.HELD}


@dataclass(slots=True)
class RcptCase:
    """One recipient.  Owner: the case.

    Args:
        rcpt: its address.
        fate: what became of it.
        text: in words, without how long it took.
        tries: deliveries that were tried, as QMGR counts them.
        attempts: the same by the lines of SMTPC.
        delay_ms: time in the queue until then, in milliseconds; -1 if no line says.
        report: it is not one of the message, but gets a report.
        of: the alias that it is a member of.
        members: of an alias, as far as the log names them.
        count: how many members it has.
        owner: envelope sender for them, empty if it stays.
        about: the recipients that a report tells of.
        first: the line that it was found in.
        last: the line that its fate is from.
    """

    rcpt: str
    fate: RcptFate = RcptFate.OFFERED
    text: str = ""
    tries: int = 0
    attempts: int = 0
    delay_ms: float = -1.0
    report: bool = False
    of: str = ""
    members: tuple[str, ...] = ()
    count: int = 0
    owner: str = ""
    about: "tuple[RcptCase, ...]" = ()
    first: LogLine | None = None
    last: LogLine | None = None

    @property
    def is_named_by_client(self) -> bool:
        """The client named it at RCPT; others are members of aliases and recipients of reports."""
        return self.first is not None and self.first.func.startswith("smtps.")


@dataclass(slots=True)
class Case:
    """A message or session.  Owner: who asks.

    Args:
        mail: its sender; None if no line says.
        rcpts: its recipients by index, or by address if they never got one.
    """

    mail: str | None = None
    size_bytes: int | None = None
    client: str = ""
    msgid: str = ""
    accepted: bool = False
    rcpts: dict[str, RcptCase] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)  # what was refused outside of recipients, and how often
    mailboxes: set[str] = field(default_factory=set)  # of its recipients
    unreported: list[RcptCase] = field(default_factory=list)  # failed, and no report tells of them yet

    @property
    def is_over(self) -> bool:
        """Nothing more will happen: all recipients, and all members of aliases, have got their fate."""
        rcpts = self.rcpts.values()
        if any(one.fate not in FINAL for one in rcpts) or (self.accepted and not rcpts):
            return False
        aliases = [one for one in rcpts if one.fate is RcptFate.EXPANDED]
        if not aliases:
            return True
        known = {mailbox_of(one.rcpt) for one in rcpts}
        members = sum(1 for one in rcpts if not one.report and not one.is_named_by_client)
        return members >= sum(one.count for one in aliases) and all(
            mailbox_of(member) in known for one in aliases for member in one.members
        )


# -- words of a line ---------------------------------------------------------------------------------------------------


def said(line: LogLine) -> str:
    """Gives a reply as the line has it: code, enhanced code, text."""
    words = [line.get("reply"), line.get("ecode")] if line.get("reply") != "0" else []
    text = " ".join(word for word in words if word)
    if line.stat == "ok":
        return text
    return line.stat if line.stat.startswith(text) else f"{text} {line.stat}"


def by(line: LogLine) -> str:
    """Gives what decided: map and key, empty if the line names none."""
    return " ".join(word for word in (line.get("map"), line.get("key")) if word)


def _because(line: LogLine) -> str:
    return f"{said(line)} (by {by(line)})" if by(line) else said(line)


def _as(line: LogLine) -> str:
    """Tells who a client said it is, and what is wrong with that."""
    who = f" as {line.get('auth')}" if line.get("auth") else ""
    return f"{who} ({line.get('answer')})" if line.get("answer") else who


def _server(line: LogLine) -> str:
    name, _, address = line.get("relay").rstrip("]").partition("[")
    return f"[{address}]" if name == address else line.get("relay") or "a server"


# -- recipients --------------------------------------------------------------------------------------------------------

Words = Callable[[LogLine], str]
_RCPT_EVENTS: Final[Mapping[str, tuple[RcptFate, Words]]] = {
    "smtps.rcpt": (RcptFate.OFFERED, lambda line: ""),
    "smtps.rcpt_refused": (RcptFate.REFUSED, lambda line: f"refused at RCPT: {_because(line)}"),
    "smtps.rcpt_discarded": (RcptFate.DISCARDED, lambda line: f"discarded by {by(line) or said(line)}"),
    "qmgr.delivered": (RcptFate.DELIVERED, lambda line: f"delivered to {_server(line)}: {said(line)}"),
    "qmgr.deferred": (RcptFate.WAITS, lambda line: f"waits until {line.get('next_try')}: {said(line)}"),
    "qmgr.failed": (RcptFate.FAILED, lambda line: f"bounced: {said(line)}"),
    "qmgr.expired": (RcptFate.FAILED, lambda line: f"expired: {said(line).replace(_EXPIRED, '', 1)}"),
    "qmgr.smaller": (RcptFate.EXPANDED, lambda line: f"too large, goes in smaller ones: {said(line)}"),
    "qmgr.alias": (RcptFate.EXPANDED, lambda line: f"expanded to {line.get('count')} recipients"),
    "qmgr.held": (RcptFate.HELD, lambda line: line.stat if line.stat.startswith("held") else f"held: {line.stat}"),
    "qmgr.hold": (RcptFate.HELD, lambda line: f"held {line.stat}"),
    "qmgr.released": (RcptFate.QUEUED, lambda line: f"released {line.stat}"),
    "qmgr.retried": (RcptFate.QUEUED, lambda line: f"to be tried again {line.stat}"),
    "qmgr.requeued": (RcptFate.QUEUED, lambda line: f"begins anew {line.stat}"),
    "qmgr.removed": (RcptFate.REMOVED, lambda line: f"removed {line.stat}"),
    "qmgr.bounced": (RcptFate.QUEUED, lambda line: f"given up {line.stat}"),
    "qmgr.bounce": (RcptFate.QUEUED, lambda line: ""),
    "qmgr.report": (RcptFate.QUEUED, lambda line: ""),
}
_REPORTS: Final = ("qmgr.bounce", "qmgr.report")
#: Events that come before the end: if a clock was set back they have a later time, and do not undo it.  An operator may.
_BEFORE_THE_END: Final = ("smtps.rcpt", "qmgr.deferred", *_REPORTS)
_ENDED: Final = frozenset({RcptFate.DELIVERED, RcptFate.FAILED, RcptFate.REMOVED})
#: Fates that end an attempt: how long it took is told.
_TIMED: Final = frozenset({RcptFate.DELIVERED, RcptFate.FAILED, RcptFate.WAITS})
_EXPIRED: Final = "delivery time expired; "
#: One line for each attempt at a server.
_ATTEMPT: Final = "smtpc.deliver"


def _rcpt(case: Case, line: LogLine) -> None:
    index, rcpt = line.get("rcpt_idx"), bare(line.get("rcpt"))
    if line.func == "smtps.rcpt":
        if mailbox_of(rcpt) in case.mailboxes:
            return  # the queue joins it with the one that was there: no other line will name it
        case.mailboxes.add(mailbox_of(rcpt))
    one = case.rcpts.setdefault(index or rcpt, RcptCase(rcpt, first=line))
    one.first = line if line.func == "smtps.rcpt" else one.first
    late = line.func in _BEFORE_THE_END and one.fate in _ENDED
    if not late:
        _decide(one, line)
    one.report = one.report or line.func in _REPORTS
    one.members += tuple(member for member in line.get("members").split() if not member.endswith("..."))  # that one was cut
    one.owner = line.get("owner") or one.owner
    if line.func == "qmgr.alias":
        one.count += line.number("count")
    if line.func == "qmgr.bounce":
        one.about = tuple(case.unreported[: line.number("count")])
        del case.unreported[: len(one.about)]
    elif line.func == "qmgr.report":
        one.about += tuple(case.rcpts[told] for told in line.get("told").split() if told in case.rcpts)
    elif one.fate is RcptFate.FAILED and not late:
        case.unreported.append(one)
    one.tries = max(one.tries, line.number("tries") + (one.fate is RcptFate.DELIVERED))


def _decide(one: RcptCase, line: LogLine) -> None:
    one.fate, words = _RCPT_EVENTS[line.func]
    one.text, one.last = words(line), line
    one.delay_ms = line.milliseconds("delay_ms") if one.fate in _TIMED else -1.0


# -- the whole ---------------------------------------------------------------------------------------------------------

_WHOLE_EVENTS: Final[Mapping[str, Words]] = {
    "smtps.connect_refused": lambda line: f"refused at connect: {_because(line)}",
    "smtps.command_refused": lambda line: f"refused at {line.get('command') or 'a command'}: {_because(line)}",
    "smtps.mail_refused": lambda line: f"refused at MAIL: {_because(line)}",
    "smtps.message_refused": lambda line: f"refused after DATA: {_because(line)}",
    "smtps.message_discarded": lambda line: f"discarded by {by(line)}" if by(line) else f"discarded: {said(line)}",
    "smtps.message_lost": lambda line: f"lost: {line.stat}",
    "smtps.too_many": lambda line: f"session ended: {_because(line)}",
    "smtps.timed_out": lambda line: f"timed out: {said(line)}",
    "smtps.milter_changed": lambda line: f"milter {line.get('key')}: {line.stat}",
    "smtps.auth_failed": lambda line: f"refused at AUTH{_as(line)}: {_because(line)}",
    "smtps.tls_failed": lambda line: f"TLS failed: {line.stat}",
    "smtps.tls_injection": lambda line: f"STARTTLS: {line.stat}",
    "smtps.proxy_refused": lambda line: f"proxy: {line.stat}",
    "smtps.closed": lambda line: f"session ended: {said(line)}",
}
#: Those that decide of recipients that were accepted before.
_DECIDE: Final = {
    "smtps.message_refused": RcptFate.REFUSED,
    "smtps.message_discarded": RcptFate.DISCARDED,
    "smtps.message_lost": RcptFate.LOST,
    "smtps.timed_out": RcptFate.LOST,
}
_ACCEPTED: Final = ("smtps.message", "qmgr.accept")
#: Events that say what becomes of a message, recipient or session.
KNOWN: Final = frozenset({*_RCPT_EVENTS, *_WHOLE_EVENTS, *_ACCEPTED, _ATTEMPT})


def _whole(case: Case, line: LogLine) -> None:
    if line.func == "smtps.message_lost" and line.get("rcpts") == "0":
        return  # it was over before: nobody was to get it
    text = _WHOLE_EVENTS[line.func](line)
    case.notes[text] = case.notes.get(text, 0) + 1
    if line.func in _DECIDE and line.get("ss_ta"):
        for one in case.rcpts.values():
            if one.fate is RcptFate.OFFERED:
                one.fate, one.text = _DECIDE[line.func], text


def judge(lines: Iterable[LogLine], ta_id: str = "") -> Case:
    """Goes through the lines of a story in the order of time.

    Args:
        lines: the lines.
        ta_id: the story is that of this transaction: what its session has beside it does not count.
    """
    case = Case()
    for line in lines:
        take(case, line, ta_id)
    settle(case)
    return case


def take(case: Case, line: LogLine, ta_id: str = "") -> None:
    """Adds the next line to a case; arguments as those of judge()."""
    if line.get("client"):
        case.client = client_of(line) or case.client
    if line.get("ss_ta") != ta_id:
        return
    if case.mail is None or line.func not in _RCPT_EVENTS:  # members of lists and reports have other senders
        case.mail = line.keys.get("mail", case.mail)
    case.size_bytes = line.number("size") if line.get("size") else case.size_bytes
    case.msgid = line.get("msgid") or case.msgid
    if line.func in _RCPT_EVENTS:
        _rcpt(case, line)
    elif line.func == _ATTEMPT:
        index, rcpt = line.get("rcpt_idx"), line.get("rcpt")
        case.rcpts.setdefault(index or rcpt, RcptCase(rcpt, RcptFate.QUEUED, first=line)).attempts += 1
    elif line.func in _WHOLE_EVENTS:
        _whole(case, line)
    elif line.func in _ACCEPTED:
        case.accepted = True


def settle(case: Case) -> None:
    """Draws the conclusions from all lines."""
    for one in case.rcpts.values():
        if one.fate is RcptFate.OFFERED and case.accepted:
            one.fate, one.text = RcptFate.QUEUED, NOT_TRIED
    _members(case)
    if case.is_over:
        for one in case.unreported:
            one.text = f"{one.text.replace('bounced:', 'failed:', 1)}; nobody is told"


def client_of(line: LogLine) -> str:
    """Gives the client as `name [address]`."""
    name, address = line.get("client_name").strip("[]"), line.get("client")
    return f"{name} [{address}]" if name and name != address else f"[{address}]"


def _members(case: Case) -> None:
    """Says whose members recipients are that no client named."""
    aliases = [one for one in case.rcpts.values() if one.fate is RcptFate.EXPANDED]
    named = {member.lower(): one.rcpt for one in aliases for member in one.members}
    for one in case.rcpts.values():
        of = named.get(one.rcpt.lower(), "")
        if of != one.rcpt and not one.report and not one.is_named_by_client:
            one.of = of
