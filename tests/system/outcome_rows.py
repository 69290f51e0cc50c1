"""The rows of tests/system/test_outcomes.py: what a server says, and what becomes of each recipient then."""

import hashlib
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from meta1g.base.tlsfacts import Tlsa
from meta1g.base.tlspolicy import TlsLevel, TlsPolicy
from tests.fakes.smtp_server import End, Replies

PLAIN = {"EHLO": "250 fake"}
SENT = "delivered"
NO, LATER, BYE, OK = "550 5.1.1 no", "450 4.2.1 later", "421 4.3.2 bye", "250 ok"
CLOSED, RESET, TIMED_OUT = "server closed the connection", "Connection reset by peer", "timed out"
CLOSE, RST, SILENCE = End(), End(how="reset"), End(how="silence")
UNKNOWN = "not a reply"
NOBODY = "nobody listens"


@dataclass(frozen=True)
class Row:
    """What servers say, and what is expected.

    Attributes:
        outcomes: of each recipient: SENT, `bounce TEXT`, or `retry TEXT`; the text is a part of `code enhanced-code text`.
        copies, connections: of all servers together, before what has to wait is tried again.
        servers: their replies; NOBODY for an address without a server.
        messages: so many with one recipient each, one after the other, instead of one for all.
        local: local parts of the recipients.
        cert: name of the certificate of the servers.
        policy: makes what TLS has to fulfil at them, of the directory with the certificates.
        host: their name, empty for one of its own.
        facts: of the envelope.
        content: of the message, empty for the usual one.
        mended: replies of servers that are mended, beside the usual ones.
    """

    name: str
    outcomes: list[str]
    copies: int
    connections: int
    servers: list[Replies | str]
    lmtp: bool = False
    messages: int = 1
    local: str = "r{}"
    cert: str = ""
    policy: Callable[[Path], TlsPolicy] = lambda files: TlsPolicy()
    host: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    content: bytes = b""
    mended: Replies = field(default_factory=dict)


#: What is told of a row beside replies.
_KIND = ("lmtp", "messages", "local", "cert", "policy", "host", "facts", "content", "mended")


def one(name, outcomes, copies, connections=1, **replies):
    """A row with one server."""
    kind = {name: replies.pop(name) for name in _KIND if name in replies}
    plain = PLAIN if replies.pop("plain", False) else {}
    outcomes = [outcomes] if isinstance(outcomes, str) else outcomes
    return Row(name, outcomes, copies, connections, [{**plain, **replies}], **kind)


def both(name, outcomes, copies, connections=1, **replies):
    """A row with PIPELINING, and the same without."""
    return [
        one(name, outcomes, copies, connections, **replies),
        one(f"{name}, without PIPELINING", outcomes, copies, connections, plain=True, **replies),
    ]


def breaks(name, outcomes, copies, verb, before=(), **replies):
    """Rows in which the connection breaks at a verb, in each way; `{}` in the outcomes is the text of it."""
    ways = {
        "closes": (CLOSE, CLOSED), "resets": (RST, RESET), "falls silent": (SILENCE, TIMED_OUT),
        "closes in the middle of a reply": (End("25"), CLOSED), "talks nonsense": ("what do you want?", UNKNOWN),
        "answers 650": ("650 x", UNKNOWN), "answers 150": ("150 x", UNKNOWN), "answers 099": ("099 x", UNKNOWN),
    }  # fmt: skip
    for way, (end, text) in ways.items():
        expected = [outcome.format(text) for outcome in outcomes]
        yield one(f"{name.format(way)}", expected, copies, **replies, **{verb: [*before, end]})


def mx(name, outcomes, copies, connections, *servers, **kind):
    """A row with several servers, the best one first."""
    return Row(name, outcomes, copies, connections, list(servers), **kind)


def group(*rows) -> Iterator[Row]:
    for row in rows:
        yield from [row] if isinstance(row, Row) else row


