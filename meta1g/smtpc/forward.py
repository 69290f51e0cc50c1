"""XFORWARD to servers that offer it: where a message came from, for their log.

    XFORWARD NAME=client.example ADDR=192.0.2.7 HELO=client.example PROTO=ESMTP IDENT=S00064E96F6D5C5F900 SOURCE=REMOTE

The facts stand in the Received field that smtps has put before the message, whose id nobody else knew.

Pure but for commands_for().  Ref: Postfix, XFORWARD_README; RFC 5321 4.4.
"""

import re
from collections.abc import Iterator
from typing import Final

from meta1g.rcb.smtpc_qmgr import Deliver
from meta1g.smtp import xtext
from meta1g.smtp.esmtp import Ext, Extensions
from meta1g.smtp.xclient import VALUE_MAX_CHARS
from meta1g.smtpc.content import Content

#: As much of a message as is looked at: filters may have put fields before ours.
HEAD_BYTES: Final = 16 << 10
#: A line is not longer than any command (RFC 5321 4.5.3.1.4).
_LINE_MAX_CHARS: Final = 500
_VERB: Final = "XFORWARD"
_UNKNOWN: Final = "[UNAVAILABLE]"
_RECEIVED: Final = re.compile(
    r"^Received: from (\S+) \((?:(\S+) )?\[(IPv6:)?([0-9A-Fa-f:.]+)\]\)\r\n"
    r"\tby \S+ \(meta1g\) with (\S+) id (\S+?)(?:;|\r\n)",
    re.MULTILINE,
)


def commands_for(job: Deliver, content: Content, extensions: Extensions) -> tuple[str, ...]:
    """Gives what is said before a delivery; nothing to a server that does not offer it, and nothing of reports.

    Args:
        job: the delivery.
        content: its content.
        extensions: what the server offers.

    Raises:
        ContentError, TempError: the content cannot be read.

    Switches: yes (offload), unless the content is small and cached.
    """
    if job.dsn_head is not None or not extensions.has(Ext.XFORWARD):
        return ()
    return forwarded(content.head()[:HEAD_BYTES], job.cdb_id, extensions.keywords[Ext.XFORWARD.value])


def forwarded(head: bytes, cdb_id: str, offered: str) -> tuple[str, ...]:
    """Gives the commands that tell where a message came from, without line ends; none if that is not known.

    Args:
        head: the begin of its content.
        cdb_id: id of its content, which is that of the transaction that brought it.
        offered: attributes that the server knows, parted by blanks.
    """
    known = offered.upper().split()
    values = _values(head.decode("ascii", "replace"), cdb_id)
    return tuple(_lines([f"{name}={_text(value)}" for name, value in values.items() if name in known]))


def _values(head: str, cdb_id: str) -> dict[str, str]:
    found = next((one for one in _RECEIVED.finditer(head) if one[6] == cdb_id), None)
    if found is None:
        return {}
    ehlo, name, ipv6, address, protocol, _ = found.groups()
    return {
        "NAME": name or _UNKNOWN,
        "ADDR": f"IPV6:{address}" if ipv6 else address,
        "HELO": ehlo,
        "PROTO": "SMTP" if protocol == "SMTP" else "ESMTP",
        "IDENT": cdb_id,
        "SOURCE": "REMOTE",
    }


def _text(value: str) -> str:
    return xtext.encode(value) if len(value) <= VALUE_MAX_CHARS else _UNKNOWN


def _lines(words: list[str]) -> Iterator[str]:
    line = ""
    for word in words:
        if line and len(line) + len(word) >= _LINE_MAX_CHARS:
            yield line
            line = ""
        line = f"{line or _VERB} {word}"
    if line:
        yield line
