"""Events of the processes: start and stop, connections between them, stores, failures, the log itself.

What is normal at a start is INFO; NOTICE and above say that something has changed that an operator may want to know.

Ref: MeTA1 design, "Implementation: Logging" (ours).
"""

from collections.abc import Mapping
from typing import Final

from meta1g.base.logevent import About, LogEvent, row
from meta1g.base.logkeys import Sev

_RUN: Final = About.RUN
_TROUBLE: Final = About.TROUBLE
_REFUSAL: Final = About.REFUSAL

_FAILURES: Final[Mapping[str, LogEvent]] = {
    "failure.contained": row(
        Sev.ERROR,
        _TROUBLE,
        "where",
        "ss_sess ss_ta da_sess da_ta rcpt client server peer component pid path map name command",
        "Something unexpected cost what the line names, and nothing else.",
    ),
    "failure.ends": row(
        Sev.FATAL, _TROUBLE, "where", "ss_ta path", "Something unexpected ends the process; mcp starts it again."
    ),
    "failure.trace": row(Sev.ERROR, _TROUBLE, "where", "", "A line of the traceback of a failure, the first time it happens."),
}

_LOG: Final[Mapping[str, LogEvent]] = {
    "log.reopen": row(Sev.ERROR, _TROUBLE, "", "path", "The log file cannot be opened anew; lines go on to the old one."),
    "log.away": row(Sev.ERROR, _TROUBLE, "path", "", "Nobody takes the log; lines are kept in a file of the queue directory."),
    "log.back": row(Sev.NOTICE, _TROUBLE, "path count", "", "The log is taken again; these lines were kept and are delivered."),
    "log.dropped": row(Sev.ERROR, _TROUBLE, "path count", "", "So many lines are lost, since there was no room to keep them."),
}

_PMILTER: Final[Mapping[str, LogEvent]] = {
    "pmilter.start": row(Sev.INFO, _RUN, "name listen", "", "A policy milter listens."),
    "pmilter.stop": row(Sev.INFO, _RUN, "name", "", "A policy milter has stopped."),
    "pmilter.server": row(Sev.INFO, _RUN, "", "name", "A server is connected to a policy milter."),
    "pmilter.conf": row(Sev.NOTICE, _RUN, "name path", "", "A policy milter has read its configuration again."),
    "pmilter.conf_wrong": row(
        Sev.ERROR, _TROUBLE, "name path", "", "The configuration of a policy milter is wrong; the one before stays."
    ),
    "pmilter.trouble": row(Sev.ERROR, _TROUBLE, "name path", "", "A policy milter cannot do something that costs no mail."),
    "pmilter.decided": row(
        Sev.INFO,
        _REFUSAL,
        "name key",
        "ss_sess ss_ta client ehlo mail rcpt",
        "A policy milter has decided about a client, recipient or message; key tells why.",
    ),
    "pmilter.milter_failed": row(
        Sev.ERROR, _TROUBLE, "name key", "ss_sess client", "A filter of sendmail 8 behind pmult is lost to a session."
    ),
    "pmilter.no_answer": row(
        Sev.WARN,
        _TROUBLE,
        "name server",
        "ss_sess ss_ta",
        "A program that a policy milter asks gives no answer that can be used; the next one is asked if there is one.",
    ),
    "pmilter.refused": row(Sev.ERROR, _TROUBLE, "", "name", "A server and a policy milter do not fit together."),
}

