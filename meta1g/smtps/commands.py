"""One function per command: check it against the state, ask SMAR, tell QMGR, reply.

MAIL and RCPT are answered when their question is answered; all others wait until the questions before them are.

Ref: RFC 5321 4.1.1; MeTA1 design, "Functional Specification: SMTPS" (order of questions modelled on MeTA1's).
"""

from collections.abc import Callable, Mapping
from typing import Final

from meta1g.base.ids import RCPT_IDX_MAX
from meta1g.base.reply import Reply
from meta1g.rcb.smtps_qmgr import ClientEvent
from meta1g.rcb.smtps_smar import CheckMail, CheckRcpt
from meta1g.smtp import replies
from meta1g.smtp.address import Address, AddressError, Leniency, ehlo_text, parse_path, parse_sender, split_path
from meta1g.smtp.command import Command, Verb, is_chunk, parse_command, shown
from meta1g.smtp.esmtp import BINARY, Ext, MailParams, RcptParams, ehlo_reply, parse_mail_params, parse_rcpt_params
from meta1g.smtps import content
from meta1g.smtps.bdat import bdat
from meta1g.smtps.context import AuthService
from meta1g.smtps.dialogue import Dialogue
from meta1g.smtps.fsm import Event, State
from meta1g.smtps.limits import QUESTIONS_MAX
from meta1g.smtps.questions import MailQuestion, RcptQuestion, accept_mail, learn_relaying
from meta1g.smtps.received import client_text
from meta1g.smtps.relayed import offered_to, xclient, xforward
from meta1g.smtps.smar_link import Asked
from meta1g.smtps.starttls import starttls, tls_refusal
from meta1g.smtps.transaction import Transaction

#: What the log shows of a line that may be part of a password.
_HUSHED: Final = b"..."
#: Parameters of MAIL that are understood whatever is offered: without trust AUTH= says nothing (RFC 4954 5).
_UNDERSTOOD: Final = frozenset((Ext.AUTH,))
#: The same under TLS, where REQUIRETLS is offered.
_UNDER_TLS: Final = _UNDERSTOOD | {Ext.REQUIRETLS}


def handle(dialogue: Dialogue, line: bytes) -> None:
    """Takes one command line without its CR LF.  Switches: yes (questions, content)."""
    state = dialogue.state
    if state is State.AUTH:
        _server_of(dialogue).respond(dialogue, line)
        return
    dialogue.command = line
    command = parse_command(line)
    if state is State.DENIED:
        _denied(dialogue, command)
        return
    if isinstance(command, Reply):
        if dialogue.hushed:
            dialogue.command = _HUSHED
        _refuse_command(dialogue, line, command)
        if is_chunk(line):
            dialogue.settle()
            dialogue.step(Event.CLOSE)
        return
    if dialogue.waiting and command.verb is not Verb.RCPT:
        dialogue.settle()
        if dialogue.state is State.CLOSING:
            return
    HANDLERS[command.verb](dialogue, command.argument)
    dialogue.flush_if_many()


def _refuse_command(dialogue: Dialogue, line: bytes, reply: Reply) -> None:
    """Refuses a command that is none; filters may say it in their words.  Switches: yes (network), if there are some."""
    if dialogue.filters is not None and reply is replies.UNKNOWN_COMMAND and not (dialogue.waiting or dialogue.hushed):
        reply = dialogue.filters.unknown_command(line) or reply
    dialogue.reply(reply)


def too_long(dialogue: Dialogue, tail: bytes) -> None:
    """Refuses a line that was too long to be kept; its end is all that is known of it."""
    if dialogue.state is State.AUTH:
        dialogue.end_exchange()
    dialogue.command = _HUSHED if dialogue.hushed else tail
    dialogue.reply(replies.LINE_TOO_LONG)


def _denied(dialogue: Dialogue, command: Command | Reply) -> None:
    """Answers a client that got 554 instead of 220: it may only QUIT (RFC 5321 3.1)."""
    if isinstance(command, Command) and command.verb is Verb.QUIT:
        quit_(dialogue, command.argument)
    else:
        dialogue.reply(replies.BAD_SEQUENCE)


# EHLO, HELO


def ehlo(dialogue: Dialogue, argument: str) -> None:
    """Answers EHLO with the extensions.  Switches: yes, as forget_mail(), and if the users of AUTH have changed."""
    _hello_extended(dialogue, argument, "ESMTP")


def lhlo(dialogue: Dialogue, argument: str) -> None:
    """Answers LHLO with the extensions.  Switches: yes, as ehlo()."""
    _hello_extended(dialogue, argument, "LMTP")


