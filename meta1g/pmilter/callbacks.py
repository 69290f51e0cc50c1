"""A policy milter: a class whose methods are the callbacks.

    from meta1g.pmilter import Pmilter, Status, run_filter

    class NoBob(Pmilter):
        def rcpt(self, session, rcpt, args):
            if rcpt.startswith("<bob@"):
                session.setreply("550 5.7.1 Bob wants no mail")
                return Status.PERM
            return Status.CONT

    run_filter(NoBob())

Ref: MeTA1 pmilter API (pmilter_T and its callbacks modelled on); docs/pmilter.md maps each C name to ours.
"""

from meta1g.base.reply import Reply
from meta1g.pmilter.session import PmServer, PmSession
from meta1g.pmilter.stages import Status
from meta1g.rcb.smtps_pmilter import Capability, Function


class Pmilter:
    """A filter: override what you want to be asked; what is not overridden is not asked.

    Callbacks of one session run one at a time and in order; those of different sessions run at the same time, in several
    threads.  A callback may block: there are `thrmax_h` threads.  One that raises has failed: the client is told 451, and the
    session goes on.

    Attributes:
        name: names the filter in logs.
        functions: what eom() may change; the server is asked for these only.
        fdmax: descriptors that servers may take (pmfi_fdmax).
        thrmax_s: threads that stay when there is nothing to do (pmfi_thrmax_s).
        thrmax_h: threads at most (pmfi_thrmax_h).

    Owner: the process (pmg_ctx); its callbacks guard what they share.
    """

    name = "pmilter"
    functions = Function(0)
    fdmax = 10
    thrmax_s = 2
    thrmax_h = 6

    def negotiate(self, server: PmServer) -> bool:
        """A server has connected: macros are asked for here (server.setmaclist()), and less may be wanted of it.

        Returns:
            Whether the filter works with this server.
        """
        return True

    def connect(self, session: PmSession) -> int:
        """A client has connected; its address and name are in the session."""
        return Status.CONT

    def helo(self, session: PmSession, helo: str, ehlo: bool) -> int:
        """HELO or EHLO."""
        return Status.CONT

    def mail(self, session: PmSession, mail: str, args: tuple[str, ...]) -> int:
        """MAIL: a transaction begins.

        Args:
            session: its session.
            mail: the sender with its brackets.
            args: the parameters, as they came.
        """
        return Status.CONT

    def rcpt(self, session: PmSession, rcpt: str, args: tuple[str, ...]) -> int:
        """RCPT, as mail()."""
        return Status.CONT

    def rcpt_refused(self, session: PmSession, rcpt: str, reply: Reply) -> None:
        """A recipient was refused, by the gateway or by another filter."""

    def data(self, session: PmSession) -> int:
        """DATA, before any content."""
        return Status.CONT

    def msg(self, session: PmSession, buf: bytes) -> int:
        """A piece of content: header and body in one stream, lines end in CR LF; SKIP: no more of it is needed."""
        return Status.CONT

    def eom(self, session: PmSession) -> int:
        """The end of the content: what the client is told, and the time for changes."""
        return Status.CONT

    def msg_rplc_stat(self, session: PmSession, reply: Reply) -> None:
        """What became of a message that was to be replaced: 250, or why it was not."""

    def abort(self, session: PmSession) -> None:
        """The transaction is over without eom(): RSET, an error, the end of the session."""

    def close(self, session: PmSession) -> None:
        """The session is over."""

    def unknown(self, session: PmSession, cmd: str) -> int:
        """A command that the server does not know; it is refused anyway, by the words of setreply() if there are any."""
        return Status.CONT

    def signal(self, signum: int) -> None:
        """SIGHUP came: a filter may read its configuration again."""

    def wants(self) -> Capability:
        """Gives what the class overrides, and what the sessions and transactions of these callbacks begin with."""
        wanted = Capability.CNNCT
        for capability, method in _METHODS.items():
            if getattr(type(self), method) is not getattr(Pmilter, method):
                wanted |= capability
        if self.functions:
            wanted |= Capability.DOT
        return wanted | Capability.MAIL if wanted & _IN_TRANSACTION else wanted


_IN_TRANSACTION = Capability.RCPT | Capability.DATA | Capability.MSG | Capability.DOT | Capability.RCPT_ST
_METHODS = {
    Capability.CNNCT: "connect",
    Capability.EHLO: "helo",
    Capability.MAIL: "mail",
    Capability.RCPT: "rcpt",
    Capability.DATA: "data",
    Capability.MSG: "msg",
    Capability.DOT: "eom",
    Capability.UNKN: "unknown",
    Capability.RCPT_ST: "rcpt_refused",
}
