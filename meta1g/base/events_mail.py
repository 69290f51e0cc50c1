"""Events of mail: sessions, refusals, messages, recipients, look-ups, orders of the operator.

Every refusal that a client hears is one line of SMTPS, for all of them leave by Dialogue.refuse(); what becomes of a recipient
is one line of QMGR, `qmgr.delivered`, `qmgr.failed`, `qmgr.expired`, `qmgr.deferred`, `qmgr.removed` and so on.

Ref: MeTA1 design, "Implementation: Logging" (ours).
"""

from collections.abc import Mapping
from typing import Final

from meta1g.base.logevent import About, LogEvent, row
from meta1g.base.logkeys import Sev

_CLIENT: Final = "ss_sess client"
_SAID: Final = "ss_sess client reply"
_WHO: Final = "client_name ehlo ecode map key"
_RCPT: Final = "ss_ta rcpt_idx rcpt"
_OUTCOME: Final = "ss_ta rcpt_idx mail rcpt reply delay_ms"
_OUTCOME_MAY: Final = "relay ecode tries"
_TOLD: Final = f"mail reply delay_ms {_OUTCOME_MAY}"

_SMTPS: Final[Mapping[str, LogEvent]] = {
    "smtps.connect": row(Sev.INFO, About.SESSION, _CLIENT, "client_name", "A client may stay and was greeted."),
    "smtps.proxied": row(
        Sev.INFO, About.SESSION, f"{_CLIENT} port peer", "", "A proxy, peer, has handed the connection of this client on."
    ),
    "smtps.proxy_refused": row(
        Sev.NOTICE, About.SESSION, "ss_sess peer", "", "A listed proxy sent no right header; the connection is closed."
    ),
    "smtps.xclient": row(
        Sev.INFO,
        About.SESSION,
        f"{_CLIENT} peer",
        "client_name port auth",
        "By XCLIENT of peer the session goes on as that of this client, under a new id.",
    ),
    "smtps.forwarded": row(
        Sev.INFO,
        About.MESSAGE,
        "ss_sess ss_ta",
        "orig_client orig_name orig_ehlo orig_id",
        "What the client said by XFORWARD about where the message came from.",
    ),
    "smtps.paused": row(
        Sev.INFO, About.SESSION, f"{_CLIENT} time_ms", "", "A client that was not known waited for the greeting, silently."
    ),
    "smtps.tls": row(
        Sev.INFO,
        About.SESSION,
        f"{_CLIENT} tls bits verify",
        "cert_subject cert_issuer",
        "A client has begun TLS; verify tells about its certificate.",
    ),
    "smtps.tls_failed": row(
        Sev.NOTICE, About.SESSION, _CLIENT, "", "A client and we did not agree on TLS; the connection is closed."
    ),
    "smtps.tls_injection": row(
        Sev.NOTICE, About.SESSION, f"{_CLIENT} size", "", "A client sent something in clear behind STARTTLS, which was dropped."
    ),
    "smtps.milter_failed": row(
        Sev.ERROR,
        About.TROUBLE,
        f"{_CLIENT} key",
        "ss_ta",
        "A session has lost a filter, or could not reach it; what its default action says happens.",
    ),
    "smtps.milter_back": row(
        Sev.NOTICE, About.TROUBLE, "ss_sess key", "", "A filter that sessions had lost can be reached and agrees again."
    ),
    "smtps.milter_changed": row(
        Sev.INFO, About.MESSAGE, "ss_sess ss_ta key", "", "A filter has changed a message, its envelope, or has it held."
    ),
    "smtps.auth": row(
        Sev.INFO, About.SESSION, f"{_CLIENT} auth mechanism", "client_name tls", "A client has shown to be this user."
    ),
    "smtps.auth_failed": row(
        Sev.NOTICE,
        About.REFUSAL,
        f"{_SAID} mechanism answer",
        f"{_WHO} auth",
        "A client has not shown to be the user that it said; answer is why, which it is not told.",
    ),
    "smtps.closed": row(
        Sev.INFO, About.SESSION, _SAID, f"{_WHO} ss_ta mail", "The session was ended by us, with this reply: the process stops."
    ),
    "smtps.timed_out": row(
        Sev.NOTICE, About.SESSION, _SAID, f"{_WHO} ss_ta mail", "The client was silent, or slow, for too long."
    ),
    "smtps.gone": row(Sev.DEBUG, About.SESSION, "ss_sess", "client", "The client closed the connection, or it broke."),
    "smtps.message_lost": row(
        Sev.NOTICE,
        About.MESSAGE,
        f"{_CLIENT} ss_ta mail rcpts",
        "client_name ehlo",
        "The client went away before its message was whole.",
    ),
    "smtps.connect_refused": row(
        Sev.NOTICE, About.REFUSAL, _SAID, _WHO, "The client may not stay: access map, DNS list, its rate, or too much to do."
    ),
    "smtps.command_refused": row(
        Sev.NOTICE,
        About.REFUSAL,
        f"{_SAID} command",
        f"{_WHO} ss_ta mail",
        "A command was refused: wrong, out of order, or not known.",
    ),
    "smtps.mail_refused": row(Sev.NOTICE, About.REFUSAL, f"{_SAID} mail", f"{_WHO} ss_ta size", "A sender was refused."),
    "smtps.rcpt_refused": row(Sev.NOTICE, About.REFUSAL, f"{_SAID} ss_ta mail rcpt", _WHO, "A recipient was refused."),
    "smtps.message_refused": row(
        Sev.NOTICE, About.REFUSAL, f"{_SAID} ss_ta mail size rcpts", _WHO, "A message was refused after its content."
    ),
    "smtps.too_many": row(
        Sev.NOTICE,
        About.REFUSAL,
        f"{_SAID} limit",
        f"{_WHO} ss_ta mail",
        "The session was ended: too many commands were refused or useless.",
    ),
    "smtps.rcpt": row(Sev.INFO, About.MESSAGE, _RCPT, "notify orcpt", "A recipient was accepted."),
    "smtps.unverified": row(
        Sev.INFO, About.MESSAGE, "ss_sess rcpt reply", "", "An address is not verified yet and is taken all the same."
    ),
    "smtps.rcpt_discarded": row(
        Sev.INFO,
        About.MESSAGE,
        "ss_ta mail rcpt",
        "client map key rcpt_idx",
        "A recipient was accepted and gets nothing, by this entry or filter.",
    ),
    "smtps.message": row(
        Sev.INFO,
        About.MESSAGE,
        f"{_CLIENT} ss_ta mail size rcpts reply",
        "ehlo msgid body ret envid auth",
        "A message was accepted: it is in the queue.",
    ),
    "smtps.message_discarded": row(
        Sev.INFO,
        About.MESSAGE,
        f"{_CLIENT} ss_ta mail size rcpts reply",
        _WHO,
        "A message was accepted and dropped: all its recipients are discarded.",
    ),
}

