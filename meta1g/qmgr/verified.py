"""How long the result of a probe counts, and what a client is told because of it.

    reply    counts for          is probed again after
    2xx      positive_expire     positive_refresh
    5xx      negative_expire     negative_refresh
    4xx      AGAIN_S             never before: nothing is known, and asking at once would not help

What counts is told at once; what is probed again meanwhile is told as it was.  A probe that finds nothing out changes nothing.

Pure.  Ref: Postfix, ADDRESS_VERIFICATION_README (times and their names follow its parameters).
"""

from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.reply import Reply
from meta1g.conf.config import Section
from meta1g.rcb.verified import Verified

#: After a probe that found nothing out an address is left alone for so long, seconds.
AGAIN_S: Final = 60.0
TAKEN: Final = Reply(250, "2.1.5", "Address is taken by its mail server")
NOT_YET: Final = Reply(450, "4.1.1", "Address is being verified; try again later")
TOO_MANY: Final = Reply(450, "4.1.1", "Too many addresses are being verified; try again later")


@dataclass(frozen=True, slots=True)
class VerifySettings:
    """Section verify; times in seconds."""

    positive_expire_s: int
    positive_refresh_s: int
    negative_expire_s: int
    negative_refresh_s: int
    cache_size: int = 20_000
    max_probes: int = 100
    wait_s: int = 6

    @classmethod
    def from_section(cls, section: Section) -> "VerifySettings":
        """Reads the section."""
        return cls(
            section.get("positive_expire"),
            section.get("positive_refresh"),
            section.get("negative_expire"),
            section.get("negative_refresh"),
            section.get("cache_size"),
            section.get("max_probes"),
            section.get("wait"),
        )


@dataclass(slots=True)
class Known:
    """What is known of an address.

    Args:
        record: the last result that decides, or the last one at all.
        tried: when it was probed last, seconds since the epoch.

    Locking: own lock of AddressVerifier.
    """

    record: Verified
    tried: float

    def counts(self, now: float, times: VerifySettings) -> bool:
        """Tells whether it may be told to a client."""
        return now - self.record.at < _of(self.record.reply, times.positive_expire_s, times.negative_expire_s)

    def is_due(self, now: float, times: VerifySettings) -> bool:
        """Tells whether the address is to be probed again."""
        refresh = _of(self.record.reply, times.positive_refresh_s, times.negative_refresh_s)
        return now - self.record.at >= refresh and now - self.tried >= AGAIN_S


def _of(reply: Reply, positive: float, negative: float) -> float:
    if reply.is_ok:
        return positive
    return negative if reply.is_perm else AGAIN_S


def update(known: Known | None, record: Verified, times: VerifySettings) -> Known:
    """Gives what is known after a probe.

    Args:
        known: what was known before.
        record: the result.
        times: how long it counts.
    """
    if record.reply.is_temp and known is not None and not known.record.reply.is_temp and known.counts(record.at, times):
        return Known(known.record, record.at)
    return Known(record, record.at)


def told(reply: Reply) -> Reply:
    """Gives what a client is told about an address because of what its server said, or what we found by ourselves.

    The words of the server are quoted; its name is for the log, since it may be a machine that nobody outside knows.
    """
    if reply.is_ok:
        return TAKEN
    if reply.is_temp:
        return Reply(450, "4.1.1", f"Address could not be verified; try again later: {reply}")
    ecode = reply.ecode if reply.ecode.startswith("5.") else "5.1.1"
    said = "is refused by its mail server" if reply.origin else "cannot be reached"
    return Reply(550, ecode, f"Address {said}: {reply}")
