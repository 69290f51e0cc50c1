"""VERP: the sender carries the recipient, so that whatever comes back tells whom it is about.

    list@from.example  to  user@to.example   ->   list+user=to.example@from.example

Pure.  Ref: D. J. Bernstein, "Variable Envelope Return Paths"; the form of XVERP as in Postfix's VERP_README (modelled on).
"""

import re
from typing import Final

#: Delimiters unless others are asked for: before the recipient, and instead of its @.
DELIMITERS: Final = "+="
_POSSIBLE: Final = "-+="
_DOT_STRING: Final = re.compile(r"[^\s\x00-\x20()<>\[\]:;@\\,.\"\x7f]+(?:\.[^\s\x00-\x20()<>\[\]:;@\\,.\"\x7f]+)*")
_PAIR: Final = re.compile(r"\\(.)")
_TO_QUOTE: Final = re.compile(r'(["\\])')


def are_delimiters(text: str) -> bool:
    """Tells whether text is a pair of delimiters: two of `-`, `+`, `=`."""
    return len(text) == len(DELIMITERS) and all(char in _POSSIBLE for char in text)


def sender_for(sender: str, rcpt: str, delimiters: str = DELIMITERS) -> str:
    """Gives the sender for one recipient.

    Args:
        sender: the reverse-path; the empty one, and one without a domain, stays as it is.
        rcpt: the recipient.
        delimiters: a pair of them.
    """
    local, at, domain = sender.rpartition("@")
    if not at:
        return sender
    user, has_domain, host = rcpt.rpartition("@")
    whom = f"{_plain(user)}{delimiters[1]}{host}" if has_domain else _plain(rcpt)
    return f"{_quoted(f'{_plain(local)}{delimiters[0]}{whom}')}@{domain}"


def _plain(local: str) -> str:
    """Gives a local part without its quotation marks."""
    return _PAIR.sub(r"\1", local[1:-1]) if local.startswith('"') and local.endswith('"') else local


def _quoted(local: str) -> str:
    """Gives a local part, as a quoted string if it has to be one (RFC 5321 4.1.2)."""
    if _DOT_STRING.fullmatch(local):
        return local
    escaped = _TO_QUOTE.sub(r"\\\1", local)
    return f'"{escaped}"'