def _hello_extended(dialogue: Dialogue, argument: str, protocol: str) -> None:
    """Switches: yes, as ehlo()."""
    settings = dialogue.settings
    if _hello(dialogue, argument, protocol):
        client = client_text(dialogue.client_name, dialogue.client_addr)
        offered = settings.offered if dialogue.tls is None else settings.offered_under_tls
        if dialogue.trust:
            offered = offered_to(dialogue.trust, offered)
        server = dialogue.context.auth_server
        if server is not None and settings.auth is not None:
            offered = {**offered, **server.offered(dialogue)}
        dialogue.reply(ehlo_reply(settings.hostname, client, offered))


def helo(dialogue: Dialogue, argument: str) -> None:
    """Answers HELO.  Switches: yes, as forget_mail()."""
    if _hello(dialogue, argument, "SMTP"):
        dialogue.reply(Reply(250, "", dialogue.settings.hostname))


def _hello(dialogue: Dialogue, argument: str, protocol: str) -> bool:
    """Begins anew; tells whether the client is welcome.  Switches: yes, as forget_mail()."""
    if dialogue.settings.lmtp != (protocol == "LMTP"):
        dialogue.reply(replies.UNKNOWN_COMMAND)  # RFC 2033 4.1: LMTP has LHLO, SMTP has the others
        return False
    name = ehlo_text(argument, strict=dialogue.settings.strict_ehlo)
    if name is None:
        dialogue.reply(replies.BAD_HELO)
        return False
    dialogue.forget_mail()
    if dialogue.filters is not None and (refusal := dialogue.filters.helo(name, ehlo=protocol != "SMTP")) is not None:
        dialogue.step(Event.RESET)  # the transaction is forgotten
        dialogue.refuse("smtps.command_refused", refusal, rule=dialogue.filters.rule, command=shown(dialogue.command))
        return False
    dialogue.step(Event.HELLO)
    dialogue.ehlo, dialogue.protocol = name, protocol
    _count_noop(dialogue)
    return dialogue.state is State.HELLO


# AUTH


def auth(dialogue: Dialogue, argument: str) -> None:
    """Begins an exchange of SASL; what a client sends behind a refusal may be a password.

    Switches: yes (waits), if AUTH is offered.
    """
    dialogue.hushed = True
    if dialogue.context.auth_server is None or dialogue.settings.auth is None:
        dialogue.reply(replies.NOT_IMPLEMENTED)
    elif dialogue.auth is not None:
        dialogue.reply(replies.AUTH_ALREADY)
    elif dialogue.state is State.HELLO and dialogue.protocol == "SMTP":
        dialogue.reply(replies.EHLO_FIRST)
    elif dialogue.allowed(Event.AUTH):
        _server_of(dialogue).begin(dialogue, argument)


def _server_of(dialogue: Dialogue) -> AuthService:
    server = dialogue.context.auth_server
    assert server is not None
    return server


# MAIL


def mail(dialogue: Dialogue, argument: str) -> None:
    """Begins a transaction.  Switches: yes, unless QMGR has admitted the session (waits)."""
    if not dialogue.allowed(Event.MAIL):
        return
    dialogue.mail_refused = True  # until it is not
    settings = dialogue.settings
    parsed = _parse_mail(argument, _offered_now(dialogue), settings.lenient)
    if isinstance(parsed, Reply):
        dialogue.refuse("smtps.mail_refused", parsed, mail=shown(argument))
        return
    address, params = parsed
    refusal = _may_begin(dialogue, params)
    if refusal is not None:
        dialogue.refuse("smtps.mail_refused", refusal, mail=address.text, size=params.size_bytes)
        return
    dialogue.mail_refused, dialogue.chunks_dropped = False, 0
    if (params.priority or 0) > 0:
        learn_relaying(dialogue)
    context = dialogue.context
    denial = None if dialogue.overrules else dialogue.denial
    ta = Transaction(context.ids.transaction(), address, params, context.qmgr.generation, context.clock.monotonic(), denial)
    ta.discard, ta.flags, ta.rule = dialogue.discard, dialogue.flags, dialogue.rule
    dialogue.ta = ta
    dialogue.transactions += 1
    dialogue.step(Event.MAIL)
    asks = context.smar.asks_mail or (dialogue.auth is not None and context.smar.asks_auth)
    asked = context.smar.ask(_sender_question(dialogue, ta)) if asks else None
    counted = context.qmgr.count(dialogue.id, ClientEvent.MESSAGE)
    if asked is None and counted is None and not settings.verify.wants_sender(address):
        accept_mail(dialogue, ta)
    else:
        dialogue.waiting.append(MailQuestion(asked, counted))


