"""What a server says that it takes at most: LIMITS in its answer to EHLO.

    MAILMAX        transactions of a session          RCPTDOMAINMAX   domains of recipients of a transaction
    RCPTMAX        recipients of a transaction

A limit that is no number from 1 to 999,999 is none; names that nobody knows are passed over.

Pure.  Ref: RFC 9422.
"""

import re
from collections.abc import Sequence
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.mailbox import domain_of
from meta1g.rcb.smtpc_qmgr import DeliverRcpt

_LIMIT: Final = re.compile(r"([A-Za-z0-9]+)=([1-9][0-9]{0,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Limits of a server; 0 for none."""

    transactions: int = 0
    rcpts: int = 0
    domains: int = 0

    def first(self, rcpts: Sequence[DeliverRcpt]) -> tuple[list[DeliverRcpt], list[DeliverRcpt]]:
        """Gives the recipients that one transaction may have, at least one, and those that are left."""
        fits: list[DeliverRcpt] = []
        left: list[DeliverRcpt] = []
        domains: set[str] = set()
        for rcpt in rcpts:
            domain = domain_of(rcpt.rcpt)
            too_many = self.rcpts and len(fits) >= self.rcpts
            if too_many or (self.domains and domain not in domains and len(domains) >= self.domains):
                left.append(rcpt)
            else:
                fits.append(rcpt)
                domains.add(domain)
        return fits, left


NO_LIMITS: Final = ServerLimits()


def parse_limits(argument: str) -> ServerLimits:
    """Reads the argument of the keyword; of a limit that stands twice the first one counts."""
    found: dict[str, int] = {}
    for word in argument.split():
        match = _LIMIT.fullmatch(word)
        if match is not None:
            found.setdefault(match[1].upper(), int(match[2]))
    return ServerLimits(found.get("MAILMAX", 0), found.get("RCPTMAX", 0), found.get("RCPTDOMAINMAX", 0))
