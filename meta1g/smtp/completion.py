"""What a submission server adds to the header of a mail program's message: Message-ID, Date, From, by request Sender.

Fields go before those that are there; nothing that is there is changed, so that signatures keep their sense.

Pure.  Ref: RFC 6409 8.1 to 8.3; RFC 5322 3.6; RFC 6532 (characters beyond ASCII stay as they are).
"""

import re
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.smtp.header import Field, fields

#: A From field that is longer is not compared with the sender; our choice.
_FROM_MAX_BYTES: Final = 64 << 10
#: Of a first line that is longer the beginning tells; the name of a field is short.
_LINE_MAX_BYTES: Final = 1000
_BLANKS: Final = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Missing:
    """What there is to put into fields that a header lacks.

    Args:
        message_id: a new one, in its angle brackets.
        date: the time in the form of RFC 5322.
        mail: the envelope's sender without angle brackets, empty for none.
        sender: who stands in a Sender field if From names somebody else; empty for no such field.
    """

    message_id: str
    date: str
    mail: str
    sender: str = ""


def completion(header: bytes, missing: Missing) -> bytes:
    """Gives the fields to put before a header.

    Args:
        header: the whole header with its line ends, without the empty line.
        missing: what there is for fields that it lacks.
    """
    found: dict[bytes, Field] = {}
    for field in fields(header):
        found.setdefault(field.name.lower(), field)
    added = []
    if b"message-id" not in found:
        added.append(f"Message-ID: {missing.message_id}\r\n")
    if b"date" not in found:
        added.append(f"Date: {missing.date}\r\n")
    author = found.get(b"from")
    if author is None and missing.mail:
        added.append(f"From: <{missing.mail}>\r\n")
    elif author is not None and missing.sender and b"sender" not in found and not _names(author, missing.sender):
        added.append(f"Sender: <{missing.sender}>\r\n")
    return "".join(added).encode("utf-8", "surrogateescape")


def _names(author: Field, mail: str) -> bool:
    """Tells whether From has the sender as its only address; local parts may differ in case, as mail programs have it."""
    if len(author.raw) > _FROM_MAX_BYTES:
        return False
    from email.utils import getaddresses  # loads much, for the submission of mail alone

    text = _BLANKS.sub(" ", author.value.decode("utf-8", "surrogateescape"))
    addresses = [address for _name, address in getaddresses([text])]
    return len(addresses) == 1 and addresses[0].casefold() == mail.casefold()


def has_header(content: bytes) -> bool:
    """Tells whether a message begins with a header, be it an empty one."""
    first = content[:_LINE_MAX_BYTES].partition(b"\r\n")[0]
    return not content or not first or next(fields(first), None) is not None