GREETING = group(
    one("greets with 554", "bounce 554 5.3.2 no mail here", 0, banner="554 5.3.2 no mail here"),
    one("greets with 521", "bounce 521 no", 0, banner="521 no"),
    one("greets with 450", "retry 450 4.3.2 later", 0, banner="450 4.3.2 later"),
    one("greets with 421", f"retry {BYE}", 0, banner=BYE),
    one("greets with 421 and closes", f"retry {BYE}", 0, banner=End(BYE + "\r\n")),
    one("greets with 354", "retry 451 4.5.0", 0, banner="354 go"),
    one("greets with 250", SENT, 1, banner="250 hi"),
    one("greets in several lines", SENT, 1, banner="220-hi\r\n220-220\r\n220 there"),
    one("greets with bare LF", SENT, 1, banner="220 hi\n"),
    one("greets with 421 behind 220", f"retry {BYE}", 0, banner=f"220 hi\r\n{BYE}"),
    one("greets with 550 behind 220", "bounce 550 5.7.1 not you", 0, banner="220 hi\r\n550 5.7.1 not you"),
    one("greets twice", "retry 451 4.5.0", 0, banner="220 hi\r\n220 hi"),
    mx("has nobody listening", ["retry Connection refused"], 0, 0, NOBODY),
    breaks("{} instead of a greeting", ["retry {}"], 0, "banner"),
)
HELLO = group(
    one("knows HELO only", SENT, 1, EHLO="502 what?"),
    one("refuses EHLO and HELO", "bounce 550 5.7.1 not you", 0, EHLO="550 5.7.1 not you", HELO="550 5.7.1 not you"),
    one("refuses EHLO for now", f"retry {LATER}", 0, EHLO=LATER),
    one("answers EHLO with 421", f"retry {BYE}", 0, EHLO=BYE),
    one("answers EHLO with 354", "retry 451 4.5.0", 0, EHLO="354 go"),
    one("refuses EHLO and closes", "bounce 550 5.7.1 not you", 0, EHLO="550 5.7.1 not you", HELO=CLOSE),
    one("does not know EHLO and closes", f"retry {CLOSED}", 0, EHLO="500 what?", HELO=CLOSE),
    one("refuses HELO for now", f"retry {LATER}", 0, EHLO="502 what?", HELO=LATER),
    breaks("{} at EHLO", ["retry {}"], 0, "EHLO"),
)
TWO_NO, TWO_LATER = [f"bounce {NO}"] * 2, [f"retry {LATER}"] * 2
MAIL = group(
    both("refuses MAIL", TWO_NO, 0, MAIL=NO, RCPT="503 first MAIL", DATA="503 first MAIL"),
    both("refuses MAIL for now", TWO_LATER, 0, MAIL=LATER, RCPT="503 first MAIL", DATA="503 first MAIL"),
    both("refuses MAIL and closes", TWO_NO, 0, MAIL=End(NO + "\r\n")),
    both("refuses MAIL and resets", TWO_NO, 0, MAIL=End(NO + "\r\n", "reset")),
    one("refuses MAIL and falls silent", TWO_NO, 0, MAIL=End(NO + "\r\n", "silence")),
    one("refuses MAIL and closes in the middle of a reply", TWO_NO, 0, MAIL=End(NO + "\r\n503 fi")),
    one("refuses MAIL and talks nonsense", TWO_NO, 0, MAIL=End(NO + "\r\nwhat?\r\n")),
    one("refuses MAIL and answers RCPT with 421", TWO_NO, 0, MAIL=NO, RCPT=BYE),
    one("refuses MAIL for now and closes", TWO_LATER, 0, MAIL=End(LATER + "\r\n")),
    one("refuses MAIL, then takes everything", TWO_NO, 0, MAIL=NO),
    both("answers MAIL with 421", [f"retry {BYE}"] * 2, 0, MAIL=BYE),
    one("answers MAIL with 421 and closes", [f"retry {BYE}"] * 2, 0, MAIL=End(BYE + "\r\n")),
    one("answers MAIL with 354", ["retry 451 4.5.0"] * 2, 0, MAIL="354 go"),
    one("answers MAIL with 251", [SENT] * 2, 1, MAIL="251 ok"),
    one("answers MAIL with 552", ["bounce 552 5.3.4 too big"] * 2, 0, MAIL="552 5.3.4 too big", RCPT="503 no", DATA="503 no"),
    one("answers MAIL with 452", ["retry 452 4.3.1 full"] * 2, 0, MAIL="452 4.3.1 full", RCPT="503 no", DATA="503 no"),
    one("closes in the middle of the refusal of MAIL", [f"retry {CLOSED}"] * 2, 0, MAIL=End("550 5.1.1 n")),
    one("closes between the lines of the refusal of MAIL", [f"retry {CLOSED}"] * 2, 0, MAIL=End("550-5.1.1 n\r\n")),
    breaks("{} at MAIL", ["retry {}"], 0, "MAIL"),
)
LIMIT = "452 4.5.3 too many"
RCPT = group(
    both("refuses one recipient", [f"bounce {NO}", SENT], 1, RCPT=[NO, OK]),
    both("refuses all", TWO_NO, 0, RCPT=NO, DATA="554 nobody"),
    one("refuses all and takes an empty message", TWO_NO, 0, RCPT=NO, dot="250 thanks"),
    one("refuses all and closes at DATA", TWO_NO, 0, RCPT=NO, DATA=CLOSE),
    one("refuses all and resets at the dot", TWO_NO, 0, RCPT=NO, dot=RST),
    both("refuses one for good, one for now", [f"bounce {NO}", f"retry {LATER}", SENT], 1, RCPT=[NO, LATER, OK]),
    both("refuses one, 421 for the next", [f"bounce {NO}", *[f"retry {BYE}"] * 2], 0, RCPT=[NO, BYE]),
    both("accepts, refuses, closes", [f"retry {CLOSED}", f"bounce {NO}", f"retry {CLOSED}"], 0, RCPT=[OK, NO, CLOSE]),
    both("refuses one for now and closes", [f"retry {LATER}", f"retry {CLOSED}"], 0, RCPT=[LATER, CLOSE]),
    one("refuses one, 354 for the next", [f"bounce {NO}", "retry 451 4.5.0"], 0, RCPT=[NO, "354 go"]),
    breaks("refuses one, then {}", [f"bounce {NO}", "retry {}"], 0, "RCPT", [NO]),
    breaks("accepts one, then {}", ["retry {}"] * 2, 0, "RCPT", [OK]),
    one("forwards and cannot verify", [SENT, SENT], 1, RCPT=["251 will forward", "252 perhaps"]),
    one("says 552 at RCPT", ["retry 552 too many"], 0, RCPT="552 too many", DATA="503 no"),
    one("has a full mailbox", [SENT, "retry 552 5.2.2 full"], 1, RCPT=[OK, "552 5.2.2 full"]),
    one("says 550 with an enhanced code of 4yz", ["bounce 550 4.2.2 full"], 0, RCPT="550 4.2.2 full", DATA="503 no"),
    one("says 450 with an enhanced code of 5yz", ["retry 450 5.2.2 full"], 0, RCPT="450 5.2.2 full", DATA="503 no"),
    one("says 599", ["bounce 599 odd", SENT], 1, RCPT=["599 odd", OK]),
    one("says 499", ["retry 499 odd", SENT], 1, RCPT=["499 odd", OK]),
    one("takes one recipient a message", [SENT] * 3, 3, RCPT=[OK, LIMIT, LIMIT, OK, LIMIT, OK]),
    one("takes one recipient a message, without PIPELINING", [SENT] * 3, 3, plain=True, RCPT=[OK, LIMIT] * 2 + [OK]),
    one("says 552 for its limit", [SENT] * 3, 2, RCPT=[OK, OK, "552 too many", OK]),
    one("has a limit and refuses", [SENT, f"bounce {NO}", SENT], 2, RCPT=[OK, NO, LIMIT, OK]),
    one("has a limit and refuses the message", ["bounce 554 spam", f"retry {LIMIT}"], 1, RCPT=[OK, LIMIT], dot="554 spam"),
    one("has a limit and closes at the dot", [f"retry {CLOSED}", f"retry {LIMIT}"], 1, RCPT=[OK, LIMIT], dot=CLOSE),
    one("has a limit and closes after each message", [SENT, SENT], 2, 2, RCPT=[OK, LIMIT, OK], dot=End("250 kept\r\n")),
    one("has a limit that nobody stays below", [f"retry {LIMIT}"] * 2, 0, RCPT=LIMIT, DATA="503 no"),
    one("sends replies in one packet", [SENT, f"bounce {NO}"], 1, MAIL=f"250 ok\r\n250 ok\r\n{NO}", RCPT=""),
    one("answers before it is asked", ["retry 451 4.5.0"] * 2, 0, plain=True, MAIL="250 ok\r\n250 ok"),
    one("refuses before it is asked", [f"bounce {NO}"] * 2, 0, plain=True, MAIL=f"250 ok\r\n{NO}"),
)
DATA = group(
    both("refuses DATA", TWO_NO, 0, DATA=NO),
    both("refuses DATA for now", TWO_LATER, 0, DATA=LATER),
    both("refuses DATA and closes", TWO_NO, 0, DATA=End(NO + "\r\n")),
    one("refuses DATA and resets", TWO_NO, 0, DATA=End(NO + "\r\n", "reset")),
    both("refuses one, then DATA for now, and closes", [f"bounce {NO}", f"retry {LATER}"], 0,
         RCPT=[NO, OK], DATA=End(LATER + "\r\n")),
    both("answers DATA with 421", [f"retry {BYE}"] * 2, 0, DATA=BYE),
    one("answers DATA with 250", ["retry 451 4.5.0"] * 2, 0, DATA=OK),
    one("answers DATA with 399", [SENT] * 2, 1, DATA="399 go"),
    one("refuses one, closes at DATA", [f"bounce {NO}", f"retry {CLOSED}"], 0, RCPT=[NO, OK], DATA=CLOSE),
    breaks("{} at DATA", ["retry {}"], 0, "DATA"),
    one("wants content and closes", f"retry {CLOSED}", 0, DATA=End("354 go\r\n")),
    one("refuses content that is on its way", [f"bounce {NO}"] * 2, 0, DATA=f"354 go\r\n{NO}"),
    one("refuses one, and content on its way", [f"bounce {NO}", "bounce 552 5.3.4 big"], 0,
        RCPT=[NO, OK], DATA=End("354 go\r\n552 5.3.4 big\r\n")),
    one("says 421 to content that is on its way", f"retry {BYE}", 0, DATA=f"354 go\r\n{BYE}"),
    one("accepts content that is on its way", "retry 451 4.5.0", 0, DATA="354 go\r\n250 ok"),
)  # fmt: skip
DOT = group(
    one("refuses the message", ["bounce 554 5.6.0 spam"] * 2, 1, dot="554 5.6.0 spam"),
    one("refuses the message and closes", ["bounce 554 5.6.0 spam"] * 2, 1, dot=End("554 5.6.0 spam\r\n")),
    one("refuses the message for now", ["retry 452 4.3.1 full"] * 2, 1, dot="452 4.3.1 full"),
    one("answers the dot with 421", [f"retry {BYE}"] * 2, 1, dot=End(BYE + "\r\n")),
    one("accepts and closes", [SENT] * 2, 1, dot=End("250 kept\r\n")),
    one("accepts and resets", [SENT] * 2, 1, dot=End("250 kept\r\n", "reset")),
    one("answers the dot with 251", SENT, 1, dot="251 kept"),
    one("answers the dot with 299", SENT, 1, dot="299 kept"),
    one("answers the dot with different codes", SENT, 1, dot="250-kept\r\n251 really"),
    one("changes its mind at the dot", "bounce 554 5.6.0 kept spam", 1, dot="250-kept\r\n554 5.6.0 spam"),
    one("answers the dot with bare LF", SENT, 1, dot="250-2.0.0 kept\n250 2.0.0 really\n"),
    one("writes a tab after its code", SENT, 1, dot="250\tkept"),
    one("writes a colon after its code", "bounce 554 : spam", 1, dot="554: spam"),
    one("says how much room it has before its 554", "bounce 554 spam", 1, dot="250MB free\r\n554 spam"),
    one("mixes its line ends", SENT, 1, dot="250-2.0.0 kept\n250 2.0.0 really"),
    one("breaks off in the middle of its 250", SENT, 1, dot=End("250 2.0.0 ke")),
    one("breaks off between the lines of its 250", SENT, 1, dot=End("250-2.0.0 kept\r\n")),
    one("resets in the middle of its 250", SENT, 1, dot=End("250 2.0.0 ke", "reset")),
    one("breaks off in the middle of its 554", "bounce 554 5.6.0 sp", 1, dot=End("554 5.6.0 sp")),
    one("writes a warning before its 250", SENT, 1, dot="Warning: disk is slow\r\n250 kept"),
    one("writes a warning within its 250", SENT, 1, dot="250-kept\r\nWarning: disk is slow\r\n250 really"),
    one("writes a warning before its 554", "bounce 554 spam", 1, dot="Warning: low\r\n554 spam"),
    one("answers the dot with 354 and 250", SENT, 1, dot="354 go\r\n250 kept"),
    one("answers the dot with 354", f"retry {TIMED_OUT}", 1, dot="354 go"),
    one("answers the dot with 354 and closes", f"retry {CLOSED}", 1, dot=End("354 go\r\n")),
    one("accepts with an enhanced code of 5yz", SENT, 1, dot="250 5.0.0 kept"),
    one("refuses one, closes at the dot", [f"bounce {NO}", f"retry {CLOSED}"], 1, RCPT=[NO, OK], dot=CLOSE),
    breaks("{} at the dot", ["retry {}"], 1, "dot"),
)
KEPT, FULL = "250 kept\r\n", "552 5.2.2 full\r\n"
LMTP = group(
    one("LMTP: all accepted", [SENT] * 3, 1, lmtp=True),
    one("LMTP: one refused at the dot", [SENT, "bounce 552 5.2.2 full", SENT], 1, lmtp=True, dot=KEPT + FULL + KEPT),
    one("LMTP: one refused at RCPT", [SENT, f"bounce {NO}", f"retry {LATER}"], 1, lmtp=True,
        RCPT=[OK, NO, OK], dot=KEPT + LATER),
    one("LMTP: closes after one", [SENT, f"retry {CLOSED}", f"retry {CLOSED}"], 1, lmtp=True, dot=End(KEPT)),
    one("LMTP: resets after a refusal", [SENT, "bounce 552 5.2.2 full", f"retry {RESET}"], 1, lmtp=True,
        dot=End(KEPT + FULL, "reset")),
    one("LMTP: falls silent after one", [SENT, f"retry {TIMED_OUT}"], 1, lmtp=True, dot=End(KEPT, "silence")),
    one("LMTP: says 421 after one", [SENT, f"retry {BYE}", f"retry {BYE}"], 1, lmtp=True, dot=End(KEPT + BYE + "\r\n")),
    one("LMTP: breaks off in the middle of the second 250", [SENT, SENT, f"retry {CLOSED}"], 1, lmtp=True,
        dot=End(KEPT + "250 ke")),
    one("LMTP: refuses LHLO", "bounce 550 5.7.1 not you", 0, lmtp=True, LHLO="550 5.7.1 not you"),
    one("LMTP: refuses all and wants content", TWO_NO, 0, lmtp=True, RCPT=NO),
    one("LMTP: refuses one, closes at the dot", [f"bounce {NO}", f"retry {CLOSED}"], 1, lmtp=True, RCPT=[NO, OK], dot=CLOSE),
)  # fmt: skip
CHUNKING = "250-fake\r\n250-PIPELINING\r\n250 CHUNKING"
#: The same behind the last chunk as behind the dot (RFC 3030 2): it is the point of no return, too.
CHUNK = group(
    one("takes a chunk", [SENT] * 2, 1, EHLO=CHUNKING),
    one("refuses the chunk", ["bounce 554 5.6.0 spam"] * 2, 1, EHLO=CHUNKING, BDAT="554 5.6.0 spam"),
    one("refuses the chunk and closes", ["bounce 554 5.6.0 spam"] * 2, 1, EHLO=CHUNKING, BDAT=End("554 5.6.0 spam\r\n")),
    one("refuses the chunk for now", ["retry 452 4.3.1 full"] * 2, 1, EHLO=CHUNKING, BDAT="452 4.3.1 full"),
    one("answers the chunk with 421", [f"retry {BYE}"] * 2, 1, EHLO=CHUNKING, BDAT=End(BYE + "\r\n")),
    one("accepts the chunk and resets", [SENT] * 2, 1, EHLO=CHUNKING, BDAT=End("250 kept\r\n", "reset")),
    one("answers the chunk with different codes", SENT, 1, EHLO=CHUNKING, BDAT="250-kept\r\n251 really"),
    one("changes its mind at the chunk", "bounce 554 5.6.0 kept spam", 1, EHLO=CHUNKING, BDAT="250-kept\r\n554 5.6.0 spam"),
    one("breaks off in the middle of its 250 to the chunk", SENT, 1, EHLO=CHUNKING, BDAT=End("250 2.0.0 ke")),
    one("refuses one, closes at the chunk", [f"bounce {NO}", f"retry {CLOSED}"], 1, EHLO=CHUNKING, RCPT=[NO, OK], BDAT=CLOSE),
    one("refuses all and is sent no chunk", TWO_NO, 0, EHLO=CHUNKING, RCPT=NO),
    breaks("{} at the chunk", ["retry {}"], 1, "BDAT", EHLO=CHUNKING),
    one("LMTP: one refused behind the chunk", [SENT, "bounce 552 5.2.2 full", SENT], 1, lmtp=True, LHLO=CHUNKING,
        BDAT=KEPT + FULL + KEPT),
    one("LMTP: closes after one behind the chunk", [SENT, f"retry {CLOSED}"], 1, lmtp=True, LHLO=CHUNKING, BDAT=End(KEPT)),
)  # fmt: skip
KEEP = group(
    one("is used for the next message", [SENT] * 2, 2, 1, messages=2),
    one("closes after each message", [SENT] * 2, 2, 2, messages=2, dot=End("250 kept\r\n")),
    one("resets after each message", [SENT] * 2, 2, 2, messages=2, dot=End("250 kept\r\n", "reset")),
    one("closes at the second MAIL", [SENT] * 2, 2, 2, messages=2, MAIL=[OK, CLOSE, OK]),
    one("resets at the second MAIL", [SENT] * 2, 2, 2, messages=2, MAIL=[OK, RST, OK]),
    one("talks nonsense at the second MAIL", [SENT] * 2, 2, 2, messages=2, MAIL=[OK, "what?", OK]),
    one("says 421 to the second MAIL", [SENT] * 2, 2, 2, messages=2, MAIL=[OK, BYE, OK]),
    one("takes one message a session", [SENT] * 2, 2, 2, messages=2, MAIL=[OK, "452 4.5.3 enough", OK]),
    one("does not understand the second MAIL", [SENT] * 2, 2, 2, messages=2, MAIL=[OK, "503 5.5.1 what?", OK]),
    one("refuses the second MAIL", [SENT, f"bounce {NO}"], 1, 1, messages=2, MAIL=[OK, NO]),
    one("refuses the second MAIL wherever it comes", [SENT, f"retry {LATER}"], 1, 2, messages=2, MAIL=[OK, LATER, LATER]),
    one("closes at the second RCPT", [SENT, f"retry {CLOSED}"], 1, 1, messages=2, RCPT=[OK, CLOSE]),
    one("resets a refused transaction", [f"bounce {NO}", SENT], 1, 1, messages=2, plain=True, RCPT=[NO, OK]),
    one("refuses RSET", [f"bounce {NO}", SENT], 1, 2, messages=2, plain=True, RCPT=[NO, OK], RSET="502 what?"),
    one("closes at RSET", [f"bounce {NO}", SENT], 1, 2, messages=2, plain=True, RCPT=[NO, OK], RSET=CLOSE),
    one("answers RSET with 421", [f"bounce {NO}", SENT], 1, 2, messages=2, plain=True, RCPT=[NO, OK], RSET=BYE),
    one("never answers RSET", [f"bounce {NO}", SENT], 1, 2, messages=2, plain=True, RCPT=[NO, OK], RSET=SILENCE),
    one("closes at QUIT", [SENT] * 2, 2, 1, messages=2, QUIT=CLOSE),
    one("never answers QUIT", [SENT] * 2, 2, 1, messages=2, QUIT=SILENCE),
)
GOOD: Replies = {}
SEVERAL = group(
    mx("the first server is away", [SENT], 1, 1, NOBODY, GOOD),
    mx("the first server greets with 554", [SENT], 1, 2, {"banner": "554 no"}, GOOD),
    mx("all servers greet with 554", ["bounce 554 nor here"], 0, 2, {"banner": "554 no"}, {"banner": "554 nor here"}),
    mx("the first server says 421", [SENT] * 2, 1, 2, {"MAIL": BYE}, GOOD),
    mx("the first server refuses MAIL", TWO_NO, 0, 1, {"MAIL": NO, "RCPT": "503 no", "DATA": "503 no"}, GOOD),
    mx("the first server refuses MAIL and closes", TWO_NO, 0, 1, {"MAIL": End(NO + "\r\n")}, GOOD),
    mx("the first server refuses one and closes", [f"bounce {NO}", SENT], 1, 2, {"RCPT": [NO, CLOSE]}, GOOD),
    mx("the first server refuses one and resets", [f"bounce {NO}", SENT], 1, 2, {"RCPT": [NO, RST]}, GOOD),
    mx("the first server refuses one for now", [SENT, SENT], 2, 2, {"RCPT": [LATER, OK]}, GOOD),
    mx("the first server refuses DATA for now and closes", [SENT, SENT], 1, 2, {"DATA": End(LATER + "\r\n")}, GOOD),
    mx("the first server closes at DATA", [f"bounce {NO}", SENT], 1, 2, {"RCPT": [NO, OK], "DATA": CLOSE}, GOOD),
    mx("LMTP: the first server closes after one", [SENT, SENT], 2, 2, {"dot": End(KEPT)}, GOOD, lmtp=True),
)
ROWS = list(chain(GREETING, HELLO, MAIL, RCPT, DATA, DOT, LMTP, CHUNK, KEEP, SEVERAL))

