"""The changes that a filter makes to a message at its end: checked, bounded, in the order in which they were asked for.

Pure.  Ref: MeTA1 pmilter API (sm_pmfi_hdr_mod, rcpt_add, rcpt_del, mail_set, msg_replace modelled on); RFC 5322 2.2.
"""

import re
from collections.abc import Iterable
from typing import Final

from meta1g.base.errors import Module, PermError
from meta1g.rcb.smtps_pmilter import MODIFICATIONS_MAX, Function, HeaderChange, HeaderModification

#: Longest header field that a filter may add.  Ref: invariant I4; our choice: more than any field of real mail.
FIELD_MAX_BYTES: Final = 256 * 1024
#: Longest address with its brackets.  Ref: RFC 5321 4.5.3.1.3.
PATH_MAX_CHARS: Final = 1000
#: Longest reason of a quarantine.  Ref: our choice, as for filters of sendmail 8.
REASON_MAX_CHARS: Final = 200
_FIELD: Final = re.compile(rb"[!-9;-~]+[ \t]*:[^\r\n\0]*(?:\r\n[ \t][^\r\n\0]*)*")
_NAME: Final = re.compile(rb"[!-9;-~]+:?")
_PATH: Final = re.compile(r"<[^<>\0-\x1f\x7f]*>")
#: The same, and parameters as in MAIL and RCPT.
_PATH_AND_PARAMETERS: Final = re.compile(_PATH.pattern + r"(?: [A-Za-z0-9][A-Za-z0-9-]*(?:=[!-~]+)?)*")


class ModificationError(PermError):
    """A filter asked for what cannot be done."""

    def __init__(self, cause: str) -> None:
        super().__init__(Module.PMILTER, cause)


def field_of(change: HeaderChange, text: bytes) -> bytes:
    """Gives a header field as it is sent: lines end in CR LF, and none follows the last.

    Args:
        change: what is done with it; to remove one its name is enough.
        text: the field; LF alone ends a line too.

    Raises:
        ModificationError: it is no field, or too long.
    """
    field = re.sub(rb"\r?\n", b"\r\n", text.rstrip(b"\r\n"))
    if len(field) > FIELD_MAX_BYTES:
        raise ModificationError(f"a header field of {len(field)} bytes; at most {FIELD_MAX_BYTES} are possible")
    if _FIELD.fullmatch(field) or (change is HeaderChange.REMOVE and _NAME.fullmatch(field)):
        return field
    raise ModificationError(f"not a header field: {field[:60]!r}")


def path_of(path: str) -> str:
    """Gives an address with its brackets.

    Raises:
        ModificationError: it cannot be one.
    """
    text = path if path.startswith("<") else f"<{path}>"
    if len(text) > PATH_MAX_CHARS or not _PATH.fullmatch(text):
        raise ModificationError(f"not an address: {path[:60]!r}")
    return text


def _path_with(path: str, args: Iterable[str]) -> str:
    """Gives an address with its brackets and parameters; a path may bring its own."""
    text = " ".join((path if path.startswith("<") else path_of(path), *args))
    if len(text) > PATH_MAX_CHARS or not _PATH_AND_PARAMETERS.fullmatch(text):
        raise ModificationError(f"not an address with parameters: {text[:80]!r}")
    return text


class Modifications:
    """What shall be changed.

    Args:
        allowed: Functions that were agreed on.

    Attributes:
        header: changes of the header, in order.
        added: recipients to add.
        removed: recipients to remove.
        mail: the new sender, None for the old one.
        replaced: another message takes the place of this one.
        quarantine: why the message is held, empty if it is not.

    Owner: the session.
    """

    __slots__ = ("_allowed", "added", "header", "mail", "quarantine", "removed", "replaced")

    def __init__(self, allowed: Function) -> None:
        self._allowed = allowed
        self.header: list[HeaderModification] = []
        self.added: list[str] = []
        self.removed: list[str] = []
        self.mail: str | None = None
        self.replaced = False
        self.quarantine = ""

    def __bool__(self) -> bool:
        return bool(self.header or self.added or self.removed or self.replaced or self.mail is not None or self.quarantine)

    def change_header(self, change: HeaderChange, position: int, field: bytes) -> None:
        """Adds a change of the header; see HeaderModification.

        Raises:
            ModificationError: it was not agreed on, is no field, or is one too many.
        """
        self._may(Function.HDR_MOD, len(self.header))
        if position < 0:
            raise ModificationError(f"position {position} of a header field is less than 0")
        self.header.append(HeaderModification(change=int(change), position=position, field=field_of(change, field)))

    def add_rcpt(self, rcpt: str, args: Iterable[str] = ()) -> None:
        """Adds a recipient, with parameters as in RCPT; raises as change_header()."""
        self._may(Function.RCPT_ADD, len(self.added))
        self.added.append(_path_with(rcpt, args))

    def remove_rcpt(self, rcpt: str) -> None:
        """Removes a recipient; raises as change_header()."""
        self._may(Function.RCPT_DEL, len(self.removed))
        self.removed.append(path_of(rcpt))

    def set_mail(self, mail: str, args: Iterable[str] = ()) -> None:
        """Sets the sender, with parameters as in MAIL; raises as change_header()."""
        self._may(Function.MAIL_SET, 0)
        self.mail = _path_with(mail, args)

    def replace(self) -> None:
        """Lets another message take the place of this one; raises as change_header()."""
        self._may(Function.MSG_RPLC, 0)
        self.replaced = True

    def hold(self, reason: str) -> None:
        """Has the message held; raises as change_header()."""
        self._may(Function.QUARANTINE, 0)
        if not 0 < len(reason) <= REASON_MAX_CHARS or not reason.isprintable():
            raise ModificationError(f"a reason has 1 to {REASON_MAX_CHARS} printable characters: {reason[:60]!r}")
        self.quarantine = reason

    def _may(self, function: Function, count: int) -> None:
        if not self._allowed & function:
            raise ModificationError(f"{function.name} was not agreed on when the filter and the server met")
        if count >= MODIFICATIONS_MAX:
            raise ModificationError(f"more than {MODIFICATIONS_MAX} changes of a kind")