_QMGR: Final[Mapping[str, LogEvent]] = {
    "qmgr.refused": row(
        Sev.DEBUG,
        About.REFUSAL,
        "",
        "ss_sess ss_ta client",
        "A session or message was refused; the line of SMTPS tells the client.",
    ),
    "qmgr.commit": row(Sev.DEBUG, About.MESSAGE, "ss_ta rcpts", "", "The envelope is on stable storage."),
    "qmgr.accept": row(
        Sev.INFO, About.MESSAGE, "ss_ta mail size rcpts", "by priority traits", "A message has entered the queue."
    ),
    "qmgr.resolve": row(Sev.DEBUG, About.LOOKUP, "ss_ta key reply", "", "SMAR does not know where a recipient goes."),
    "qmgr.verified": row(
        Sev.INFO,
        About.LOOKUP,
        "rcpt reply",
        "relay ecode",
        "What the mail server of an address said when it was asked about it.",
    ),
    "qmgr.deliver": row(
        Sev.DEBUG, About.DELIVERY, "ss_ta da_sess da_ta server port rcpts", "", "Recipients were given to a delivery agent."
    ),
    "qmgr.feed": row(Sev.DEBUG, About.DELIVERY, "count", "", "Recipients that are due came from DEFEDB."),
    "qmgr.delivered": row(
        Sev.INFO, About.DELIVERY, _OUTCOME, _OUTCOME_MAY, "A recipient was delivered; tries before this one."
    ),
    "qmgr.deferred": row(
        Sev.INFO, About.DELIVERY, f"{_OUTCOME} next_try", _OUTCOME_MAY, "A recipient waits until next_try, for this reason."
    ),
    "qmgr.failed": row(Sev.NOTICE, About.DELIVERY, _OUTCOME, _OUTCOME_MAY, "A recipient was given up, for this reason."),
    "qmgr.expired": row(
        Sev.NOTICE, About.DELIVERY, _OUTCOME, _OUTCOME_MAY, "A recipient was given up: its time is over; the last reason."
    ),
    "qmgr.smaller": row(
        Sev.INFO, About.DELIVERY, _OUTCOME, _OUTCOME_MAY, "A report was too large and is sent in smaller ones."
    ),
    "qmgr.alias": row(
        Sev.INFO,
        About.DELIVERY,
        f"{_RCPT} count",
        "owner members",
        "An alias was expanded; these are its members, or some of them.",
    ),
    "qmgr.bounce": row(Sev.INFO, About.DELIVERY, f"{_RCPT} count", "", "A report of so many failed recipients goes to rcpt."),
    "qmgr.report": row(
        Sev.INFO, About.DELIVERY, f"{_RCPT} told", "", "A report of success, delay or expansion of those told of goes to rcpt."
    ),
    "qmgr.held": row(
        Sev.ERROR, About.TROUBLE, f"{_RCPT} cdb_id", "", "A recipient is held: its content is damaged; the operator decides."
    ),
    "qmgr.dest": row(
        Sev.NOTICE, About.DELIVERY, "server port count", "", "A server could not be reached: it is left alone for a while."
    ),
    "qmgr.hold": row(
        Sev.NOTICE, About.ORDER, _RCPT, _TOLD, "The operator holds a recipient, or a filter has its message held."
    ),
    "qmgr.released": row(Sev.NOTICE, About.ORDER, _RCPT, "", "The operator lets a held recipient go."),
    "qmgr.removed": row(
        Sev.NOTICE,
        About.ORDER,
        _RCPT,
        _TOLD,
        "The operator removed a recipient; nobody is told.",
    ),
    "qmgr.bounced": row(Sev.NOTICE, About.ORDER, _RCPT, _TOLD, "The operator gave a recipient up; its sender hears of it."),
    "qmgr.retried": row(Sev.NOTICE, About.ORDER, _RCPT, "", "The operator wants a recipient to be tried now."),
    "qmgr.requeued": row(Sev.NOTICE, About.ORDER, _RCPT, _TOLD, "The operator lets a recipient begin anew."),
    "qmgr.control": row(Sev.NOTICE, About.ORDER, "command", "", "A command of the operator was carried out."),
    "qmgr.mode": row(Sev.NOTICE, About.ORDER, "", "", "The operator changed what the queue manager does."),
}