# -- extensions: each row has what it needs beside replies -------------------------------------------------------------


def offers(*keywords):
    """An EHLO reply."""
    return "\r\n".join(f"250{'-' if number < len(keywords) else ' '}{one}" for number, one in enumerate(("fake", *keywords)))


TLS = offers("PIPELINING", "STARTTLS")
TLS_TAKEN: Replies = {"EHLO": TLS, "STARTTLS": "220 go"}
RIGHT, WRONG = "right.example", "wrong.example"
LEVELS: dict[str, Callable[[Path], TlsPolicy]] = {
    "may": lambda files: TlsPolicy(),
    "encrypt": lambda files: TlsPolicy(TlsLevel.ENCRYPT),
    "verify": lambda files: TlsPolicy(TlsLevel.VERIFY, names=(RIGHT,), source="MTA-STS of row.example: enforce"),
    "fingerprint": lambda files: TlsPolicy(TlsLevel.FINGERPRINT, fingerprints=(sha256(files),)),
    "dane": lambda files: TlsPolicy(TlsLevel.DANE, names=(RIGHT,), tlsa=(Tlsa(3, 0, 1, bytes.fromhex(sha256(files))),)),
}


def sha256(files: Path) -> str:
    """The fingerprint of the right certificate."""
    first, end, _ = (files / f"{RIGHT}.pem").read_text().partition("-----END CERTIFICATE-----")
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first + end)).hexdigest()


