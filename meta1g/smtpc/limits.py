"""Limits and time-outs of SMTPC.

Ref: RFC 5321 4.5.3.2 (time-outs); the rest is our choice, with the reason beside it.
"""

from typing import Final

#: Commands in one pipelined group: their replies fit into every socket buffer, so neither side can block the other.
PIPELINE_MAX_COMMANDS: Final = 100
#: Content up to this size is read in one piece, if the page cache has it without a wait of its own.
SMALL_CONTENT_BYTES: Final = 128 << 10
#: Content up to this size is read before the envelope is sent, and kept until it is its turn: damage is noticed before the
#: server hears of the message.  More would be much memory in many sessions that wait for their servers.
HELD_CONTENT_BYTES: Final = 16 << 10
#: A report returns at most so much of the header of a message; it is in memory as a whole.
RETURNED_HEADER_BYTES: Final = 64 << 10
#: Content is read and sent in pieces of this size.
CONTENT_CHUNK_BYTES: Final = 64 << 10
#: One read from a server.
READ_BYTES: Final = 16 << 10
#: Replies that nobody asked for are kept up to this number: one may be a refusal ahead of time, more only cost memory.
UNASKED_REPLIES_MAX: Final = 1
#: The next address of a server is tried after this time without a connection.  Ref: RFC 8305 5.
ATTEMPT_DELAY_US: Final = 250_000
#: An address that could not be reached comes last for so long: as long as QMGR leaves a destination alone.
UNREACHED_S: Final = 60
#: Such addresses that are remembered.
UNREACHED_MAX: Final = 1000
#: An idle session is asked by RSET whether it is still alive after this time.
PROBE_AFTER_IDLE_S: Final = 5
#: An idle session that QMGR forgot closes itself after this time.
IDLE_MAX_S: Final = 300
#: How long the handshake of TLS may take.
HANDSHAKE_TIMEOUT_S: Final = 60
#: How long QUIT may take: nothing depends on its reply.
QUIT_TIMEOUT_S: Final = 2
#: After the final dot, what is no answer (3xx, a line that is no reply) may be followed by the answer for so long: who gives
#: up at once delivers the message once more.
LATE_REPLY_S: Final = 5
#: A whole delivery takes no longer, whatever its steps may take each; QMGR gives it up after four hours, and trying the
#: message again while the server may still accept it would double it.
DELIVERY_MAX_S: Final = 3 * 3600
#: A probe of an address takes no longer once the session is open: nobody waits longer for its answer.
PROBE_MAX_S: Final = 120
#: How long a delivery at hand may go on when SMTPC is told to stop.
STOP_GRACE_S: Final = 8
#: Longest text of a server's reply that is passed on.
REPLY_TEXT_MAX_CHARS: Final = 1000
#: Longest text of all replies in one result: QMGR takes no frame of more than 8 MiB, whatever a server answers to 10,000
#: recipients.
RESULT_TEXT_MAX_CHARS: Final = 4 << 20
#: A result of more recipients is logged by a thread of its own, in fair turns (invariant I10): about 20 us a line.
LOG_AT_ONCE_LINES: Final = 100
#: Longest text of a contained failure that QMGR is told.
CONTAINED_TEXT_MAX_CHARS: Final = 500
MICROSECONDS: Final = 1_000_000
#: A command that prints a token is killed after this time: a session waits for it.
TOKEN_TIMEOUT_S: Final = 30
#: Tokens that are kept; each login has one.
TOKENS_KEPT: Final = 1000
#: Challenges of one AUTH that are answered: no mechanism has more than three, and a server that never ends costs a session.
CHALLENGES_MAX: Final = 5
#: Pieces of configuration for servers that are kept as settings.  Our choice: an access map has few that differ.
SNIPPETS_KEPT: Final = 1000
