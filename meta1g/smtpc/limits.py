"""Limits and time-outs of SMTPC.

Ref: RFC 5321 4.5.3.2 (time-outs); the rest is our choice, with the reason beside it.
"""

from typing import Final

#: Commands in one pipelined group: their replies fit into every socket buffer, so neither side can block the other.
PIPELINE_MAX_COMMANDS: Final = 100
#: Content up to this size is read in one piece, if the page cache has it without a wait of its own.
SMALL_CONTENT_BYTES: Final = 128 << 10
#: Content is read and sent in pieces of this size.
CONTENT_CHUNK_BYTES: Final = 64 << 10
#: One read from a server.
READ_BYTES: Final = 16 << 10
#: An idle session is asked by RSET whether it is still alive after this time.
PROBE_AFTER_IDLE_S: Final = 5
#: An idle session that QMGR forgot closes itself after this time.
IDLE_MAX_S: Final = 300
#: How long QUIT may take: nothing depends on its reply.
QUIT_TIMEOUT_S: Final = 2
#: How long a delivery at hand may go on when SMTPC is told to stop.
STOP_GRACE_S: Final = 8
#: Longest text of a server's reply that is passed on.
REPLY_TEXT_MAX_CHARS: Final = 1000
#: Reply bytes that wait unread in one session, beyond the reply at hand.
MICROSECONDS: Final = 1_000_000
