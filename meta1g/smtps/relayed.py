"""XCLIENT and XFORWARD: what listed neighbours say of clients that they speak for.

XCLIENT begins the session anew as that of another client, with all checks, counts and settings; what it may say of others stays
that of the connection.  XFORWARD is only noted, for the log of the next message.

Ref: Postfix, XCLIENT_README, XFORWARD_README.
"""

from collections.abc import Callable, Mapping
from typing import Final

from meta1g.base.reply import Reply
from meta1g.rcb.smtps_smar import LookupFlags
from meta1g.smtp import replies
from meta1g.smtp.esmtp import Ext
from meta1g.smtp.xclient import XCLIENT_ATTRIBUTES, XFORWARD_ATTRIBUTES, parse_attributes
from meta1g.smtps.dialogue import Authenticated, Dialogue
from meta1g.smtps.fsm import Event, State
from meta1g.smtps.trust import Trust

#: The address of a client of which none is known: no rule names it.
_NO_ADDRESS: Final = "0.0.0.0"
#: What stands for the mechanism of SASL of a user whom the neighbour has asked for a password.
_MECHANISM: Final = "XCLIENT"
_OFFERS: Final[Mapping[Trust, tuple[Ext, Mapping[str, Callable[[str], str]]]]] = {
    Trust.XCLIENT: (Ext.XCLIENT, XCLIENT_ATTRIBUTES),
    Trust.XFORWARD: (Ext.XFORWARD, XFORWARD_ATTRIBUTES),
}


def offered_to(trust: Trust, offered: Mapping[Ext, str]) -> Mapping[Ext, str]:
    """Gives the extensions that a client is offered that is trusted with more than others.

    Args:
        trust: what it may say of others.
        offered: the extensions for everybody.
    """
    return {**offered, **{ext: " ".join(table) for one, (ext, table) in _OFFERS.items() if one & trust}}


def xclient(dialogue: Dialogue, argument: str) -> None:
    """Begins the session anew as that of another client.  Switches: yes (questions)."""
    if not dialogue.trust & Trust.XCLIENT:
        dialogue.reply(replies.NOT_IMPLEMENTED)
        return
    if not dialogue.allowed(Event.CLIENT):
        return
    values = parse_attributes(argument, XCLIENT_ATTRIBUTES)
    if isinstance(values, Reply):
        dialogue.reply(values)
        return
    dialogue.presented = presented = _joined(dialogue.presented, values)
    before, peer = dialogue.id, dialogue.client_addr
    dialogue.begin_anew(dialogue.client_addr if "ADDR" not in presented else presented["ADDR"] or _NO_ADDRESS)
    dialogue.context.log.info(
        "smtps.xclient",
        f"goes on from {before}{_connected_to(presented)}",
        ss_sess=dialogue.id,
        client=dialogue.client_addr,
        client_name=presented.get("NAME") or None,
        port=int(presented["PORT"]) if presented.get("PORT") else None,
        peer=peer,
        auth=presented.get("LOGIN") or None,
    )
    dialogue.greet()
    if presented.get("LOGIN") and dialogue.state is State.GREETED:
        dialogue.auth = Authenticated(presented["LOGIN"], _MECHANISM, may_relay=True)
        dialogue.flags |= LookupFlags.AUTHENTICATED
    _said_hello(dialogue, presented)


def _connected_to(presented: Mapping[str, str]) -> str:
    """Says what the client had connected to, if the neighbour has told it."""
    words = [f"{word} {presented[name]}" for word, name in (("to", "DESTADDR"), ("port", "DESTPORT")) if presented.get(name)]
    return f", connected {' '.join(words)}" if words else ""


def _joined(before: Mapping[str, str], values: Mapping[str, str]) -> Mapping[str, str]:
    """Joins what several commands say: another address is another client, and what HELO said ends with each greeting."""
    kept = {} if "ADDR" in values else before
    return {**kept, "PROTO": "", "HELO": "", **values}


def _said_hello(dialogue: Dialogue, presented: Mapping[str, str]) -> None:
    """Takes the EHLO of the client over, if it is known; the neighbour may say it itself, too."""
    if presented["HELO"] and dialogue.state is State.GREETED:
        dialogue.step(Event.HELLO)
        protocol = presented["PROTO"] or "SMTP"
        dialogue.ehlo, dialogue.protocol = presented["HELO"], "LMTP" if dialogue.settings.lmtp else protocol


def xforward(dialogue: Dialogue, argument: str) -> None:
    """Notes what is said of the client of the next message."""
    if not dialogue.trust & Trust.XFORWARD:
        dialogue.reply(replies.NOT_IMPLEMENTED)
    elif dialogue.ta is not None:
        dialogue.reply(replies.BAD_SEQUENCE)
    else:
        values = parse_attributes(argument, XFORWARD_ATTRIBUTES)
        if isinstance(values, Reply):
            dialogue.reply(values)
        else:
            dialogue.forwarded = {**dialogue.forwarded, **values}
            dialogue.reply(replies.FORWARDED)


def tell_forwarded(dialogue: Dialogue, ta_id: str) -> None:
    """Logs what XFORWARD said of the client of a message that was accepted, and forgets it."""
    values, dialogue.forwarded = dialogue.forwarded, {}
    if not values:
        return
    rest = " ".join(f"{name} {values[name]}" for name in ("PROTO", "PORT", "SOURCE") if values.get(name))
    dialogue.context.log.info(
        "smtps.forwarded",
        rest,
        ss_sess=dialogue.id,
        ss_ta=ta_id,
        orig_client=values.get("ADDR") or None,
        orig_name=values.get("NAME") or None,
        orig_ehlo=values.get("HELO") or None,
        orig_id=values.get("IDENT") or None,
    )