_SMTPS: Final[Mapping[str, LogEvent]] = {
    "smtps.listen": row(Sev.INFO, _RUN, "listen", "", "SMTPS listens."),
    "smtps.qmgr": row(Sev.INFO, _RUN, "limit", "", "SMTPS is connected to QMGR and may serve so many sessions."),
    "smtps.smar": row(Sev.INFO, _RUN, "count", "", "SMTPS is connected to SMAR."),
    "smtps.policy": row(Sev.INFO, _RUN, "key name", "", "SMTPS is connected to the policy milter of section key."),
    "smtps.policy_refused": row(Sev.ERROR, _TROUBLE, "key", "", "A policy milter wants what there is not; it is not asked."),
    "smtps.link_lost": row(Sev.WARN, _RUN, "component", "", "SMTPS has lost its connection; clients wait."),
    "smtps.throttle": row(Sev.NOTICE, _RUN, "limit", "", "QMGR has changed how many sessions SMTPS may serve."),
    "smtps.full": row(Sev.WARN, _TROUBLE, "count limit", "", "There is no room for more sessions; clients wait."),
    "smtps.passed": row(
        Sev.WARN, _TROUBLE, "path", "", "The file of clients that passed cannot be used; each process remembers its own."
    ),
    "smtps.limit": row(Sev.WARN, _TROUBLE, "limit", "", "The system allows fewer sessions than are configured."),
    "smtps.broken": row(Sev.ERROR, _TROUBLE, "ss_sess client", "", "A connection failed for a reason of the system."),
    "smtps.cdb": row(Sev.ERROR, _TROUBLE, "cdb_id", "", "A content file cannot be written; the client is told to try again."),
    "smtps.cdb_left": row(
        Sev.WARN, _TROUBLE, "cdb_id", "", "A content file cannot be removed; the clean-up of QMGR will do it."
    ),
    "smtps.commit": row(Sev.ERROR, _TROUBLE, "ss_ta", "", "QMGR did not answer to the end of a message; the content stays."),
    "smtps.tls_loaded": row(Sev.NOTICE, _RUN, "path", "", "Certificates have changed and are used from now on."),
    "smtps.tls_files": row(Sev.ERROR, _TROUBLE, "path", "", "Changed certificates cannot be used; the old ones are used on."),
    "smtpc.tls_files": row(Sev.ERROR, _TROUBLE, "", "", "Changed files of TLS cannot be used; the old ones are used on."),
    "smtpc.auth_file": row(
        Sev.ERROR, _TROUBLE, "", "", "A changed file of logins cannot be used; the logins from before are used on."
    ),
    "smtps.tls_ends": row(Sev.WARN, _TROUBLE, "path", "", "A certificate ends soon, or has ended."),
    "smtps.tls_poor": row(Sev.WARN, _TROUBLE, "", "", "Not all of TLS can be used here."),
    "smtps.auth_file": row(Sev.NOTICE, _RUN, "path", "", "The password file has changed and is used from now on."),
    "smtps.auth_file_wrong": row(
        Sev.ERROR, _TROUBLE, "path", "", "A changed password file cannot be used; the old one is used on."
    ),
    "smtps.auth_away": row(Sev.ERROR, _TROUBLE, "", "", "Passwords cannot be checked: their back end does not answer."),
    "smtps.mcp": row(Sev.NOTICE, _RUN, "", "", "mcp is gone; SMTPS stops."),
    "smtps.stop": row(Sev.NOTICE, _RUN, "count", "", "SMTPS stops."),
    "smtps.main": row(Sev.FATAL, _TROUBLE, "", "", "SMTPS cannot start."),
}

_QMGR: Final[Mapping[str, LogEvent]] = {
    "qmgr.start": row(Sev.INFO, _RUN, "pid count", "", "QMGR is ready; so many recipients wait in DEFEDB."),
    "qmgr.missing": row(
        Sev.WARN, _TROUBLE, "component", "", "A component has not connected, or was not reached, after the start."
    ),
    "qmgr.recovered": row(Sev.INFO, _RUN, "rcpts", "", "What the last run left in IBDB was moved to DEFEDB."),
    "qmgr.smtps": row(Sev.INFO, _RUN, "pid limit", "name", "An SMTPS has connected."),
    "qmgr.smtps_gone": row(Sev.NOTICE, _RUN, "pid", "", "An SMTPS is gone."),
    "qmgr.smtpc": row(Sev.INFO, _RUN, "pid limit", "", "An SMTPC has connected."),
    "qmgr.smtpc_gone": row(Sev.NOTICE, _RUN, "pid", "", "An SMTPC is gone."),
    "qmgr.throttle": row(Sev.NOTICE, _RUN, "usage", "", "The load has changed what SMTPS may take in."),
    "qmgr.ibdb_moved": row(Sev.INFO, _RUN, "count", "", "Recipients of old IBDB files were moved to DEFEDB."),
    "qmgr.orphans": row(Sev.NOTICE, _RUN, "count", "", "Content files without an envelope were removed."),
    "qmgr.clock": row(Sev.WARN, _TROUBLE, "count", "", "The clock was ahead when recipients were deferred."),
    "qmgr.result": row(Sev.ERROR, _TROUBLE, "da_sess da_ta", "", "An SMTPC gave the result of another delivery."),
    "qmgr.disk": row(Sev.ERROR, _TROUBLE, "resource path", "", "It cannot be found out how much room a disk has."),
    "qmgr.cdb": row(Sev.ERROR, _TROUBLE, "cdb_id", "", "A content file cannot be removed."),
    "qmgr.ibdb": row(Sev.ERROR, _TROUBLE, "", "path count", "IBDB cannot be written, or was removed by somebody."),
    "qmgr.store": row(Sev.ERROR, _TROUBLE, "", "ss_ta count", "DEFEDB cannot be read or written."),
    "qmgr.standing": row(Sev.WARN, _TROUBLE, "", "", "An order of the operator holds since before the start of this process."),
    "qmgr.standing_over": row(
        Sev.NOTICE, _RUN, "", "", "A changed limit is that of meta1.conf again, which was changed since."
    ),
    "qmgr.standing_file": row(Sev.ERROR, _TROUBLE, "path", "", "Orders of the operator cannot be kept beyond this process."),
    "qmgr.known": row(Sev.DEBUG, _RUN, "count", "", "The file of verified addresses was read; so many are known."),
    "qmgr.verify_file": row(
        Sev.ERROR, _TROUBLE, "path", "", "The file of verified addresses cannot be read or written, or is damaged."
    ),
    "qmgr.damaged": row(Sev.ERROR, _TROUBLE, "path", "ss_ta key size count", "A damaged record was set aside."),
    "qmgr.misplaced": row(Sev.ERROR, _TROUBLE, "path", "", "An IBDB file is missing or is one of another queue."),
    "qmgr.recover": row(
        Sev.FATAL, _TROUBLE, "", "ss_ta cdb_id mail rcpts", "Recovery has lost or set aside something, or failed."
    ),
    "qmgr.defedb": row(Sev.FATAL, _TROUBLE, "", "path offset size rcpts", "DEFEDB is damaged; what was done about it."),
    "qmgr.defedb_suspect": row(Sev.WARN, _TROUBLE, "path", "", "DEFEDB is checked, since the last run ended by it."),
    "qmgr.defedb_mended": row(Sev.ERROR, _TROUBLE, "path count", "", "Wrong entries of DEFEDB were mended."),
    "qmgr.mcp": row(Sev.NOTICE, _RUN, "", "", "mcp is gone; QMGR stops."),
    "qmgr.stop": row(Sev.NOTICE, _RUN, "", "", "QMGR stops, or has stopped."),
    "qmgr.main": row(Sev.FATAL, _TROUBLE, "", "", "QMGR cannot start."),
}

