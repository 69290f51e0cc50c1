"""Sizes of the SMTP protocol.

Ref: RFC 5321 4.5.3.1; RFC 1870; RFC 3461 4 (additions of extensions); the rest is our choice, with the reason beside it.
"""

from typing import Final

#: RFC 5321 4.5.3.1.4: a command line with its CR LF.
COMMAND_LINE_MAX_BYTES: Final = 512
#: MAIL and RCPT with the parameters of all extensions: SIZE 26 (RFC 1870), BODY 17, AUTH 500 (RFC 4954), SMTPUTF8 10,
#: RET 8 and ENVID 107, NOTIFY 28 and ORCPT 500 (RFC 3461), BY 17 (RFC 2852), MT-PRIORITY 15 (RFC 6710), rounded up.
PARAMETER_LINE_MAX_BYTES: Final = 2048
#: RFC 4954 4: an AUTH exchange line.
AUTH_LINE_MAX_BYTES: Final = 12288
#: RFC 5321 4.5.3.1.6: a text line with its CR LF, without the stuffed dot.
TEXT_LINE_MAX_BYTES: Final = 1000

#: RFC 5321 4.5.3.1.1 asks for at least 64; VERP, SRS and BATV make longer ones.
LOCAL_PART_MAX_BYTES: Final = 256
#: RFC 5321 4.5.3.1.2.
DOMAIN_MAX_BYTES: Final = 255
#: RFC 1035 2.3.4.
LABEL_MAX_BYTES: Final = 63
#: RFC 5321 4.5.3.1.3 asks for at least 254 between the brackets; this is what the longest parts make.
ADDRESS_MAX_BYTES: Final = LOCAL_PART_MAX_BYTES + 1 + DOMAIN_MAX_BYTES

#: RFC 1870 3: at most 20 digits.
SIZE_MAX_DIGITS: Final = 20
#: RFC 3461 4.4 and 4.2.
ENVID_MAX_CHARS: Final = 100
ORCPT_MAX_CHARS: Final = 500
#: RFC 2852 4: digits of a time in seconds.
BY_MAX_DIGITS: Final = 9
#: RFC 6710 2: priorities are from -9 to 9.
PRIORITY_MAX: Final = 9

#: RFC 4954 3: AUTH= adds 500 characters to MAIL.
AUTH_MAX_CHARS: Final = 500

#: A reply line that we read; more than the RFC allows, since servers write longer ones.
PEER_REPLY_LINE_MAX_BYTES: Final = 2048
#: Lines of one reply that are kept; our choice, because no server offers half as many extensions.
PEER_REPLY_MAX_LINES: Final = 128
#: Lines of one reply that are read; who writes more has no end.
PEER_REPLY_LINES_END: Final = 1024