_LOOKUPS: Final[Mapping[str, LogEvent]] = {
    "smar.client": row(
        Sev.DEBUG, About.LOOKUP, "ss_sess client", "client_name map key", "A client is not welcome; the line of SMTPS tells it."
    ),
    "smar.listed": row(
        Sev.INFO, About.LOOKUP, "ss_sess client name answer", "client_name", "A DNS list has the client, with this answer."
    ),
    "smar.rcpt": row(Sev.DEBUG, About.LOOKUP, f"{_RCPT} reply", "", "What SMAR says of a recipient at RCPT."),
    "smar.alias": row(Sev.DEBUG, About.LOOKUP, f"{_RCPT} count", "", "A recipient is an alias."),
    "smar.route": row(
        Sev.DEBUG, About.LOOKUP, f"{_RCPT} da server port count", "", "A recipient goes to these servers, the first is named."
    ),
    "smar.resolve": row(Sev.DEBUG, About.LOOKUP, f"{_RCPT} reply", "", "It is not known where a recipient goes."),
    "map.lookup": row(
        Sev.ERROR, About.TROUBLE, "map answer count", "", "A map does not answer; so many look-ups since the last line."
    ),
    "map.entry": row(
        Sev.ERROR,
        About.TROUBLE,
        "map key answer",
        "",
        "An entry of a map is wrong; mail that it is for is put off until it is mended.",
    ),
    "map.load": row(Sev.ERROR, About.TROUBLE, "path", "", "A map file cannot be loaded; the old content is used."),
    "dns.server": row(Sev.WARN, About.TROUBLE, "server count", "", "A name server does not answer, or answers again."),
}

