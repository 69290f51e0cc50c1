"""The macros that filters of sendmail 8 get, from what the gateway tells a policy milter.

Ref: docs/milters.md, Macros; sendmail 8, doc/op, "Macros".
"""

import time
from email.utils import formatdate
from typing import Final

from meta1g.base.reply import Reply
from meta1g.pmilter import Pmm, PmServer, PmSession
from meta1g.pmilter.machine import MACRO_NAMES
from meta1g.pmilter.stages import MACRO_STAGES

_MAILER: Final = "smtp"
_ERROR_MAILER: Final = "error"


def ask_for_all(server: PmServer) -> None:
    """Asks a server for every macro at every stage that has it."""
    for stage in {stage for stages in MACRO_STAGES.values() for stage in stages}:
        server.setmaclist(stage, *[macro for macro, stages in MACRO_STAGES.items() if stage in stages])


def told(session: PmSession) -> dict[str, str]:
    """Gives what the gateway has told so far, by the names that filters of sendmail 8 know."""
    return {name: value for macro, name in MACRO_NAMES.items() if (value := session.getmac(macro)) is not None}


def of_session(session: PmSession) -> dict[str, str]:
    """Gives what is known when the client has connected."""
    name, address, host = session.client_name, session.client_addr, session.server.hostname
    literal = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
    macros = {"j": host, "daemon_name": host, "if_name": host, "v": "meta1g", "client_addr": address}
    macros |= {"_": f"{name} {literal}" if name else literal}
    macros |= {"client_name": name or "unknown", "client_ptr": name or "unknown", "client_resolve": "OK" if name else "FAIL"}
    return macros | {"if_addr": session.getmac(Pmm.SRVADDR) or ""} | told(session)


def of_helo(session: PmSession) -> dict[str, str]:
    """Gives what HELO or EHLO adds."""
    known = told(session)
    marks = ("S" if known.get("tls_version") else "") + ("A" if known.get("auth_type") else "")
    return {"s": session.helo, "r": f"ESMTP{marks}" if session.ehlo else "SMTP", **known}


def of_mail(session: PmSession, mail: str) -> dict[str, str]:
    """Gives what MAIL adds; what the last transaction had is over."""
    address = mail.strip("<>")
    domain = address.rpartition("@")[2] if "@" in address else ""
    macros = {"f": address, "b": formatdate(time.time(), localtime=True), "mail_addr": address, "mail_host": domain}
    ended = {"msg_id": "", "c": ""}
    return {**of_helo(session), **macros, "mail_mailer": _MAILER, **ended}


def of_rcpt(rcpt: str, reply: Reply | None = None) -> dict[str, str]:
    """Gives what RCPT adds: a recipient, or why it is refused."""
    if reply is not None:
        return {"rcpt_addr": reply.one_line, "rcpt_host": reply.ecode, "rcpt_mailer": _ERROR_MAILER}
    address = rcpt.strip("<>")
    return {"rcpt_addr": address, "rcpt_host": address.rpartition("@")[2] if "@" in address else "", "rcpt_mailer": _MAILER}
