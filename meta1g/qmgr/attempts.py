"""What became of each attempt to deliver a recipient: a short list in its record, so that it outlives restarts and log files.

The same answer of the same server is one entry that counts; a recipient that is deferred for days has one or two.  Beyond
ATTEMPTS_MAX different ones the oldest goes (invariant I4).

Pure.  Ref: behaviour of tools (qmgrctl show); docs/operating.md.
"""

from dataclasses import replace
from typing import Final

from meta1g.base.reply import Reply
from meta1g.rcb.envelope import Attempt, RcptRecord

#: Different answers that are kept.
ATTEMPTS_MAX: Final = 8
#: Characters of each that are kept.
_TEXT_MAX_CHARS: Final = 200


def with_attempt(record: RcptRecord, reply: Reply, now: float) -> RcptRecord:
    """Gives the record of a recipient with one more attempt.

    Args:
        record: the recipient.
        reply: what was said, and by whom.
        now: seconds since the epoch.
    """
    said = replace(reply, text=reply.one_line[:_TEXT_MAX_CHARS])
    others = [one for one in record.attempts if one.reply != said]
    same = next((one for one in record.attempts if one.reply == said), None)
    latest = Attempt(reply=said, first=now, last=now) if same is None else replace(same, count=same.count + 1, last=now)
    return replace(record, attempts=(*others[-(ATTEMPTS_MAX - 1) :], latest))
