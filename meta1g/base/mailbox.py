"""Mailboxes: what addresses have in common that name the same one.

The local part is taken as it is, the domain in any case of letters (RFC 5321 2.4) and in either kind of labels; what has no
domain is `postmaster`, in any case of letters (RFC 5321 4.5.1):

    joe@bücher.example  joe@BÜCHER.example  joe@XN--bcher-kva.example

Pure.  Ref: RFC 5321 2.4; RFC 5890 2.3.2.4 (equivalence of domain names).
"""

from collections.abc import Iterator

from meta1g.base.idn import forms, to_ascii


def domain_of(address: str) -> str:
    """Gives the domain of an address in lower case, empty if it has none."""
    return address.rpartition("@")[2].lower() if "@" in address else ""


def folded(domain: str) -> str:
    """Gives what all ways to write a domain have in common: A-labels in lower case; what is no name, in lower case."""
    if domain.isascii():
        return domain.lower()
    try:
        return to_ascii(domain)
    except ValueError:
        return domain.lower()


def mailbox_of(address: str) -> str:
    """Gives what all addresses of one mailbox have in common."""
    local, at, domain = address.rpartition("@")
    same = folded(domain)
    return address if same == domain else f"{local}{at}{same}"


def spellings(address: str) -> Iterator[str]:
    """Gives an address, its domain in lower case, in each kind of labels that the domain has."""
    local, at, domain = address.rpartition("@")
    return (f"{local}{at}{one}" for one in forms(domain.lower())) if at else iter((address,))


def bare(address: str) -> str:
    """Gives an address or Message-ID without angle brackets."""
    return address[1:-1] if address.startswith("<") and address.endswith(">") else address