def _sender_question(dialogue: Dialogue, ta: Transaction) -> CheckMail:
    """Gives the question about a sender; only a certificate that is verified says anything."""
    tls = dialogue.tls if dialogue.tls is not None and dialogue.tls.verified else None
    return CheckMail(
        ta_id=ta.ta_id,
        client_addr=dialogue.client_addr,
        client_name=dialogue.client_name,
        ehlo=dialogue.ehlo,
        mail=ta.mail.text,
        flags=ta.flags,
        auth="" if dialogue.auth is None else dialogue.auth.user,
        cert_issuer="" if tls is None else tls.issuer,
        cert_subject="" if tls is None else tls.subject,
    )


def _offered_now(dialogue: Dialogue) -> frozenset[Ext]:
    names = dialogue.settings.offered_names
    return names | (_UNDERSTOOD if dialogue.tls is None else _UNDER_TLS)


def _parse_mail(argument: str, offered: frozenset[Ext], lenient: Leniency) -> tuple[Address, MailParams] | Reply:
    try:
        path, rest = split_path(argument, lenient)
    except AddressError:
        return replies.BAD_MAIL_SYNTAX
    params = parse_mail_params(rest, offered)
    if isinstance(params, Reply):
        return params
    if not path.isascii() and not params.smtputf8:
        return replies.SMTPUTF8_WANTED
    try:
        address = parse_sender(path, lenient, utf8=params.smtputf8)
    except AddressError:
        return replies.BAD_SENDER_ADDRESS
    return replies.VERP_WITHOUT_SENDER if params.verp and not address.domain else (address, params)


def _may_begin(dialogue: Dialogue, params: MailParams) -> Reply | None:
    """Gives the reason why no transaction can begin now, or None.  Switches: yes, as admission() does."""
    context = dialogue.context
    settings = dialogue.settings
    if settings.require_auth and dialogue.auth is None:
        return replies.AUTH_REQUIRED
    if (refusal := dialogue.admission()) is not None:
        return refusal
    if settings.tls_needs is not None and (refusal := tls_refusal(settings.tls_needs, dialogue.tls)) is not None:
        return refusal
    if dialogue.generation != context.qmgr.generation:
        return replies.QUEUE_AWAY  # QMGR does not know this session any more
    if settings.max_transactions and dialogue.transactions >= settings.max_transactions:
        return replies.TOO_MANY_TRANSACTIONS
    if not context.qmgr.max_threads:
        return Reply(452, "4.3.1", context.qmgr.throttle_text or replies.DISK_FULL.one_line)
    if settings.max_message_bytes and (params.size_bytes or 0) > settings.max_message_bytes:
        return replies.TOO_BIG
    if params.by is not None and params.by.mode.startswith("R") and params.by.seconds < settings.by_min_s:
        return replies.BY_TOO_SHORT
    return None


# RCPT


def rcpt(dialogue: Dialogue, argument: str) -> None:
    """Asks SMAR about a recipient.  Switches: only if very many questions are open."""
    settings = dialogue.settings
    ta = dialogue.ta
    if len(dialogue.waiting) >= QUESTIONS_MAX or (ta is not None and ta.asked - ta.failed >= settings.max_recipients):
        dialogue.settle()
        ta = dialogue.ta
    if dialogue.state is State.CLOSING or not dialogue.allowed(Event.RCPT) or ta is None:
        return
    if ta.accepted >= settings.max_recipients:
        _refuse_rcpt(dialogue, ta, replies.TOO_MANY_RCPTS, argument)
        return
    parsed = _parse_rcpt(argument, settings.offered_names, settings.lenient, utf8=ta.params.smtputf8)
    if isinstance(parsed, Reply):
        _refuse_rcpt(dialogue, ta, parsed, argument)
        return
    address, params = parsed
    dialogue.step(Event.RCPT)
    counted = dialogue.context.qmgr.count(dialogue.id, ClientEvent.RECIPIENT)
    question = RcptQuestion(_ask_about(dialogue, ta, address), address, params, counted)
    ta.asked += 1
    if settings.verify.wants_rcpt(address):
        dialogue.to_verify.append(question)
    elif question.asked is None and counted is None and not dialogue.waiting:
        question.settle(dialogue)
        return
    dialogue.waiting.append(question)


def _ask_about(dialogue: Dialogue, ta: Transaction, address: Address) -> Asked | None:
    """Asks SMAR about a recipient; None if the answer is known to be yes."""
    smar = dialogue.context.smar
    if smar.takes_any_rcpt(dialogue.client_addr):
        return None
    question = CheckRcpt(
        ta_id=ta.ta_id,
        rcpt_idx=ta.asked & RCPT_IDX_MAX,
        client_addr=dialogue.client_addr,
        client_name=dialogue.client_name,
        mail=ta.mail.text,
        rcpt=address.text,
        flags=ta.flags,
    )
    return smar.ask(question)


def _refuse_rcpt(dialogue: Dialogue, ta: Transaction, reply: Reply, argument: str) -> None:
    """Refuses a recipient that nobody was asked about."""
    dialogue.refuse("smtps.rcpt_refused", reply, ss_ta=ta.ta_id, mail=ta.mail.text, rcpt=shown(argument))


