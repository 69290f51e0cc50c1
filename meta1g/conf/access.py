"""The language of the access map: its tags, what their keys are, and what their right-hand sides may say.

    cltaddr:192.0.2   relay          cltname:.example.org  ok        cltresolve:forged  reject
    from:user@example.org  reject    to:list@  error:550 5.7.1 closed  dnsbl0:127.0.0.2  reject
    quick:relay: the same, and no later check is made

What SMAR does with an entry and what the tools find wrong with it come from this one table; each row names its user.

Pure.  Ref: MeTA1 README, "Lookup Orders for Anti-Spam Measures" (tags, values and order modelled on).
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import field
from enum import Enum, auto
from typing import Final

from meta1g.base.dataclass import dataclass
from meta1g.base.reply import NO_REPLY, Reply
from meta1g.conf.errors import ConfigError
from meta1g.conf.snippet import parse_snippet
from meta1g.conf.values import shown, suggest

#: Characters of the text of an `error:` value.  Ref: RFC 5321 4.5.3.1.5, reply line of 512 bytes.
ERROR_TEXT_MAX_CHARS: Final = 400
#: Characters of a list of those who may write to a protected recipient.  Our choice: it is read for each mail (invariant I10).
WRITERS_MAX_CHARS: Final = 32 * 1024


class Action(Enum):
    """What an entry says."""

    NONE = auto()  # there is no entry
    RELAY = auto()
    OK = auto()
    CONT = auto()
    REFUSE = auto()
    DISCARD = auto()


@dataclass(frozen=True, slots=True)
class Decision:
    """What the access map says about one question.

    Args:
        action: what the entry says.
        quick: no later check is made.
        reply: what is said, if REFUSE.
        rule: the entry that a refusal or a discard comes from, `map key`; it makes no other decision of it.
    """

    action: Action
    quick: bool = False
    reply: Reply = NO_REPLY
    rule: str = field(default="", compare=False)


class KeyKind(Enum):
    """What stands behind a tag."""

    CLIENT = "an IP address or the begin of one"
    NAME = "a domain; .example.org stands for the subdomains"
    RESOLVED = "ok, no, forged or temp"
    HELLO = "the argument of EHLO or HELO; .example.org stands for the subdomains"
    ADDRESS = "an address, user@, a domain or .domain; <> for the null path"
    HOST = "an IP address or the begin of one, or a domain"
    CERTIFICATE = "a distinguished name in a certificate as the log has it, +20 for a blank: CN=Our+20CA,O=Example"


class RhsKind(Enum):
    """What a right-hand side is."""

    DECISION = "relay, ok, cont, reject, discard or error:CODE text, each perhaps with quick: in front"
    WRITERS = "addresses, domains, .domains, IP addresses and networks, separated by blanks or commas"
    SNIPPET = "a piece of the configuration"


#: Right-hand sides that are one word, and what they mean; `error:CODE D.S.N text` is the other one that decides.
WORDS: Final[Mapping[str, Action]] = {
    "relay": Action.RELAY,
    "ok": Action.OK,
    "cont": Action.CONT,
    "reject": Action.REFUSE,
    "discard": Action.DISCARD,
}
QUICK: Final = "quick:"
ERROR: Final = "error:"
#: Keys of `cltresolve:`.
RESOLVED: Final = ("ok", "no", "forged", "temp")


@dataclass(frozen=True, slots=True)
class TagRow:
    """One tag.

    Args:
        tag: without its colon.
        key: what stands behind it.
        rhs: what its right-hand sides are.
        meaning: one sentence.
        user: the code that looks it up, `module:attribute`.
        no_relay: why `relay` would be wrong here; empty if it is not.
    """

    tag: str
    key: KeyKind
    rhs: RhsKind
    meaning: str
    user: str
    no_relay: str = ""


_ACCESS: Final = "meta1g.smar.access:AccessMap"
_ROWS: Final = (
    TagRow("cltaddr", KeyKind.CLIENT, RhsKind.DECISION, "A client, by its address.", f"{_ACCESS}.client"),
    TagRow("cltname", KeyKind.NAME, RhsKind.DECISION, "A client, by its confirmed name.", f"{_ACCESS}.client"),
    TagRow(
        "cltresolve",
        KeyKind.RESOLVED,
        RhsKind.DECISION,
        "A client, by how its name was found.",
        f"{_ACCESS}.client",
        no_relay="everybody would be one of these clients",
    ),
    TagRow(
        "ehlo",
        KeyKind.HELLO,
        RhsKind.DECISION,
        "A client, by the argument of its EHLO or HELO; the answer is given at MAIL.",
        f"{_ACCESS}.sender",
        no_relay="anybody can say any name",
    ),
    TagRow("from", KeyKind.ADDRESS, RhsKind.DECISION, "An envelope sender.", f"{_ACCESS}.sender"),
    TagRow("to", KeyKind.ADDRESS, RhsKind.DECISION, "A recipient.", f"{_ACCESS}.recipient"),
    TagRow(
        "protectedrcpt",
        KeyKind.ADDRESS,
        RhsKind.WRITERS,
        "A recipient that only those may write to whom the value lists.",
        f"{_ACCESS}.protection",
    ),
    TagRow(
        "smtps_session_conf",
        KeyKind.HOST,
        RhsKind.SNIPPET,
        "How smtps treats a client, by its address or confirmed name.",
        "meta1g.smar.hostconf:HostConf.client",
    ),
    TagRow(
        "smtpc_session_conf",
        KeyKind.HOST,
        RhsKind.SNIPPET,
        "How smtpc treats a server, by its address or name.",
        "meta1g.smar.hostconf:HostConf.server",
    ),
    TagRow(
        "smtpc_rcpt_conf",
        KeyKind.ADDRESS,
        RhsKind.SNIPPET,
        "What smtpc demands for a recipient.",
        "meta1g.smar.hostconf:HostConf.recipient",
    ),
    TagRow(
        "certissuer",
        KeyKind.CERTIFICATE,
        RhsKind.DECISION,
        "A client, by who issued its certificate, if that is verified; the answer is given at MAIL.",
        f"{_ACCESS}.certificate",
    ),
    TagRow(
        "certsubject",
        KeyKind.CERTIFICATE,
        RhsKind.DECISION,
        "The same by the certificate's subject.",
        f"{_ACCESS}.certificate",
    ),
)
#: All tags but the numbered ones of DNS lists.
TAGS: Final[Mapping[str, TagRow]] = {row.tag: row for row in _ROWS}
#: `dnsbl0`, `dnsbl1`: one tag for each DNS list.
DNSBL: Final = TagRow(
    "dnsbl", KeyKind.CLIENT, RhsKind.DECISION, "A client, by the answer of a DNS list about it.", f"{_ACCESS}.listed"
)
_DNSBL_TAG: Final = re.compile(r"dnsbl\d{1,3}", re.ASCII)
#: A reply code (RFC 5321 4.2.1: the second digit is 0 to 5), an enhanced code, a text.
_ERROR_VALUE: Final = re.compile(
    r'error: *+"?([45][0-5]\d)(?: ++([245]\.\d{1,3}\.\d{1,3}))?(?: ++([^"]*+))?"?', re.ASCII | re.IGNORECASE
)
#: What other mailers call the words.
_ELSEWHERE: Final[Mapping[str, str]] = {
    "permit": "ok",
    "allow": "ok",
    "accept": "ok",
    "dunno": "cont",
    "continue": "cont",
    "deny": "reject",
    "refuse": "reject",
    "drop": "discard",
}
_UNSAFE: Final = re.compile(r"[^\x20-\x7e]")
_NOT_IN_KEY: Final = re.compile(r"[^!-~]|[+\"<>()]")
_DOMAIN: Final = re.compile(r"\.?[\w-]+(\.[\w-]+)*")


def certificate_key(name: str) -> str:
    """Gives a distinguished name as it stands in a key: in lower case, what has no place there as `+` and two digits.

    Args:
        name: as RFC 4514 writes it, at most 1024 bytes.
    """
    return _NOT_IN_KEY.sub(lambda match: "".join(f"+{byte:02x}" for byte in match[0].encode()), name.lower())


def row_of(tag: str) -> TagRow:
    """Gives the row of a tag.

    Args:
        tag: without its colon, in any case.

    Raises:
        ValueError: there is no such tag; the text says what would be right.
    """
    tag = tag.lower()
    if _DNSBL_TAG.fullmatch(tag):
        return DNSBL
    if tag not in TAGS:
        raise ValueError(f"unknown tag {shown(tag)}:; {suggest(tag, (*TAGS, 'dnsbl0'))}")
    return TAGS[tag]


def check_rhs(row: TagRow, value: str, where: str) -> None:
    """Checks a right-hand side.

    Args:
        row: of its tag.
        value: the right-hand side.
        where: names the entry in errors of a snippet.

    Raises:
        ValueError: it is wrong; the text says what would be right.
    """
    if row.rhs is RhsKind.SNIPPET:
        try:
            parse_snippet(value, row.tag, where)
        except ConfigError as error:
            raise ValueError(error.cause) from error
    elif row.rhs is RhsKind.WRITERS:
        check_writers(value)
    else:
        parse_decision(row, value)


def parse_decision(row: TagRow, value: str) -> Decision:
    """Reads a right-hand side that decides.

    Args:
        row: of its tag.
        value: the right-hand side.

    Raises:
        ValueError: it is wrong; the text says what would be right.
    """
    value = value.strip()
    quick = value[: len(QUICK)].lower() == QUICK
    if quick:
        value = value[len(QUICK) :].strip()
    word = value.lower()
    if word == "relay" and row.no_relay:
        raise ValueError(f"{row.tag}: does not take relay: {row.no_relay}")
    if word == "reject":
        return Decision(Action.REFUSE, quick, Reply(550, "5.7.1", "Access denied"))
    if word in WORDS:
        return Decision(WORDS[word], quick)
    if not word.startswith(ERROR):
        raise ValueError(f"unknown value {shown(value)}; {_advice(value, word)}")
    return Decision(Action.REFUSE, quick, _error_reply(value))


def _advice(value: str, word: str) -> str:
    if word[:1] in ("4", "5") and word[:3].isdigit():
        return f"write error:{shown(value)}"
    known = (*WORDS, "error:550 text")
    advice = f"write {_ELSEWHERE[word]}" if word in _ELSEWHERE else suggest(word, known)
    if advice.startswith(("did", "write")):
        return advice
    return f"possible are {', '.join(known)}, each perhaps with {QUICK} in front"


def _error_reply(value: str) -> Reply:
    """Gives the reply of an `error:` value."""
    match = _ERROR_VALUE.fullmatch(value)
    if match is None:
        raise ValueError(f"{shown(value)} is no reply; write error:550 5.7.1 text, with a code from 400 to 559")
    code = int(match[1])
    ecode = match[2] or ("5.7.1" if code >= 500 else "4.7.1")
    if ecode[0] != match[1][0]:
        raise ValueError(f"{code} and {ecode} contradict each other; write {match[1][0]}{ecode[1:]}")
    text = _UNSAFE.sub("?", (match[3] or "").strip()[:ERROR_TEXT_MAX_CHARS]) or "Access denied"
    return Reply(code, ecode, text)


def check_writers(value: str) -> None:
    """Checks a list of those who may write to a protected recipient.

    Raises:
        ValueError: it is empty, too long, or a word of it is nothing of that; the text says what would be right.
    """
    words = value.replace(",", " ").split()
    if not words:
        raise ValueError(f"lists nobody; write {RhsKind.WRITERS.value}")
    if len(value) > WRITERS_MAX_CHARS:
        raise ValueError(f"is too long; {WRITERS_MAX_CHARS} is the greatest number of characters")
    for word in words:
        if "@" not in word and not _is_network(word) and not _DOMAIN.fullmatch(word):
            raise ValueError(f"{shown(word)} is no address, domain, IP address or network")


def _is_network(word: str) -> bool:
    try:
        ipaddress.ip_network(word)
    except ValueError:
        return False
    return True
