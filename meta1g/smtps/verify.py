"""Which addresses an smtps section wants to be probed, and what becomes of those about whom nothing is known.

Pure.  Ref: Postfix, ADDRESS_VERIFICATION_README (ours differs in that domains are listed, not found by restrictions).
"""

from meta1g.base.dataclass import dataclass
from meta1g.base.idn import forms
from meta1g.smtp.address import Address

_ALL = "."


@dataclass(frozen=True, slots=True)
class Verification:
    """What is to be probed.

    Args:
        rcpts: domains of recipients, in lower case; `.example.org` stands for the subdomains, `.` for all.
        senders: the same of senders.
        accept_unknown: an address about which nothing is known is taken; else it is refused for now.
    """

    rcpts: frozenset[str]
    senders: frozenset[str]
    accept_unknown: bool

    def wants_rcpt(self, address: Address) -> bool:
        """Tells whether a recipient is to be probed."""
        return bool(self.rcpts) and _listed(address.domain.lower(), self.rcpts)

    def wants_sender(self, address: Address) -> bool:
        """Tells whether a sender is to be probed; an empty one never is, so that probes are not answered by probes."""
        return bool(self.senders) and bool(address.domain) and _listed(address.domain.lower(), self.senders)


def _listed(domain: str, domains: frozenset[str]) -> bool:
    return _ALL in domains or any(_is_in(form, domains) for form in forms(domain))


def _is_in(domain: str, domains: frozenset[str]) -> bool:
    if domain in domains:
        return True
    dot = domain.find(".")
    while dot >= 0:
        if domain[dot:] in domains:
            return True
        dot = domain.find(".", dot + 1)
    return False
