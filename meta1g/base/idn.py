"""Internationalized domain names: U-labels, as people write them, and A-labels, as the DNS has them.

    bücher.example  <->  xn--bcher-kva.example

Both name the same domain; look-ups ask for both.  Conversion is IDNA 2008 with the mapping of UTS 46, so that upper case and
full-width characters do not matter, and two names are one only if the DNS says so (`ß` is not `ss`).

Pure.  Ref: RFC 5890 2.3.2, RFC 5891 4 and 5; RFC 6531 3.7.1.
"""

import re
from typing import Final

_ACE: Final = "xn--"
#: A label of ASCII as the DNS has them in names of mail servers; the mapping makes `>`, blanks and `@` of some characters.
_LABEL: Final = re.compile(r"[A-Za-z0-9_-]{1,63}")


def to_ascii(domain: str) -> str:
    """Gives a domain in A-labels, in lower case; one that has only ASCII stays as it is.

    Raises:
        ValueError: it is none that the DNS could have.
    """
    if domain.isascii():
        return domain
    import idna  # few need it

    labels = idna.uts46_remap(domain, std3_rules=False).split(".")
    return ".".join(_checked(label) if label.isascii() else idna.alabel(label).decode() for label in labels)


def _checked(label: str) -> str:
    if _LABEL.fullmatch(label) is None:
        raise ValueError(f"{label!r} is no label of a domain")
    return label


def address_in_ascii(address: str) -> str:
    """Gives an address with its domain in A-labels if that makes it ASCII, else as it is."""
    local, at, domain = address.rpartition("@")
    if address.isascii() or not local.isascii():
        return address
    try:
        return f"{local}{at}{to_ascii(domain)}"
    except ValueError:
        return address


def _to_unicode(domain: str) -> str:
    """Gives a domain in U-labels.

    Raises:
        ValueError: an A-label of it stands for nothing.
    """
    import idna  # few need it

    return ".".join(idna.ulabel(label) if label.startswith(_ACE) else label for label in domain.split("."))


def forms(domain: str) -> tuple[str, ...]:
    """Gives all ways to write a domain that is in lower case: as it is, and in the other kind of labels if there is one.

    What is no name in IDNA 2008 has only the form in which it came.
    """
    if domain.isascii() and _ACE not in domain:
        return (domain,)
    try:
        other = _to_unicode(domain) if domain.isascii() else to_ascii(domain)
    except ValueError:
        return (domain,)
    return (domain,) if other == domain else (domain, other)
