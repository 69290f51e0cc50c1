"""What becomes of each recipient, whatever its server says and wherever the connection breaks: one table, run for real.

One queue manager and one smtpc process deliver all rows at the same time, each to scripted servers of its own.  The agent is
started when all recipients wait, so that those of one message go in one transaction.  Afterwards all servers are mended and
what had to wait is tried again: nobody gets a second copy, and nobody who was refused is asked for once more.
"""

import copy
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from itertools import chain
from pathlib import Path

import pytest

from meta1g.rcb.common import DeliveryAgent, ServerAddr
from meta1g.rcb.envelope import RcptRecord
from meta1g.rcb.qmgr_smar import Route
from tests.fakes.qmgr_peers import Smar, Smtps
from tests.fakes.qmgr_system import QmgrSystem, wait_until
from tests.fakes.smtp_server import DEFAULT, End, Replies, ScriptedServer
from tests.unit.smtpc.conftest import CONF

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("outcomes")]

#: Time-outs of the steps that some rows wait for, on a machine that is busy.
STEP_S = 6
WAIT_S = 40
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
    """

    name: str
    outcomes: list[str]
    copies: int
    connections: int
    servers: list[Replies | str]
    lmtp: bool = False
    messages: int = 1


def one(name, outcomes, copies, connections=1, **replies):
    """A row with one server."""
    kind = {"lmtp": replies.pop("lmtp", False), "messages": replies.pop("messages", 1)}
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


@dataclass
class Case:
    """A row with its servers, and what came of it."""

    row: Row
    number: int
    servers: list[ScriptedServer] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    copies: int = 0
    connections: int = 0
    asked: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)  # what was asked for when it was tried again
    late_copies: list[bytes] = field(default_factory=list)

    @property
    def domain(self) -> str:
        return f"row{self.number}.example"

    @property
    def rcpts(self) -> list[str]:
        return [f"r{number}@{self.domain}" for number in range(len(self.row.outcomes))]

    @property
    def sender(self) -> str:
        return f"s{self.number}@back.example"

    def open(self, stack: ExitStack) -> Route:
        """Starts the servers and tells where they are."""
        ports = []
        for replies in self.row.servers:
            if isinstance(replies, str):
                sock = stack.enter_context(socket.socket())
                sock.bind(("127.0.0.1", 0))  # kept, so that nobody gets this port
                ports.append(sock.getsockname()[1])
                continue
            self.servers.append(stack.enter_context(ScriptedServer(ended(replies))))
            ports.append(self.servers[-1].port)
        addrs = (ServerAddr(addr="127.0.0.1", port=port, host=f"mx.{self.domain}") for port in ports)
        return Route(da=int(DeliveryAgent.LMTP if self.row.lmtp else DeliveryAgent.ESMTP), servers=tuple(addrs))

    def messages(self) -> list[list[str]]:
        """The recipients of each message."""
        return [self.rcpts] if self.row.messages == 1 else [[rcpt] for rcpt in self.rcpts]

    def commands(self) -> list[str]:
        """The recipients that servers were asked for so far."""
        lines = [line for server in self.servers for seen in server.connections for line in seen.commands]
        return [line.partition("<")[2].partition(">")[0] for line in lines if line.startswith("RCPT")]

    def contents(self) -> list[bytes]:
        """The messages that came; an empty one is none."""
        return [content for server in self.servers for content in server.contents if content]


def ended(replies: Replies) -> Replies:
    """Gives the replies with line ends; those that have some are left alone."""

    def line(one):
        return one + "\r\n" if isinstance(one, str) and one and not one.endswith("\n") else one

    return {
        verb: [line(one) for one in said] if isinstance(said, list) else line(said)
        for verb, said in copy.deepcopy(replies).items()
    }


class Run:
    """All rows at the same time."""

    def __init__(self, qmgr: QmgrSystem, smtps: Smtps, cases: list[Case], back: ScriptedServer) -> None:
        self.qmgr = qmgr
        self.smtps = smtps
        self.cases = cases
        self.back = back
        self.deferred: dict[str, RcptRecord] = {}

    def send(self, case: Case, rcpts: list[str]) -> None:
        self.smtps.mail(*rcpts, mail=case.sender)

    def decided(self) -> dict[str, str]:
        """What the log says of each recipient so far: delivered, deferred, failed."""
        lines = (
            re.search(r"func=qmgr\.(delivered|deferred|failed),.* rcpt=([^,]+)", line) for line in list(self.qmgr.sink.lines)
        )
        return {match[2]: match[1] for match in lines if match}

    def wait_decided(self, rcpts: list[str]) -> None:
        wait_until(lambda: self.decided().keys() >= set(rcpts), lambda: f"{set(rcpts) - self.decided().keys()}", WAIT_S)

    def wait_settled(self) -> None:
        """Waits until there is nothing but what has to wait."""
        wait_until(lambda: not self.qmgr.states() and not self.qmgr.context.defer.pending, self.qmgr.left, WAIT_S)

    def reports(self) -> dict[str, str]:
        """The text of the report that each sender got, in one line."""
        return {
            address(message_from_bytes(content)["To"]): re.sub(r"\s+", " ", content.decode()) for content in self.back.contents
        }

    def look(self) -> None:
        """Notes what came of each row."""
        self.deferred = {record.rcpt: record for record in self.qmgr.defedb.scan(None, 9999)}
        decided, reports = self.decided(), self.reports()
        for case in self.cases:
            case.found = [self._found(rcpt, decided[rcpt], reports.get(case.sender, "")) for rcpt in case.rcpts]
            case.copies, case.connections = len(case.contents()), sum(len(server.connections) for server in case.servers)
            case.asked = case.commands()

    def _found(self, rcpt: str, decided: str, report: str) -> str:
        if decided == "failed":
            return f"bounce {report}" if f"; {rcpt}" in report else "bounce without a report"
        if decided == "delivered":
            return SENT
        reply = self.deferred[rcpt].reply
        assert bool(reply.origin) is not ("127.0.0.1]:" in reply.one_line), reply
        return f"retry {reply}"

    def mend(self, smar: Smar) -> None:
        """Mends all servers and lets what waits be tried again; where there is no server, another one is."""
        for case in self.cases:
            if not case.servers:
                smar.answers[case.domain] = smar.answers["back.example"]
            for server in case.servers:
                server.replies.update(DEFAULT)
        self.qmgr.advance(4000)


def address(text: str) -> str:
    return text.strip().strip("<>")


@contextmanager
def agent(queue: Path, directory: Path) -> Iterator[None]:
    """The smtpc process."""
    conf = directory / "meta1.conf"
    conf.write_text(CONF.format(queue=queue, step_s=STEP_S, options="max_threads = 600;"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with (directory / "smtpc.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "meta1g.smtpc.main", "-f", str(conf)], env=environment, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(30) == 0


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> Iterator[list[Case]]:
    queue, directory = tmp_path_factory.mktemp("queue"), tmp_path_factory.mktemp("conf")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr("meta1g.qmgr.sched.SESSION_IDLE_S", 600.0)  # the second message of a row finds its session
        made = [Case(row, number) for number, row in enumerate(ROWS)]
        back = stack.enter_context(ScriptedServer())
        qmgr = QmgrSystem(queue, aq_max_entries=4000, iqdb_max_entries=8000, delay_dsn_timeout_s=400_000).start()
        stack.callback(qmgr.stop)
        smar = qmgr.smar()
        smar.answers["back.example"] = Route(da=0, servers=(ServerAddr(addr="127.0.0.1", port=back.port),))
        smar.answers.update({case.domain: case.open(stack) for case in made})
        run = Run(qmgr, qmgr.smtps(), made, back)
        for case in made:
            run.send(case, case.messages()[0])
        first = [rcpt for case in made for rcpt in case.messages()[0]]
        wait_until(lambda: list(qmgr.states().values()) == ["READY"] * len(first), qmgr.states, WAIT_S)
        with agent(queue, directory):
            for case in made:
                for before, rcpts in zip(case.messages(), case.messages()[1:], strict=False):
                    run.wait_decided(before)
                    run.send(case, rcpts)
            run.wait_decided([rcpt for case in made for rcpt in case.rcpts])
            run.wait_settled()
            run.look()
            run.mend(smar)
            qmgr.wait_empty(WAIT_S)
            for case in made:
                case.later = case.commands()[len(case.asked) :]
                case.late_copies = case.contents()
        yield made


@pytest.mark.parametrize("number", range(len(ROWS)), ids=[row.name for row in ROWS])
def test_what_becomes_of_each_recipient_when_a_server(number, cases):
    case = cases[number]
    row = case.row
    for expected, found in zip(row.outcomes, case.found, strict=True):
        kind, _, text = expected.partition(" ")
        assert found.partition(" ")[0] == kind, case.found
        assert text in found, case.found
    assert (case.copies, case.connections) == (row.copies, row.connections), [one.connections for one in case.servers]
    waiting = [rcpt for rcpt, outcome in zip(case.rcpts, row.outcomes, strict=True) if outcome.startswith("retry")]
    assert set(case.later) == set(waiting if case.servers else [])
    assert len(case.later) == len(set(case.later))


def test_the_table_is_large_enough():
    assert len(ROWS) >= 80
    assert len({row.name for row in ROWS}) == len(ROWS)
