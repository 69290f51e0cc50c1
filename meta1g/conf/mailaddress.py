"""The kind of values that are mail addresses.

Pure.  Ref: RFC 5321 4.1.2.
"""

import re
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.conf.values import Domain, Scalar, shown

#: A local part without quotation marks.
_LOCAL_PART: Final = re.compile(r"[!#-'*+/-9=?A-Z^-~-]+(?:\.[!#-'*+/-9=?A-Z^-~-]+)*")


@dataclass(frozen=True, slots=True)
class MailAddress(Scalar):
    """A mail address with a domain."""

    def parse(self, text: str) -> str:
        """Gives the address as it is written."""
        local, at, domain = text.rpartition("@")
        if not at or not _LOCAL_PART.fullmatch(local):
            raise ValueError(f"{shown(text)} is not a mail address such as copies@example.org")
        Domain().parse(domain)
        return text

    def describe(self) -> str:
        """Names the kind."""
        return "mail address"
