"""The domains of the author: those of the addresses in From.

Readers see From, so a message may not hide a second address from the check: all addresses of all From fields count.  What
stands in comments and quotation marks is none of them.

Pure.  Ref: RFC 5322 3.4, 3.6.2, 4.4; RFC 7489 6.6.1; RFC 9989 5.3.1.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from meta1g.base.idn import to_ascii
from meta1g_filters.fieldtext import bare_text

#: Domains of one message that are looked at.  Our choice: a message with more authors is nobody's.
AUTHORS_MAX: Final = 5
#: Text of all From fields that is looked at.  Our choice: as above, and a person reads less.
FROM_MAX_BYTES: Final = 64 << 10
_MANY: Final = tuple(f"{number}.invalid" for number in range(AUTHORS_MAX + 1))
_DOMAIN: Final = re.compile(r"[0-9A-Za-z_-]+(?:\.[0-9A-Za-z_-]+)+")


def author_domains(values: Iterable[bytes]) -> tuple[str, ...]:
    """Gives the domains, each once, in A-labels and lower case.

    Args:
        values: of all From fields, without the name and the colon.

    Returns:
        The domains, more than AUTHORS_MAX also for fields of more than FROM_MAX_BYTES; an empty text stands for an address
        that has none.
    """
    texts = list(values)
    if sum(map(len, texts)) > FROM_MAX_BYTES:
        return _MANY
    found = [_domain(one) for text in texts for one in _addresses(bare_text(text.decode("utf-8", "replace"), "q"))]
    return tuple(dict.fromkeys(found))


def _addresses(text: str) -> Iterator[str]:
    """Parts a list at commas outside of angle brackets; groups end in `;`, their names in `:`."""
    for part in re.findall(r"(?:<[^<>]*>?|[^,;<])+", text):
        inside = re.findall(r"<([^<>]*)", part)
        bare = part.rpartition(":")[2]
        yield from inside
        if not inside and bare.strip():
            yield bare


def _domain(address: str) -> str:
    domain = address.rpartition("@")[2] if "@" in address else ""
    try:
        name = to_ascii(re.sub(r"\s", "", domain)).lower().removesuffix(".")
    except ValueError:
        return ""
    return name if _DOMAIN.fullmatch(name) else ""
