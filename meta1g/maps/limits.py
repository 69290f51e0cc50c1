"""Limits of maps.

Pure.  Ref: MeTA1 design, "Implementation: maps" (SMPO_MAX_OCONN, SMPO_IDLE modelled on).
"""

from typing import Final

#: Seconds between two looks at the time stamp of a map file.  Our choice, because a change may take effect a second later.
CHECK_INTERVAL_S: Final = 1.0
#: Seconds that one answer of a map server may take.  Our choice: well below the patience of an SMTP client.
SOCKET_TIMEOUT_S: Final = 10.0
#: Idle connections kept to one map server.  Our choice: about the number of worker threads.
SOCKET_IDLE_MAX: Final = 8
#: Longest answer of a map server in bytes.  Our choice: room for long configuration snippets and alias lists.
ANSWER_MAX_BYTES: Final = 256 * 1024
#: Most digits of a netstring length; enough for ANSWER_MAX_BYTES.
LENGTH_MAX_DIGITS: Final = 7
#: Bytes taken from a map server at once.
READ_BYTES: Final = 16 * 1024
#: Open handles of one map file that are kept for further look-ups.  Our choice: one for each busy thread.
HANDLES_MAX: Final = 8
#: Largest text file that is taken as a map, in bytes.  Our choice, because all of it is kept in memory.
TEXT_FILE_MAX_BYTES: Final = 64 << 20
#: Longest key given to a regular expression, in characters.  Our choice: an address with its tag (RFC 5321 4.5.3.1.3).
REGEX_KEY_MAX_CHARS: Final = 1024
#: Expressions of one file.  Our choice: asking all of them takes some 20 ms.
REGEX_RULES_MAX: Final = 5_000
#: Steps of the program of one expression.  Our choice: its longest search in the longest key takes some 15 ms (invariant I10).
REGEX_STEPS_MAX: Final = 1_000
#: Memory of one expression, its cache of states included.  Our choice: enough for REGEX_STEPS_MAX.
REGEX_MEMORY_BYTES: Final = 1 << 20
#: First and largest room for an account of the system, in bytes.  Ref: getpwnam_r(3); the numbers are our choice.
PASSWD_BUFFER_BYTES: Final = 4 * 1024
PASSWD_BUFFER_MAX_BYTES: Final = 256 * 1024
#: Most maps inside each other in sequences.  Our choice, because a deeper one is a mistake.
SEQUENCE_DEPTH_MAX: Final = 8
#: A wrong entry is logged once in so many seconds, and so many are remembered for that.  Our choice: not a line for each mail.
WRONG_ENTRY_LOG_S: Final = 10.0
WRONG_ENTRIES_MAX: Final = 1_000
