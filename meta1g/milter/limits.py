"""Bounds of what a filter may say.

Pure.
"""

from typing import Final

#: MILTER_CHUNK_SIZE, MILTER_MDS_256K and MILTER_MDS_1M of libmilter: most bytes of data in a frame.
CHUNK_64K_BYTES: Final = 65535
CHUNK_256K_BYTES: Final = 256 * 1024 - 1
CHUNK_1M_BYTES: Final = 1024 * 1024 - 1
#: A frame has a code before its data, and may have an index.
FRAME_SLACK_BYTES: Final = 64
#: Words of one command or reply: an address and its parameters.
WORDS_MAX: Final = 64
#: Macro values in one frame, and names in the list of one stage.
MACROS_MAX: Final = 128
#: Changes of one message by one filter, and the bytes of all fields and addresses in them; a new body is counted on its own.
CHANGES_MAX: Final = 2_000
CHANGES_MAX_BYTES: Final = 1024 * 1024
#: Name of a field (RFC 5322 2.1.1: it must fit a line).
FIELD_NAME_MAX_BYTES: Final = 997
#: smfi_setmlreply takes 32 lines of 980 bytes.
REPLY_LINES_MAX: Final = 32
REPLY_LINE_MAX_BYTES: Final = 980
#: The reason of a quarantine, as it is kept.
REASON_MAX_BYTES: Final = 200
#: What filters that do not answer each step have not been sent yet.
FILTER_UNSENT_BYTES: Final = 64 << 10
#: A filter that says that it is at work gets its time anew, so often in all: a client waits 10 minutes at the end of a message
#: (RFC 5321 4.5.3.2.6).
FILTER_TIMES: Final = 4