_SMAR_SMTPC: Final[Mapping[str, LogEvent]] = {
    "smar.start": row(Sev.INFO, _RUN, "server", "", "SMAR is ready and asks these name servers."),
    "smar.smtps": row(Sev.INFO, _RUN, "pid", "name", "An SMTPS has connected."),
    "smar.qmgr": row(Sev.INFO, _RUN, "pid", "", "QMGR has connected."),
    "smtps.conf": row(Sev.ERROR, _TROUBLE, "ss_sess client", "", "The piece of configuration for a client cannot be used."),
    "smar.conf": row(Sev.WARN, _TROUBLE, "", "", "The configuration has something that an operator should look at."),
    "smar.interfaces": row(Sev.WARN, _TROUBLE, "", "", "The addresses of this host cannot be found out."),
    "smar.sts": row(
        Sev.INFO, _RUN, "name answer count", "", "The MTA-STS policy of a domain was fetched; it names so many servers."
    ),
    "smar.sts_failed": row(Sev.NOTICE, _TROUBLE, "name", "", "The MTA-STS policy of a domain cannot be fetched."),
    "smar.sts_cache": row(Sev.ERROR, _TROUBLE, "path", "", "A file of MTA-STS policies cannot be written or read."),
    "smar.sts_damaged": row(Sev.WARN, _TROUBLE, "path", "", "A file of an MTA-STS policy is damaged; it is fetched again."),
    "smar.tlsrpt": row(Sev.INFO, _RUN, "name answer", "", "The report about TLS of a domain was taken by this address."),
    "smar.tlsrpt_failed": row(
        Sev.NOTICE,
        _TROUBLE,
        "name answer",
        "",
        "The report about TLS of a domain was not taken by this address, or is too old.",
    ),
    "smar.tlsrpt_file": row(Sev.ERROR, _TROUBLE, "path", "", "A file of what is counted for reports cannot be used."),
    "smar.mcp": row(Sev.NOTICE, _RUN, "", "", "mcp is gone; SMAR stops."),
    "smar.stop": row(Sev.NOTICE, _RUN, "", "", "SMAR has stopped."),
    "smtpc.conf": row(Sev.ERROR, _TROUBLE, "server", "server_name", "The piece of configuration for a server cannot be used."),
    "smtpc.qmgr": row(Sev.INFO, _RUN, "", "", "SMTPC is connected to QMGR."),
    "smtpc.mcp": row(Sev.NOTICE, _RUN, "", "", "mcp is gone; SMTPC stops."),
    "smtpc.stop": row(Sev.NOTICE, _RUN, "count", "", "SMTPC has stopped."),
}

