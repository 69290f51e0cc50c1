"""A policy milter that wants to hear everything and has nothing against it.

python -m bench.null_policy unix:PATH
"""

from meta1g.pmilter import Pmilter, PmSession, Status, run_filter


class NullPolicy(Pmilter):
    """Agrees."""

    name = "null"

    def helo(self, session: PmSession, helo: str, ehlo: bool) -> int:
        """Agrees."""
        return Status.CONT

    def mail(self, session: PmSession, mail: str, args: tuple[str, ...]) -> int:
        """Agrees."""
        return Status.CONT

    def rcpt(self, session: PmSession, rcpt: str, args: tuple[str, ...]) -> int:
        """Agrees."""
        return Status.CONT

    def data(self, session: PmSession) -> int:
        """Agrees."""
        return Status.CONT

    def msg(self, session: PmSession, buf: bytes) -> int:
        """Agrees."""
        return Status.CONT

    def eom(self, session: PmSession) -> int:
        """Agrees."""
        return Status.CONT


if __name__ == "__main__":
    run_filter(NullPolicy())
