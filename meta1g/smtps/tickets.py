"""Keys of session tickets: made of a secret and the day, so that all processes that know the secret have the same ones.

A ticket is taken on the day (UTC) that it was given on and on the next one, so that midnight does not bring a full handshake
for everybody; OpenSSL lets none live longer than two hours.

Pure.  Ref: RFC 5077 5.5 and RFC 8446 C.4 (keys are changed often); RFC 5869 2.3 (how they are made).
"""

import hashlib
import hmac
from typing import Final

from meta1g.base.tlsfacts import TICKET_KEYS_BYTES

#: As much as the keys that are made of it are worth.
SECRET_MIN_BYTES: Final = 32
_DAY_S: Final = 86400


def day_of(now_s: float) -> int:
    """Gives the number of a day.

    Args:
        now_s: seconds since the epoch.
    """
    return int(now_s // _DAY_S)


def keys_on(secret: bytes, day: int) -> bytes:
    """Gives what is used on a day: its keys, by which tickets are made, and those of the day before."""
    return ticket_keys(secret, day) + ticket_keys(secret, day - 1)


def ticket_keys(secret: bytes, day: int) -> bytes:
    """Gives the keys of a day, TICKET_KEYS_BYTES.

    Args:
        secret: SECRET_MIN_BYTES or more, known to nobody else.
        day: its number.
    """
    label = f"meta1g session tickets {day}".encode()
    made, block = b"", b""
    for number in range(1, TICKET_KEYS_BYTES):
        block = hmac.new(secret, block + label + bytes((number,)), hashlib.sha256).digest()
        made += block
        if len(made) >= TICKET_KEYS_BYTES:
            break
    return made[:TICKET_KEYS_BYTES]