def tls(name, level, outcomes, copies, connections=1, **replies):
    """A row with a server that offers TLS, if it does not say otherwise, and the right certificate."""
    replies = {"EHLO": TLS, "STARTTLS": "220 go", "mended": TLS_TAKEN, "cert": RIGHT, "policy": LEVELS[level], **replies}
    return one(f"TLS {level}: {name}", outcomes, copies, connections, **replies)


#: What a server does at STARTTLS, and what the outcome says where TLS is demanded.
_BROKEN = {
    "refuses with 454": ("454 4.7.0 not now", "TLS is required, but the server refuses STARTTLS: 454 4.7.0 not now", 1),
    "refuses with 502": ("502 5.5.1 what?", "TLS is required, but the server refuses STARTTLS: 502 5.5.1 what?", 1),
    "refuses with 554": ("554 5.7.0 no", "TLS is required, but the server refuses STARTTLS: 554 5.7.0 no", 1),
    "answers with 354": ("354 go", "STARTTLS: unexpected reply 354 go", 2),
    "answers with 421": (BYE, f"STARTTLS: {BYE}", 2),
    "talks nonsense": ("what do you want?", f"STARTTLS: {UNKNOWN}", 2),
    "closes": (CLOSE, f"STARTTLS: {CLOSED}", 2),
    "resets": (RST, f"STARTTLS: {RESET}", 2),
    "falls silent": (SILENCE, f"STARTTLS: {TIMED_OUT}", 2),
    "says go and more": ("220 go\r\n250 evil", "TLS handshake: the server said more", 2),
    "says go and closes": (End("220 go\r\n"), "TLS handshake: TLS: unexpected eof", 2),
    "says go and resets": (End("220 go\r\n", "reset"), f"TLS handshake: {RESET}", 2),
    "says go and talks nonsense": (End("220 go\r\nno TLS here, sorry\r\n"), "TLS handshake: the server said more", 2),
}


