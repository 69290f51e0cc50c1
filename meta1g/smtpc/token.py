"""Tokens of OAuth 2: read from a file, or printed by a command, and kept until they end.

What a command prints is the token on one line, or the answer of a token endpoint,
`{"access_token": "...", "expires_in": 3600}`.

Pure.  Ref: RFC 6749 5.1 (the answer), RFC 6750 2.1 (characters of a token).
"""

import json
import math
import re
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.errors import Module, TempError
from meta1g.smtpc.logins import TOKEN_MAX_BYTES

#: A token that does not say when it ends is asked for again after this time.
KEEP_S: Final = 300
#: A token is not used for a session that begins so short before it ends.
MARGIN_S: Final = 30
KEEP_MAX_S: Final = 86400
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token and how long it may be kept, seconds."""

    text: str
    keep_s: int


def parse_token(output: bytes, source: str) -> AccessToken:
    """Reads what a file or a command says.

    Args:
        output: all of it.
        source: names it in errors.

    Raises:
        TempError: it is no token; the text has nothing of it.
    """
    text = output.decode("utf-8", "replace").strip()
    keep_s = KEEP_S
    if text.startswith("{"):
        text, keep_s = _from_json(text, source)
    if len(output) > TOKEN_MAX_BYTES or not _TOKEN.fullmatch(text):
        raise _wrong(source, "gives no token: one line of letters, digits and -._~+/=, or a JSON object with access_token")
    return AccessToken(text, max(0, keep_s))


def _from_json(text: str, source: str) -> tuple[str, int]:
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        raise _wrong(source, "gives JSON that is not whole") from None
    token, expires = answer.get("access_token"), answer.get("expires_in", KEEP_S + MARGIN_S)
    if not isinstance(token, str) or not isinstance(expires, int | float) or math.isnan(expires):
        raise _wrong(source, "gives no access_token, or an expires_in that is no number")
    return token, int(min(max(expires, 0), KEEP_MAX_S)) - MARGIN_S


def _wrong(source: str, what: str) -> TempError:
    return TempError(Module.SMTPC, f"{source} {what}")
