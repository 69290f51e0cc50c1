"""Limits and times of the state-threads layer.

Pure.  Ref: invariant I4 (every buffer has a bound); the numbers are our choice.
"""

from typing import Final

#: A turn of a thread: so many calls that need not wait, or so many seconds, then others run (invariant I10).  A command of
#: another client waits for one turn of each busy one; giving way costs about a hundredth of this.
TURN_CALLS: Final = 100
TURN_S: Final = 0.0005
#: Unsent bytes of one connection before it is given up: its peer does not read.
WRITE_MAX_BYTES: Final = 16 << 20
#: Greenlets of ended threads that are kept for the next ones.  Our choice: less than 2 MiB.
SPARE_GREENLETS: Final = 64
#: A message that nobody waits for leaves with the next one, but before so long, and before so much waits.
LATE_S: Final = 0.02
LATE_MAX_BYTES: Final = 8 * 1024
#: Socket buffers asked for, both directions: a burst should fit without waiting.
SOCKET_BUFFER_BYTES: Final = 512 * 1024
#: How long the peer may take for the reply to our hello.
HELLO_TIMEOUT_US: Final = 10_000_000
#: How long the sender of a descriptor may take for its message, and for reading our answer.
PASS_FD_TIMEOUT_US: Final = 10_000_000
#: How long after a Unix socket had no place for one more connection it is tried again.
CONNECT_AGAIN_US: Final = 20_000
#: Connections that wait to be accepted on the socket for descriptors: there is one sender.
PASS_FD_BACKLOG: Final = 8
#: Descriptors taken in one message.
PASS_FDS_MAX: Final = 16
#: After an accept that failed for a shortage (no descriptor is left) nothing is accepted for this long.
ACCEPT_PAUSE_US: Final = 100_000