_MCP: Final[Mapping[str, LogEvent]] = {
    "mcp.start": row(Sev.INFO, _RUN, "component", "pid", "A component was started, or mcp accepts connections for it."),
    "mcp.listen": row(Sev.INFO, _RUN, "component listen", "", "A listening socket was opened for a component."),
    "mcp.pass": row(Sev.INFO, _RUN, "component", "", "The listening sockets were passed to a component."),
    "mcp.ready": row(Sev.INFO, _RUN, "component", "", "A component is ready."),
    "mcp.started": row(Sev.INFO, _RUN, "count", "", "All components were started."),
    "mcp.stopping": row(Sev.INFO, _RUN, "component", "", "A component was told to stop."),
    "mcp.end": row(Sev.INFO, _RUN, "component pid exit", "", "A process of a component has ended."),
    "mcp.stop": row(Sev.NOTICE, _RUN, "", "exit", "mcp stops, or has stopped."),
    "mcp.reload": row(Sev.NOTICE, _RUN, "", "", "The configuration was read again."),
    "mcp.gone": row(Sev.NOTICE, _RUN, "component", "", "A component has ended on its own and is not started again."),
    "mcp.leftovers": row(Sev.NOTICE, _RUN, "count", "", "mcp waits for processes that an earlier mcp has left."),
    "mcp.leftover_killed": row(Sev.WARN, _TROUBLE, "pid", "", "A process of an earlier mcp did not stop and was killed."),
    "mcp.config": row(Sev.WARN, _TROUBLE, "", "", "The configuration has something that an operator should look at."),
    "mcp.restart": row(Sev.WARN, _TROUBLE, "component time_ms", "", "A component has ended and starts again after this time."),
    "mcp.broken": row(
        Sev.ERROR, _TROUBLE, "component time_ms", "", "A component ends at once, again and again; mend it, then reload."
    ),
    "mcp.not_ready": row(Sev.WARN, _TROUBLE, "component time_ms", "", "A component was not ready in time; others go on."),
    "mcp.killed": row(Sev.WARN, _TROUBLE, "component", "", "A component did not stop in time and was killed."),
    "mcp.failed": row(Sev.WARN, _TROUBLE, "component pid", "", "A process that serves one connection has failed."),
    "mcp.status_peer": row(Sev.WARN, _TROUBLE, "", "", "Who asked for the status did not speak the protocol."),
    "mcp.not_started": row(Sev.ERROR, _TROUBLE, "component", "", "A component cannot be started."),
    "mcp.not_passed": row(Sev.ERROR, _TROUBLE, "component", "", "The listening sockets cannot be passed to a component."),
    "mcp.accept": row(Sev.ERROR, _TROUBLE, "component", "", "A connection cannot be accepted, or no process started for it."),
    "mcp.reload_failed": row(Sev.ERROR, _TROUBLE, "", "", "The new configuration is not used; the old one is."),
    "mcp.status": row(Sev.ERROR, _TROUBLE, "", "", "The status socket has failed."),
    "mcp.children": row(Sev.ERROR, _TROUBLE, "", "", "The list of children cannot be written."),
    "mcp.reopen": row(Sev.ERROR, _TROUBLE, "", "", "A log file cannot be made for a component."),
    "mcp.main": row(Sev.FATAL, _TROUBLE, "exit", "", "mcp gives up."),
}

_FRAME: Final[Mapping[str, LogEvent]] = {
    "rcb.connect": row(Sev.INFO, _RUN, "path", "pid", "A connection to another process is up."),
    "rcb.waits": row(Sev.INFO, _RUN, "path", "", "Another process does not listen yet; it is tried again."),
    "rcb.down": row(Sev.NOTICE, _RUN, "path", "", "A connection to another process is down; it is made again."),
    "rcb.close": row(Sev.NOTICE, _RUN, "peer", "pid", "A connection was closed for this reason."),
    "rcb.accept": row(Sev.WARN, _TROUBLE, "path pid", "", "A process of another account was refused."),
    "st.accept": row(Sev.ERROR, _TROUBLE, "where", "", "A connection cannot be accepted; it is tried again."),
    "st.fdpass": row(Sev.WARN, _TROUBLE, "", "", "A descriptor that mcp passed cannot be used."),
    "evthr.watch": row(Sev.ERROR, _TROUBLE, "name", "", "A descriptor cannot be watched."),
    "evthr.stop": row(Sev.ERROR, _TROUBLE, "", "count", "Work was left when the time to stop was over."),
    "evthr.slow": row(Sev.DEBUG, _RUN, "name", "", "A task holds its thread; another one goes on."),
}

RUN_EVENTS: Final[Mapping[str, LogEvent]] = {
    **_FAILURES,
    **_LOG,
    **_PMILTER,
    **_SMTPS,
    **_QMGR,
    **_SMAR_SMTPC,
    **_MCP,
    **_FRAME,
}