def broken_tls():
    for level in LEVELS:
        for name, (reply, text, _) in _BROKEN.items():
            # The server that breaks does so each time it is asked: in clear it is asked no more where nothing is demanded.
            if level == "may":
                yield tls(f"{name}, and goes on in clear", level, SENT, 1, _BROKEN[name][2], STARTTLS=reply)
            else:
                yield tls(name, level, f"retry 451 4.7.5 SERVER: {text}", 0, STARTTLS=reply)


SECURED = group(
    *(tls("fits", level, SENT, 1) for level in LEVELS),
    *(tls("has another certificate", level, SENT, 1, cert=WRONG) for level in ("may", "encrypt")),
    *(tls("has another certificate", level, "retry 451 4.7.5", 0, cert=WRONG) for level in ("verify", "fingerprint", "dane")),
    tls("does not offer it", "may", SENT, 1, EHLO=offers("PIPELINING")),
    *(tls("does not offer it", level, "retry 451 4.7.4", 0, EHLO=offers("PIPELINING")) for level in tuple(LEVELS)[1:]),
    *(tls("knows HELO only", level, "retry 451 4.7.4", 0, EHLO="502 what?") for level in ("encrypt", "verify")),
    *broken_tls(),
    tls("refuses EHLO under TLS", "encrypt", "bounce 550 5.7.1 not you", 0, EHLO=[TLS, "550 5.7.1 not you"],
        HELO="550 5.7.1 not you"),
    tls("says 421 to EHLO under TLS", "encrypt", f"retry {BYE}", 0, EHLO=[TLS, BYE]),
    tls("closes at EHLO under TLS", "encrypt", "retry EHLO: TLS: unexpected eof", 0, EHLO=[TLS, None]),
    tls("refuses one and closes under TLS", "encrypt", [f"bounce {NO}", "retry RCPT: TLS: unexpected eof"], 0, RCPT=[NO, None]),
    tls("accepts and closes under TLS", "verify", [SENT] * 2, 1, dot=End("250 kept\r\n")),
    tls("answers the dot with 421 under TLS", "dane", f"retry {BYE}", 1, dot=End(BYE + "\r\n")),
    one("wants TLS that it does not offer", "retry 530 5.7.0 TLS first", 0, MAIL="530 5.7.0 TLS first",
        RCPT="503 no", DATA="503 no"),
    mx("TLS encrypt: only the second server has it", [SENT], 1, 2, {"EHLO": offers("PIPELINING")},
       TLS_TAKEN, cert=RIGHT, policy=LEVELS["encrypt"]),
    mx("TLS verify: the first server greets with 554", [SENT], 1, 2, {"banner": "554 no"},
       TLS_TAKEN, cert=RIGHT, policy=LEVELS["verify"]),
    mx("TLS verify: no server has it", ["retry 451 4.7.4"], 0, 2, {"EHLO": offers("PIPELINING")},
       {"EHLO": offers("PIPELINING")}, cert=RIGHT, policy=LEVELS["verify"], mended=TLS_TAKEN),
)  # fmt: skip
LOGIN = offers("PIPELINING", "AUTH PLAIN LOGIN")
LOGIN_TAKEN: Replies = {"EHLO": LOGIN, "AUTH": "235 2.7.0 hello"}
KNOWN = "known.example"  # tests/system/test_outcomes.py has a login for it