def _parse_rcpt(argument: str, offered: frozenset[Ext], lenient: Leniency, *, utf8: bool) -> tuple[Address, RcptParams] | Reply:
    try:
        path, rest = split_path(argument, lenient)
    except AddressError:
        return replies.BAD_RCPT_SYNTAX
    params = parse_rcpt_params(rest, offered)
    if isinstance(params, Reply):
        return params
    if not argument.isascii() and not utf8:
        return replies.SMTPUTF8_WANTED
    try:
        return parse_path(path, lenient, utf8=utf8), params
    except AddressError:
        return replies.BAD_RCPT_ADDRESS


# DATA


def data(dialogue: Dialogue, argument: str) -> None:
    """Takes the content and closes the transaction.  Switches: yes (network, disk, QMGR)."""
    ta = dialogue.ta
    if dialogue.state is State.MAIL and ta is not None and ta.failed:
        dialogue.reply(replies.RCPT_FIRST if dialogue.settings.lmtp else replies.NO_VALID_RCPTS)  # RFC 2033 4.2
        return
    if not dialogue.allowed(Event.DATA) or ta is None:
        return
    if ta.params.body == BINARY:
        dialogue.reply(replies.CHUNKS_WANTED)
        return
    if ta.generation != dialogue.context.qmgr.generation:
        dialogue.reply(replies.QUEUE_AWAY)
        return
    if ta.refused is not None:
        _refuse_data(dialogue, ta, ta.refused, "")
        return
    if dialogue.filters is not None and (refusal := dialogue.filters.data(ta)) is not None:
        _refuse_data(dialogue, ta, refusal, dialogue.filters.rule)
        return
    dialogue.step(Event.DATA)
    dialogue.context.qmgr.announce()
    dialogue.reply(replies.SEND_DATA)
    dialogue.flush()
    dialogue.answer_message(content.receive(dialogue, ta), content.replies_due(dialogue, ta))


def _refuse_data(dialogue: Dialogue, ta: Transaction, reply: Reply, rule: str) -> None:
    dialogue.reset()
    dialogue.step(Event.RESET)
    dialogue.refuse("smtps.command_refused", reply, rule=rule, command="DATA", ss_ta=ta.ta_id, mail=ta.mail.text)


# the others


def rset(dialogue: Dialogue, argument: str) -> None:
    """Forgets the transaction.  Switches: yes, as forget_mail()."""
    dialogue.forget_mail()
    dialogue.step(Event.RESET)
    dialogue.reply(replies.RESET)
    _count_noop(dialogue)


def noop(dialogue: Dialogue, argument: str) -> None:
    """Does nothing."""
    dialogue.reply(replies.OK)
    _count_noop(dialogue)


def vrfy(dialogue: Dialogue, argument: str) -> None:
    """Says nothing about an address; one that is not ASCII needs SMTPUTF8 here, too (RFC 6531 3.1)."""
    utf8 = argument.isascii() or argument.upper().endswith(" SMTPUTF8")
    dialogue.reply(replies.VRFY_MAYBE if utf8 else replies.SMTPUTF8_WANTED)
    _count_noop(dialogue)


def expn(dialogue: Dialogue, argument: str) -> None:
    """Is not implemented."""
    dialogue.reply(replies.NOT_IMPLEMENTED)
    _count_noop(dialogue)


def help_(dialogue: Dialogue, argument: str) -> None:
    """Names the commands."""
    dialogue.reply(replies.HELP)
    _count_noop(dialogue)


def quit_(dialogue: Dialogue, argument: str) -> None:
    """Ends the session."""
    dialogue.reply(replies.BYE)
    dialogue.step(Event.CLOSE)


def _count_noop(dialogue: Dialogue) -> None:
    dialogue.noops += 1
    limit = dialogue.settings.max_noops
    if dialogue.noops > limit and dialogue.state is not State.CLOSING:
        dialogue.refuse("smtps.too_many", replies.TOO_MANY_NOOPS, limit=limit)


HANDLERS: Final[Mapping[Verb, Callable[[Dialogue, str], None]]] = {
    Verb.EHLO: ehlo,
    Verb.HELO: helo,
    Verb.LHLO: lhlo,
    Verb.XCLIENT: xclient,
    Verb.XFORWARD: xforward,
    Verb.MAIL: mail,
    Verb.RCPT: rcpt,
    Verb.DATA: data,
    Verb.BDAT: bdat,
    Verb.RSET: rset,
    Verb.NOOP: noop,
    Verb.QUIT: quit_,
    Verb.VRFY: vrfy,
    Verb.EXPN: expn,
    Verb.HELP: help_,
    Verb.STARTTLS: starttls,
    Verb.AUTH: auth,
}
