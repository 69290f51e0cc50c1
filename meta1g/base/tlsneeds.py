"""What somebody demands of TLS in a session, and whether a session has it.

    encrypted < min_cipher_bits;  encrypted < verified < issuer, subject, common name

A demand to the right has the ones to its left in it: a name in a certificate that nobody vouches for says nothing.

Pure.  Ref: MeTA1 README, "STARTTLS Restrictions" (demands modelled on).
"""

from enum import Enum
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.tlsfacts import TlsInfo

#: Names in certificates are compared up to this length, what is longer was cut (as MeTA1's SM_TLS_NAME_MAX).
NAME_MAX_BYTES: Final = 1024


class Violation(Enum):
    """What follows if the demands are not met."""

    TEMPORARY = "temporary"
    PERMANENT = "permanent"
    ABORT = "abort"  # the session ends, too


@dataclass(frozen=True, slots=True)
class TlsRequirements:
    """Demands on the TLS of a session.

    Args:
        encrypted: there has to be TLS.
        verified: the peer's certificate has to be verified.
        min_bits: least strength of the cipher, 0 for any.
        issuers: one of them has to be the issuer's distinguished name, in any case of letters; empty for any.
        subjects: the same for the subject.
        common_names: the same for the CN of the subject.
        violation: what follows if they are not met.
    """

    encrypted: bool = False
    verified: bool = False
    min_bits: int = 0
    issuers: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    common_names: tuple[str, ...] = ()
    violation: Violation = Violation.TEMPORARY

    @property
    def demands_certificate(self) -> bool:
        """Whether the peer needs a certificate that is verified."""
        return bool(self.verified or self.issuers or self.subjects or self.common_names)

    @property
    def demands_tls(self) -> bool:
        """Whether a session in clear does not meet them."""
        return bool(self.encrypted or self.min_bits or self.demands_certificate)

    def unmet(self, info: TlsInfo | None) -> str:
        """Says in plain words what a session lacks; empty if it meets all demands.

        Args:
            info: what was agreed on; None for a session in clear.
        """
        if info is None:
            return "TLS is required" if self.demands_tls else ""
        if info.bits < self.min_bits:
            return f"the cipher has {info.bits} bits, {self.min_bits} are required"
        if not self.demands_certificate:
            return ""
        if not info.verified:
            return f"a certificate that can be verified is required: {info.reason}"
        for what, wanted, has in (
            ("issuer", self.issuers, info.issuer),
            ("subject", self.subjects, info.subject),
            ("common name", self.common_names, info.common_name),
        ):
            if wanted and not _among(has, wanted):
                return f"the {what} of the certificate is not one of those required"
        return ""


def _among(name: str, wanted: tuple[str, ...]) -> bool:
    return _cut(name) in map(_cut, wanted)


def _cut(name: str) -> str:
    """Gives a name as it is compared."""
    return name.encode()[:NAME_MAX_BYTES].decode(errors="replace").casefold()