def login(name, outcomes, copies, connections=1, **replies):
    """A row with a server that there is a login for."""
    replies = {**LOGIN_TAKEN, "mended": LOGIN_TAKEN, "host": KNOWN, **replies}
    return one(f"AUTH: {name}", outcomes, copies, connections, **replies)


AUTH = group(
    login("takes the login", [SENT] * 2, 1),
    login("takes it in several lines", SENT, 1, AUTH="235-2.7.0 hello\r\n235 2.7.0 you"),
    login("refuses the password", "retry 535 5.7.8 wrong", 0, AUTH="535 5.7.8 wrong"),
    login("refuses it for now", "retry 454 4.7.0 later", 0, AUTH="454 4.7.0 later"),
    login("wants another mechanism", "retry 504 5.5.4 which?", 0, AUTH="504 5.5.4 which?"),
    login("wants TLS first", "retry 538 5.7.11 TLS", 0, AUTH="538 5.7.11 TLS"),
    login("says 550", "retry 550 5.7.1 no", 0, AUTH="550 5.7.1 no"),
    login("says 421", f"retry {BYE}", 0, AUTH=BYE),
    login("asks what it has been told", "retry 4", 0, AUTH=["334 ", "501 5.7.0 what?"]),
    login("answers with 250", SENT, 1, AUTH="250 ok"),
    login("closes", f"retry {CLOSED}", 0, AUTH=CLOSE),
    login("resets", f"retry {RESET}", 0, AUTH=RST),
    login("falls silent", f"retry {TIMED_OUT}", 0, AUTH=SILENCE),
    login("talks nonsense", f"retry {UNKNOWN}", 0, AUTH="who?"),
    login("does not offer it", "retry 4", 0, EHLO=offers("PIPELINING")),
    login("has no mechanism in common", "retry 4", 0, EHLO=offers("PIPELINING", "AUTH GSSAPI NTLM")),
    one("AUTH: wanted by a server without a login", "retry 530 5.7.0 who?", 0, MAIL="530 5.7.0 who?", RCPT="503 no",
        DATA="503 no", EHLO=LOGIN),
    login("says 530 after the login", "retry 530 5.7.0 who?", 0, MAIL="530 5.7.0 who?", RCPT="503 no", DATA="503 no"),
    mx("AUTH: the first server refuses the password", [SENT], 1, 2, {"EHLO": LOGIN, "AUTH": "535 5.7.8 wrong"},
       LOGIN_TAKEN, host=KNOWN),
)  # fmt: skip
EIGHT = "Received: here\r\nSubject: käse\r\n\r\nbody\r\n".encode()
EIGHT_BODY = "Received: here\r\nSubject: x\r\n\r\nkäse\r\n".encode()
ASCII = b"Received: here\r\nSubject: x\r\n\r\nbody\r\n"
#: Behind the end of the tests.
LATE = time.time() + 20_000
UTF8 = {"facts": {"smtputf8": True, "body": "8BITMIME"}, "content": EIGHT}
ALL_UTF8 = offers("PIPELINING", "8BITMIME", "SMTPUTF8")
MANY = "\r\n".join(f"550-5.1.1 line {number}" for number in range(200)) + "\r\n550 5.1.1 the end"
NEEDS = group(
    one("SMTPUTF8: takes it", SENT, 1, EHLO=ALL_UTF8, local="rü{}", **UTF8),
    one("SMTPUTF8: does not offer it, the address needs it", "bounce address needs SMTPUTF8", 0, local="rü{}", **UTF8),
    one("SMTPUTF8: does not offer it, the header needs it", "bounce message header needs SMTPUTF8", 0, **UTF8),
    one("SMTPUTF8: refuses it", "bounce 553 5.6.7 no", 0, EHLO=ALL_UTF8, local="rü{}", RCPT="553 5.6.7 no",
        DATA="503 no", **UTF8),
    one("SMTPUTF8: not needed", SENT, 1, facts={"smtputf8": True}, content=ASCII),
    mx("SMTPUTF8: only the second server offers it", ["bounce address needs SMTPUTF8"], 0, 1, GOOD, {"EHLO": ALL_UTF8},
       local="rü{}", **UTF8),
    one("LMTP: SMTPUTF8", SENT, 1, lmtp=True, LHLO=ALL_UTF8, local="rü{}", **UTF8),
    one("8BITMIME: takes it", SENT, 1, facts={"body": "8BITMIME"}, content=EIGHT_BODY),
    one("8BITMIME: does not offer it", "bounce needs 8BITMIME", 0, EHLO=offers("PIPELINING"), facts={"body": "8BITMIME"},
        content=EIGHT_BODY),
    one("8BITMIME: does not offer it, nothing needs it", SENT, 1, EHLO=offers("PIPELINING"), facts={"body": "8BITMIME"},
        content=ASCII),
    one("8BITMIME: knows HELO only", "bounce needs 8BITMIME", 0, EHLO="502 what?", facts={"body": "8BITMIME"},
        content=EIGHT_BODY),
    one("BINARYMIME: takes it", SENT, 1, EHLO=offers("PIPELINING", "8BITMIME", "CHUNKING", "BINARYMIME"),
        facts={"body": "BINARYMIME"}, content=b"Subject: x\r\n\r\n\0\n"),
    one("BINARYMIME: does not offer it", "bounce needs BINARYMIME", 0, EHLO=offers("PIPELINING", "8BITMIME", "CHUNKING"),
        facts={"body": "BINARYMIME"}, content=b"Subject: x\r\n\r\n\0\n"),
    one("BINARYMIME: does not offer it, nothing needs it", SENT, 1, facts={"body": "BINARYMIME"}),
    one("SIZE: too big", "bounce takes at most 10 bytes", 0, EHLO=offers("PIPELINING", "SIZE 10")),
    one("SIZE: no limit", SENT, 1, EHLO=offers("PIPELINING", "SIZE 0")),
    one("SIZE: nonsense", SENT, 1, EHLO=offers("PIPELINING", "SIZE many")),
    one("CHUNKING: does not know it after all", "bounce 500 5.5.1 what?", 1, EHLO=CHUNKING, BDAT="500 5.5.1 what?"),
    one("CHUNKING: out of step", "bounce 503 5.5.1 MAIL first", 1, EHLO=CHUNKING, BDAT="503 5.5.1 MAIL first"),
    one("CHUNKING: answers with 354", f"retry {TIMED_OUT}", 1, EHLO=CHUNKING, BDAT="354 go"),
    one("DELIVERBY: takes it", SENT, 1, EHLO=offers("PIPELINING", "DELIVERBY"), facts={"by": LATE, "by_mode": "R"}),
    one("DELIVERBY: does not offer it", "bounce does not offer DELIVERBY", 0, facts={"by": LATE, "by_mode": "R"}),
    one("DELIVERBY: promises too little", "bounce s are left for delivery", 0, EHLO=offers("DELIVERBY 999999999"),
        facts={"by": LATE, "by_mode": "R"}),
    one("DELIVERBY: not offered where nobody demands it", SENT, 1, facts={"by": LATE, "by_mode": "N"}),
    one("DELIVERBY: refused at MAIL", "bounce 501 5.5.4 BY?", 0, EHLO=offers("DELIVERBY"), MAIL="501 5.5.4 BY?", RCPT="503 no",
        DATA="503 no", facts={"by": LATE, "by_mode": "R"}),
    one("REQUIRETLS: no TLS", "bounce REQUIRETLS", 0, facts={"requiretls": True}),
    one("REQUIRETLS: TLS without it", "bounce REQUIRETLS", 0, EHLO=TLS, STARTTLS="220 go", cert=RIGHT, policy=LEVELS["verify"],
        facts={"requiretls": True}),
    one("REQUIRETLS: takes it", SENT, 1, EHLO=offers("STARTTLS", "REQUIRETLS"), STARTTLS="220 go", cert=RIGHT,
        policy=LEVELS["verify"], facts={"requiretls": True}),
)  # fmt: skip
#: What stands in a reply, and what of it is in the report or beside the recipient.
TEXTS = group(
    one("says 551", "bounce 551 5.1.6 moved to x@y.example", 0, RCPT="551 5.1.6 moved to x@y.example", DATA="503 no"),
    one("says a code and nothing else", "bounce 550", 0, RCPT="550", DATA="503 no"),
    one("says a code and a blank", "bounce 550", 0, RCPT="550 ", DATA="503 no"),
    one("says a code and a tab", "bounce 550 no", 0, RCPT="550\tno", DATA="503 no"),
    one("has different enhanced codes in its lines", "bounce 550 5.7.1 5.1.1 no never", 0,
        RCPT="550-5.1.1 no\r\n550 5.7.1 never", DATA="503 no"),
    one("has an enhanced code of another class", "bounce 550 4.7.1 no", 0, RCPT="550 4.7.1 no", DATA="503 no"),
    one("has an enhanced code that is none", "bounce 550 5.1.1.1 no", 0, RCPT="550 5.1.1.1 no", DATA="503 no"),
    one("has an enhanced code beyond all bounds", "bounce 550 5.9999.1 no", 0, RCPT="550 5.9999.1 no", DATA="503 no"),
    one("says NUL", "bounce 550 5.1.1 n", 0, RCPT="550 5.1.1 n\0o", DATA="503 no"),
    one("says controls", "bounce 550 5.1.1 ", 0, RCPT="550 5.1.1 \x1b[2J\x07no\x7f", DATA="503 no"),
    one("says a bare CR", "bounce 550 5.1.1 ", 0, RCPT="550 5.1.1 no\rTo: you@x.example", DATA="503 no"),
    one("says UTF-8", "bounce 550 5.1.1 ", 0, RCPT="550 5.1.1 k\xc3\xa4se", DATA="503 no"),
    one("says Latin-1", "bounce 550 5.1.1 ", 0, RCPT="550 5.1.1 k\xe4se", DATA="503 no"),
    one("says a header field", "bounce 550 5.1.1 no", 0, RCPT="550-5.1.1 no\r\n550 Action: delivered", DATA="503 no"),
    one("says a MIME boundary", "bounce 550 5.1.1 no", 0, RCPT="550-5.1.1 no\r\n550 --boundary--", DATA="503 no"),
    one("says a line of 2000 octets", "bounce 550 5.1.1 xxx", 0, RCPT="550 5.1.1 " + "x" * 2000, DATA="503 no"),
    one("says 200 lines", "bounce 550 5.1.1 line 0", 0, RCPT=MANY, DATA="503 no"),
    one("says too much for now", "retry 450 4.1.1 xxx", 0, RCPT="450 4.1.1 " + "x" * 2000, DATA="503 no"),
    one("says UTF-8 for now", "retry 450 4.1.1 ", 0, RCPT="450 4.1.1 k\xc3\xa4se", DATA="503 no"),
    one("says a line without an end", "retry 4", 0, RCPT=End("450 " + "x" * 200_000)),
    one("says lines without an end", "retry 4", 0, RCPT=End("450-x\r\n" * 20_000)),
)  # fmt: skip
ROWS += [*SECURED, *AUTH, *NEEDS, *TEXTS]
