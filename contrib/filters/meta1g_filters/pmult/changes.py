"""What several filters want changed in one message, in the words of a policy milter.

A wish that no policy milter can have is a filter's error when it comes, not one of all of them at the end.

Pure.  Ref: docs/filter-pmult.md; docs/pmilter.md.
"""

from collections.abc import Iterable
from typing import Final

from meta1g.milter.changes import AddField, AddRcpt, ChangeField, ChangeSender, DeleteRcpt, FilterChange, HoldMail, InsertField
from meta1g.milter.errors import MilterProtocolError
from meta1g.pmilter import Function, HeaderChange, ModificationError, PmSession
from meta1g.pmilter.modify import REASON_MAX_CHARS, Modifications

FieldChange = AddField | InsertField | ChangeField
_ALL: Final = ~Function(0)


def field_change(change: FieldChange) -> tuple[HeaderChange, bytes, int]:
    """Gives a change of the header as hdr_mod() takes it: kind, field and position; those of milters count from 1."""
    if isinstance(change, AddField):
        return HeaderChange.APPEND, change.name + b":" + change.value, 0
    if isinstance(change, InsertField):
        return HeaderChange.INSERT, change.name + b":" + change.value, change.index
    if change.value:
        return HeaderChange.REPLACE, change.name + b":" + change.value, change.index - 1
    return HeaderChange.REMOVE, change.name, change.index - 1


def _words(change: AddRcpt | ChangeSender) -> tuple[str, list[str]]:
    return _text(change.path), _text(change.params).split()


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "replace").strip()


def check(change: FilterChange) -> None:
    """Looks whether a policy milter can ask for a change.

    Raises:
        MilterProtocolError: it cannot.
    """
    scratch = Modifications(_ALL)
    try:
        if isinstance(change, FieldChange):
            kind, field, position = field_change(change)
            scratch.change_header(kind, position, field)
        elif isinstance(change, AddRcpt):
            path, params = _words(change)
            scratch.add_rcpt(path, params)
        elif isinstance(change, ChangeSender):
            path, params = _words(change)
            scratch.set_mail(path, params)
        elif isinstance(change, DeleteRcpt):
            scratch.remove_rcpt(_text(change.path))
    except ModificationError as error:
        raise MilterProtocolError(str(error)) from error


class AllChanges:
    """The changes of all filters.

    Attributes:
        hold: why the message is to be held, empty if it is not.

    Owner: the message.
    """

    __slots__ = ("_added", "_header", "_removed", "_sender", "hold")

    def __init__(self) -> None:
        self._header: list[FieldChange] = []
        self._added: dict[str, AddRcpt] = {}
        self._removed: dict[str, str] = {}
        self._sender: ChangeSender | None = None
        self.hold = ""

    def add(self, change: FilterChange, rule: str) -> None:
        """Adds a change of a filter; the last word about a recipient or the sender counts."""
        if isinstance(change, FieldChange):
            self._header.append(change)
        elif isinstance(change, AddRcpt):
            self._removed.pop(_key(change.path), None)
            self._added[_key(change.path)] = change
        elif isinstance(change, DeleteRcpt):
            self._added.pop(_key(change.path), None)
            self._removed[_key(change.path)] = _text(change.path)
        elif isinstance(change, ChangeSender):
            self._sender = change
        elif isinstance(change, HoldMail):
            self.hold = f"{rule}: {change.reason}"

    def ask_for(self, session: PmSession, body: Iterable[bytes] | None) -> None:
        """Asks the gateway for all of it, within eom().

        Args:
            session: of the message.
            body: the whole message with its header as it came, if its body is another one.

        Raises:
            ModificationError: all filters together want too much.
        """
        for change in self._header:
            kind, field, position = field_change(change)
            session.hdr_mod(kind, field, position)
        for rcpt in self._added.values():
            path, params = _words(rcpt)
            session.rcpt_add(path, *params)
        for gone in self._removed.values():
            session.rcpt_del(gone)
        if self._sender is not None:
            path, params = _words(self._sender)
            session.mail_set(path, *params)
        if self.hold:
            session.quarantine(_printable(self.hold))
        if body is not None:
            session.msg_replace(body)


def _printable(reason: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in reason)[:REASON_MAX_CHARS]


def _key(path: bytes) -> str:
    """Gives what two paths of one mailbox have in common."""
    local, at, domain = _text(path).strip("<>").rpartition("@")
    return f"{local}{at}{domain.lower()}"