_SMTPC: Final[Mapping[str, LogEvent]] = {
    "smtpc.deliver": row(
        Sev.INFO,
        About.DELIVERY,
        "ss_ta da_sess da_ta rcpt_idx rcpt server port reply",
        "server_name ecode",
        "What a server said of a recipient: one line for each attempt.",
    ),
    "smtpc.probe": row(
        Sev.INFO,
        About.LOOKUP,
        "da_sess da_ta rcpt_idx rcpt server port reply",
        "server_name ecode ss_ta",
        "What a server said of an address that it was only asked about.",
    ),
    "smtpc.damage": row(
        Sev.ERROR, About.TROUBLE, "ss_ta da_ta cdb_id", "", "The content of a message is damaged, or not there."
    ),
    "smtpc.not_taken": row(Sev.DEBUG, About.DELIVERY, "ss_ta da_ta", "", "A delivery was not taken: the process stops."),
    "smtpc.not_told": row(Sev.DEBUG, About.DELIVERY, "ss_ta da_ta", "", "QMGR went away before it heard of a result."),
    "smtpc.tls": row(
        Sev.INFO,
        About.DELIVERY,
        "da_sess server tls tls_policy bits verify",
        "server_name cert_subject cert_issuer",
        "A session with a server has begun TLS; verify tells about its certificate.",
    ),
    "smtpc.tls_failed": row(
        Sev.NOTICE,
        About.DELIVERY,
        "da_sess server",
        "server_name",
        "A server and we did not agree on TLS; the session goes on in clear.",
    ),
    "smtpc.tls_refused": row(
        Sev.NOTICE,
        About.DELIVERY,
        "da_sess server tls_policy reply",
        "server_name",
        "TLS with a server is not as demanded; it gets no mail in this session.",
    ),
    "smtpc.auth": row(
        Sev.INFO,
        About.DELIVERY,
        "da_sess server auth mechanism",
        "server_name",
        "A server knows us by a login.",
    ),
    "smtpc.auth_failed": row(
        Sev.ERROR,
        About.DELIVERY,
        "da_sess server auth",
        "server_name mechanism",
        "We could not log in at a server; mail for it waits.",
    ),
    "smtpc.auth_demanded": row(
        Sev.ERROR,
        About.DELIVERY,
        "da_sess server",
        "server_name",
        "A server takes no mail before AUTH or STARTTLS (530); mail for it waits.",
    ),
    "smtpc.session": row(Sev.DEBUG, About.DELIVERY, "da_sess server", "", "An idle session was ended by the server."),
}

MAIL_EVENTS: Final[Mapping[str, LogEvent]] = {**_SMTPS, **_QMGR, **_LOOKUPS, **_SMTPC}
