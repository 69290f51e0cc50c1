"""What became of each attempt to deliver a recipient: a short list in its record, so that it outlives restarts and log files.

The same answer of the same server is one entry that counts; a recipient that is deferred for days has one or two.  Beyond
ATTEMPTS_MAX different ones the oldest goes (invariant I4).

Pure but for the recipient in AQ.  Ref: docs/operating.md, "Looking".
"""

from dataclasses import replace
from typing import Final

from meta1g.base.reply import Reply
from meta1g.db.aq_types import AqRcpt
from meta1g.rcb.envelope import Attempt, RcptRecord

#: Different answers that are kept.
ATTEMPTS_MAX: Final = 8
#: Characters of each that are kept.
_TEXT_MAX_CHARS: Final = 200


def note_attempt(rcpt: AqRcpt, reply: Reply, now: float) -> None:
    """Notes what became of a recipient at the server that it was tried at.  Caller holds AQ.

    Args:
        rcpt: the recipient.
        reply: what was said, and by whom.
        now: seconds since the epoch.
    """
    server = ""
    if rcpt.servers:
        server = f"{rcpt.server.host}[{rcpt.server.addr}]" if rcpt.server.host else rcpt.server.addr
    rcpt.record = with_attempt(rcpt.record, server, reply, now)


def with_attempt(record: RcptRecord, server: str, reply: Reply, now: float) -> RcptRecord:
    """Gives the record of a recipient with one more attempt.

    Args:
        record: the recipient.
        server: `name[address]`, empty if none was asked.
        reply: what was said, and by whom.
        now: seconds since the epoch.
    """
    said = reply.cut(_TEXT_MAX_CHARS)
    same = next((one for one in record.attempts if (one.server, one.reply) == (server, said)), None)
    others = [one for one in record.attempts if one is not same]
    latest = Attempt(server=server, reply=said, first=now, last=now)
    if same is not None:
        latest = replace(latest, count=same.count + 1, first=same.first)
    return replace(record, attempts=(*others[-(ATTEMPTS_MAX - 1) :], latest))
