"""The SMTP reply that a filter of either kind gives in its own words (smfi_setreply, smfi_setmlreply, sm_pmfi_setreply).

Pure.  Ref: sendmail 8, libmilter/docs "smfi_setreply", "smfi_setmlreply"; RFC 5321 4.2, RFC 2034 4.
"""

import re
from typing import Final

from meta1g.base.reply import Reply
from meta1g.milter.errors import MilterProtocolError
from meta1g.milter.limits import REPLY_LINE_MAX_BYTES, REPLY_LINES_MAX

_LINE: Final = re.compile(rb"([45][0-9]{2})(?:([ -])(?:([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$))?(.*))?", re.DOTALL)
#: sendmail took the text for a format, so that filters double a percent sign; a single one is an error of theirs.
_PERCENT: Final = re.compile(rb"%(%?)")
_END_OF_LINE: Final = re.compile(rb"\r?\n")


def parse_reply(text: bytes) -> Reply:
    """Reads a reply: `550 5.7.1 text`, or lines `550-5.7.1 text` with the last one as before.

    Args:
        text: lines end in CR LF or LF, the last one need not.  Enhanced codes may be absent; the first one counts.

    Returns:
        The reply, 4xx or 5xx; octets beyond ASCII as surrogates.

    Raises:
        ValueError: it is none: another class of codes, codes that differ from line to line, an enhanced code of another class,
            too many or too long lines, a line end inside a line.
    """
    lines = _END_OF_LINE.split(text.removesuffix(b"\n").removesuffix(b"\r"), REPLY_LINES_MAX)
    if len(lines) > REPLY_LINES_MAX:
        raise ValueError(f"a reply of more than {REPLY_LINES_MAX} lines")
    matches = [_matched(line) for line in lines]
    code, ecode = matches[0][1], matches[0][3] or b""
    for number, match in enumerate(matches, 1):
        if match[1] != code or (match[2] == b"-") != (number < len(matches)):
            raise ValueError("the lines of a reply do not belong together")
        if match[3] and match[3][:1] != code[:1]:
            raise ValueError(f"enhanced code {match[3].decode()} does not go with {code.decode()}")
    texts = [(match[4] or b"").decode("utf-8", "surrogateescape") for match in matches]
    return Reply(int(code), ecode.decode(), texts[0] if len(texts) == 1 else tuple(texts))


def _matched(line: bytes) -> re.Match[bytes]:
    if len(line) > REPLY_LINE_MAX_BYTES:
        raise ValueError(f"a reply line of more than {REPLY_LINE_MAX_BYTES} bytes")
    match = None if b"\r" in line else _LINE.fullmatch(line)
    if match is None:
        raise ValueError("a reply has to be `4xx text` or `5xx text`")
    return match


def parse_replycode(text: bytes) -> Reply:
    """Reads the reply of a filter of sendmail 8, with its percent signs; see parse_reply().

    Raises:
        MilterProtocolError: it is none.
    """
    try:
        return parse_reply(_PERCENT.sub(rb"\1", text))
    except ValueError as error:
        raise MilterProtocolError(str(error)) from error
