"""Whatever happens to a client, a message or a recipient, metalog alone tells who, what and why: one table, run for real.

One gateway takes, refuses, delivers, defers, holds; a second one, whose patience is short and whose log is a mixture of both
formats, gives up.  Each situation has a domain and a scripted server of its own, or a client address; the operator works with
qmgrctl.
"""

import os
import re
import smtplib
import socket
import subprocess
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from contrib.lib.gateway import Gateway, free_port, wait_until
from meta1g.sasl.stored import make_stored
from meta1g.tools.metalog import main as metalog
from tests.fakes.milter import FakeMilter
from tests.fakes.nameserver import NameServer
from tests.fakes.smtp_server import Replies, ScriptedServer
from tests.manual.blocks import shown
from tests.system.conftest import FAST_RETRY, running, verdicts

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("metalog")]

WAIT_S = 60
PLAIN = b"From: a@back.example\r\nSubject: test\r\nMessage-ID: <%b>\r\n\r\ntext\r\n"
SMTPS = "max_message_size = 20KB; max_recipients = 3; max_hops = 5; max_header_lines = 50; max_bad_commands = 3; max_noops = 4;"
SMAR = """
  nameserver {{ address = 127.0.0.1; port = {dns}; }} DNS_timeout = 2s; DNS_tries = 2;
  dnsbl {{ zone = list.test; }}
  access_map {{ file = "access"; type = text; }}
  aliases {{ file = "aliases"; type = text; }}
  local_domains = {{ local.example }};
  local_user_map {{ file = "users"; type = text; flags = {{ localpart, local_domains }}; }}
  tls_policy {{ file = "policy"; type = text; }}
"""
#: What only the patient gateway has: users, and a filter for clients whose rules of the access map name it.
GUARDED = """
  auth {{ password_file = passwords; flags = {{ plaintext_without_tls }}; failure_delay = 0; }}
  milter f {{ {f} }}
  milter g {{ {g} }}
  milter slow {{ {g} default_action = quarantine; reply_timeout = 1s; end_timeout = 1s; }}
  milter away {{ socket {{ type = unix; path = "nobody/listens"; }} }}
  milters = {{ }};
  verify_recipients = {{ asked.example }};
"""
#: Two processes write JSON into the file into which the others write classic lines.
JSON_LOG = 'log { file = "../meta1g.log"; format = json; }'
ACCESS = """\
cltaddr:127.0.0.11        reject
cltaddr:127.0.0.12        error:550 5.7.1 not you
cltaddr:127.0.0.13        error:451 4.7.1 not now
cltaddr:127.0.0.14        discard
ehlo:liar.example         error:550 5.7.1 not your name
smtps_session_conf:127.0.0.42  flags = { require_auth };
smtps_session_conf:127.0.0.43  tls_requirements { flags = { encrypted }; }
smtps_session_conf:127.0.0.46  milters = { f };
smtps_session_conf:127.0.0.47  milters = { away };
smtps_session_conf:127.0.0.48  milters = { f, g };
smtps_session_conf:127.0.0.49  milters = { f, slow };
dnsbl0:127.0.0.2          error:550 5.7.1 listed
from:bad@back.example     error:550 5.7.1 no mail from you
from:later@back.example   error:451 4.7.1 come back
from:void@back.example    discard
to:closed@to.example      reject
to:moved@to.example       error:551 5.1.6 moved away
to:void@to.example        discard
"""
USERS = "".join(f"{name} x\n" for name in ("r", *(f"f{number}" for number in range(1, 10))))
#: What a domain's server says; those that are not named take everything.
NO_USER: Replies = {"RCPT": "550 5.1.1 no such user\r\n"}
SERVERS: dict[str, Replies | None] = {
    "good": {}, "mailbox": {}, "unknown": NO_USER, "spam": {"dot": "554 5.7.1 looks like spam\r\n"},
    "greets-no": {"banner": "554 5.3.2 no mail here\r\n"}, "grey": {"RCPT": ["451 4.7.1 greylisted\r\n"] * 2 + ["250 ok\r\n"]},
    "later": {"RCPT": "450 4.2.1 mailbox busy\r\n"}, "full": {"dot": "452 4.3.1 disk is full\r\n"}, "down": None,
    "small": {"EHLO": "250-fake\r\n250 SIZE 100\r\n"}, "half": {"RCPT": ["250 ok\r\n", "550 5.1.1 no such user\r\n"]},
    "old": {"EHLO": "250-fake\r\n250 8BITMIME\r\n"}, "void": {"RCPT": "550 5.7.1 no reports please\r\n"},
    "held": {"RCPT": "450 4.2.1 wait\r\n"}, "freed": {"RCPT": ["450 4.2.1 wait\r\n", "250 ok\r\n"]},
    "gone": {"RCPT": "450 4.2.1 wait\r\n"}, "returned": {"RCPT": "450 4.2.1 wait\r\n"}, "hurt": {"RCPT": "450 4.2.1 wait\r\n"},
    "clear": {}, "asked": NO_USER, "login": {"EHLO": "250-fake\r\n250 AUTH PLAIN\r\n", "AUTH": "535 5.7.8 who are you\r\n"},
    "members": {"RCPT": ["250 ok\r\n", "550 5.1.1 no such member\r\n"]}, "list": NO_USER, "back": {},
}  # fmt: skip
LMTP = ("mailbox",)
ALIASES = """\
both@good.example      one@members.example, two@members.example
single@good.example    only@good.example
list@good.example      m@list.example
owner-list@good.example  boss@back.example
loop@good.example      loop2@good.example
loop2@good.example     loop@good.example
"""


TIME = r"after (\d+ tr(y|ies) in [\dhms. ]+|\d+\.\d{3} s without a try)"
ONCE = r"after 1 try in \d+\.\d{3} s"
UNTIL = r"waits until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z after \d+ tr(y|ies) in [\dms. ]+"
KEPT = "250 2.0.0 kept"
TO_BACK = rf"report to sender@back\.example: delivered to \S+ {ONCE}: {KEPT}"


class Talk:
    """One SMTP session, line by line, from any address of the loopback."""

    def __init__(self, port: int, source: str = "127.0.0.1", *, early: bytes = b"") -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), WAIT_S, (source, 0))
        if early:
            self.sock.sendall(early)
        self.file = self.sock.makefile("rb")
        self.greeting = self.reply()

    def reply(self) -> str:
        while line := self.file.readline().decode("latin-1"):
            if line[3:4] != "-":
                return line.strip()
        return ""

    def ask(self, *lines: bytes) -> str:
        """Sends lines one after the other; gives the last reply."""
        answer = ""
        for line in lines:
            self.sock.sendall(line + b"\r\n")
            answer = self.reply()
        return answer

    def __enter__(self) -> "Talk":
        return self

    def __exit__(self, *exc: object) -> None:
        self.file.close()
        self.sock.close()


Act = Callable[[Gateway], object]


@dataclass(frozen=True)
class Situation:
    """What is done, what metalog is asked, and the verdict: a pattern that has to fit as a whole.

    Args:
        act: makes it happen.
        asked: arguments of metalog.
        verdict: pattern of one of the lines that it prints; matched from its beginning to its end.
        heading: a word that the heading of the long form has: who.
        then: what the operator does when it was tried once.
        hasty: it happens at the gateway whose patience is short.
    """

    act: Act
    asked: tuple[str, ...]
    verdict: str
    heading: str = ""
    then: "Callable[[Gateway, str], object] | None" = None
    hasty: bool = False


def sends(*rcpts: str, mail: str = "sender@back.example", content: bytes | None = None, **params: Sequence[str]) -> Act:
    """Sends a message to recipients that are taken; its Message-ID is that of the first one."""

    def act(gateway: Gateway) -> None:
        with smtplib.SMTP("127.0.0.1", gateway.port, timeout=WAIT_S) as client:
            client.ehlo("client.example")
            assert client.mail(mail, list(params.get("mail_params", ())))[0] == 250
            for rcpt in rcpts:
                assert client.rcpt(rcpt, list(params.get("rcpt_params", ())))[0] == 250, rcpt
            code, text = client.data(content or PLAIN % rcpts[0].encode())
            assert code == 250, text

    return act


def talks(*lines: bytes, expect: str, source: str = "127.0.0.1", early: bytes = b"") -> Act:
    """Says lines in a session of its own; the last reply begins as expected."""

    def act(gateway: Gateway) -> None:
        with Talk(gateway.port, source, early=early) as talk:
            answer = talk.ask(*lines) if lines else talk.greeting
            if not answer.startswith(expect):  # a session is ended behind the answer
                answer = talk.reply()
            assert answer.startswith(expect), (lines, answer)

    return act


def content_of(*lines: bytes, mail: bytes = b"sender@back.example", rcpt: bytes, expect: str, source: str = "127.0.0.1") -> Act:
    """Sends a message whose content is answered as expected."""
    text = b"".join(line + b"\r\n" for line in lines) + b"."
    return talks(
        b"EHLO client.example", b"MAIL FROM:<%b>" % mail, b"RCPT TO:<%b>" % rcpt, b"DATA", text, expect=expect, source=source
    )


def vanishes(rcpt: bytes) -> Act:
    """Goes away in the middle of a message."""

    def act(gateway: Gateway) -> None:
        with Talk(gateway.port) as talk:
            talk.ask(b"EHLO client.example", b"MAIL FROM:<sender@back.example>", b"RCPT TO:<%b>" % rcpt, b"DATA")
            talk.sock.sendall(b"Subject: half\r\n\r\nhal")

    return act


def crowd(source: str, count: int) -> Act:
    """Opens more sessions than one client may have."""

    def act(gateway: Gateway) -> None:
        with ExitStack() as stack:
            talks = [stack.enter_context(Talk(gateway.port, source)) for _ in range(count)]
            last = talks[-1].greeting  # that of a client that is refused a moment later is 220
            assert (last if last.startswith("421") else talks[-1].reply()).startswith("421")

    return act


def silent(gateway: Gateway) -> None:
    """Says nothing until it is sent away."""
    with Talk(gateway.port, "127.0.0.29") as talk:
        assert talk.reply().startswith("421")


def order(*verbs: str) -> Callable[[Gateway, str], object]:
    return lambda gateway, ta_id: [gateway.control(verb, ta_id) for verb in verbs]


def breaks_content(gateway: Gateway, ta_id: str) -> None:
    """Damages the content of a message that waits, and lets it be tried."""
    (path,) = (gateway.queue / "cdb").glob(f"*/{ta_id}")
    path.write_bytes(b"not what was accepted")
    gateway.control("retry", ta_id)


def to(rcpt: str) -> tuple[str, str]:
    return ("--rcpt", rcpt)


def filtered(*lines: bytes, expect: str, source: str = "127.0.0.46", name: str = "f", **answers: list) -> Act:
    """Says lines in a session that filters look at; that of a name answers as is said, the other ones let all go on."""

    def act(gateway: Gateway) -> None:
        for known, one in FILTERS[gateway.directory].items():
            one.script(answers=answers if known == name else {})
        talks(EHLO, *lines, expect=expect, source=source)(gateway)

    return act


def fails_handshake(source: str, behind: bytes = b"") -> Act:
    """Begins TLS and says something else; or says it before the handshake begins."""

    def act(gateway: Gateway) -> None:
        with Talk(gateway.port, source) as talk:
            talk.ask(EHLO)
            talk.sock.sendall(b"STARTTLS\r\n" + behind)
            talk.reply()
            if not behind:
                talk.sock.sendall(b"this is no handshake\r\n" * 3)
                with suppress(ConnectionResetError):
                    while talk.file.read(100):
                        pass

    return act


def message(rcpt: bytes, *rest: bytes) -> tuple[bytes, ...]:
    return (MAIL, b"RCPT TO:<%b>" % rcpt, *rest)


GO_ON = ["CONTINUE"]
CONTENT = (b"DATA", b"Subject: x\r\n\r\ntext\r\n.")
EHLO, MAIL = b"EHLO client.example", b"MAIL FROM:<sender@back.example>"
SITUATIONS: dict[str, Situation] = {
    # -- at connect
    "a client is rejected": Situation(
        talks(expect="554", source="127.0.0.11"), ("--client", "127.0.0.11"),
        r"refused at connect: 55\d 5\.7\.1 Access denied \(by \S+ cltaddr:127\.0\.0\.11\)", "127.0.0.11",
    ),
    "a client hears a text of its own": Situation(
        talks(expect="554", source="127.0.0.12"), ("127.0.0.12",),
        r"refused at connect: 55\d 5\.7\.1 not you \(by \S+ cltaddr:127\.0\.0\.12\)",
    ),
    "a client is to come later": Situation(
        talks(expect="421", source="127.0.0.13"), ("127.0.0.13",),
        r"refused at connect: 4\d\d 4\.7\.1 not now \(by \S+ cltaddr:127\.0\.0\.13\)",
    ),
    "a client is in a DNS list": Situation(
        talks(expect="554", source="127.0.0.21"), ("127.0.0.21",),
        r"refused at connect: 55\d 5\.7\.1 listed \(by \S+ dnsbl0:127\.0\.0\.2\)",
    ),
    "a client talks before the greeting": Situation(
        talks(expect="5", source="127.0.0.22", early=b"EHLO spam.example\r\n"), ("127.0.0.22",),
        r"refused at connect: 55\d 5\..*",
    ),
    "a client has too many sessions": Situation(
        crowd("127.0.0.23", 7), ("127.0.0.23",), r"refused at connect: 421 4\.7\.0 .*",
    ),
    # -- commands
    "a greeting without a name": Situation(
        talks(b"EHLO", expect="501", source="127.0.0.24"), ("127.0.0.24",), r"refused at EHLO: 501 .*"
    ),
    "a command that is not known": Situation(
        talks(EHLO, b"FETCH 1", expect="500", source="127.0.0.25"), ("127.0.0.25",), r"refused at FETCH 1: 500 .*"
    ),
    "a command out of order": Situation(
        talks(EHLO, b"DATA", expect="503", source="127.0.0.26"), ("127.0.0.26",), r"refused at DATA: 503 .*"
    ),
    "too many wrong commands": Situation(
        talks(EHLO, b"A", b"B", b"C", b"D", expect="421", source="127.0.0.27"), ("127.0.0.27",),
        r"(refused at [ABCD]: 500 [^;]*; ){3,4}session ended: 421 .*",
    ),
    "too many commands without a message": Situation(
        talks(EHLO, *[b"NOOP"] * 5, expect="421", source="127.0.0.28"), ("127.0.0.28",), r"session ended: 421 .*"
    ),
    # -- senders
    "a sender that is no address": Situation(
        talks(EHLO, b"MAIL FROM:<a b@c>", expect="501", source="127.0.0.31"), ("127.0.0.31",), r"refused at MAIL: 501 .*"
    ),
    "a parameter that is not known": Situation(
        talks(EHLO, b"MAIL FROM:<p@back.example> FOO=1", expect="555", source="127.0.0.32"), ("127.0.0.32",),
        r"refused at MAIL: 555 .*",
    ),
    "a size that is too large": Situation(
        talks(EHLO, b"MAIL FROM:<big@back.example> SIZE=30000", expect="552"), ("--sender", "big@back.example"),
        r"refused at MAIL: 552 .*",
    ),
    "a sender is refused": Situation(
        talks(EHLO, b"MAIL FROM:<bad@back.example>", expect="550"), ("bad@back.example",),
        r"refused at MAIL: 550 5\.7\.1 no mail from you \(by \S+ from:bad@back\.example\)",
    ),
    "a sender is to come later": Situation(
        talks(EHLO, b"MAIL FROM:<later@back.example>", expect="451"), ("later@back.example",),
        r"refused at MAIL: 451 4\.7\.1 come back \(by \S+ from:later@back\.example\)",
    ),
    # -- recipients
    "a stranger may not relay": Situation(
        talks(EHLO, MAIL, b"RCPT TO:<stranger@to.example>", expect="55", source="127.0.0.9"), to("stranger@to.example"),
        r"refused at RCPT: 55\d 5\.7\.1 .*",
    ),
    "a recipient is refused": Situation(
        talks(EHLO, MAIL, b"RCPT TO:<closed@to.example>", expect="550"), to("closed@to.example"),
        r"refused at RCPT: 550 5\.7\.1 Access denied \(by \S+ to:closed@to\.example\)",
    ),
    "a recipient has moved": Situation(
        talks(EHLO, MAIL, b"RCPT TO:<moved@to.example>", expect="551"), to("moved@to.example"),
        r"refused at RCPT: 551 5\.1\.6 moved away \(by \S+ to:moved@to\.example\)",
    ),
    "a local user is not known": Situation(
        talks(EHLO, MAIL, b"RCPT TO:<nobody@local.example>", expect="550"), to("nobody@local.example"),
        r"refused at RCPT: 550 5\.1\.1 .*"
    ),
    "a recipient that is no address": Situation(
        talks(EHLO, b"MAIL FROM:<odd@back.example>", b"RCPT TO:<x y@z>", expect="501"), ("odd@back.example",),
        r"refused at RCPT: 501 .*"
    ),
    "too many recipients": Situation(
        talks(EHLO, MAIL, *(b"RCPT TO:<n%d@good.example>" % n for n in range(4)), expect="452"), to("n3@good.example"),
        r"refused at RCPT: 452 .*; 3 other recipients",
    ),
    "those that were not too many": Situation(
        lambda gateway: None, to("n1@good.example"), r"lost: .*; 3 other recipients"
    ),
    # -- contents
    "a message is too large": Situation(
        content_of(b"Subject: big", b"", *[b"x" * 900] * 30, rcpt=b"big@good.example", expect="552"), to("big@good.example"),
        r"refused after DATA: 552 5\.3\.4 .*",
    ),
    "a message goes round in a loop": Situation(
        content_of(*[b"Received: from x by y; z"] * 7, b"", b"x", rcpt=b"round@good.example", expect="554"),
        to("round@good.example"),
        r"refused after DATA: 554 5\.4\.6 .*",
    ),
    "a header is too long": Situation(
        content_of(*[b"X-Line: y"] * 60, b"", b"x", rcpt=b"lines@good.example", expect="55"), to("lines@good.example"),
        r"refused after DATA: 55\d 5\..*",
    ),
    "the client goes away": Situation(vanishes(b"half@good.example"), to("half@good.example"), r"lost: .*"),
    # -- discarded
    "a client is discarded": Situation(
        content_of(b"Subject: x", b"", b"x", mail=b"c@back.example", rcpt=b"r@local.example", expect="250",
                   source="127.0.0.14"),
        ("c@back.example",), r"discarded by \S+ cltaddr:127\.0\.0\.14", "127.0.0.14",
    ),
    "a sender is discarded": Situation(
        sends("s@to.example", mail="void@back.example"), ("void@back.example",), r"discarded by \S+ from:void@back\.example"
    ),
    "a recipient is discarded": Situation(
        sends("void@to.example", mail="v@back.example"), ("v@back.example",), r"discarded by \S+ to:void@to\.example"
    ),
    "one of two is discarded": Situation(
        sends("void@to.example", "w@good.example", mail="w@back.example"), ("w@back.example",),
        rf"void@to\.example: discarded by \S+ to:void@to\.example; w@good\.example: delivered to \S+ {ONCE}: {KEPT}",
    ),
    # -- delivered
    "delivered": Situation(sends("r@good.example"), to("r@good.example"), rf"delivered to \S+ {ONCE}: {KEPT}",
                           "sender@back.example"),
    "found by its Message-ID": Situation(
        sends("id@good.example"), ("<id@good.example>", "--msgid", "id@good.example"), rf"delivered to \S+ {ONCE}: {KEPT}",
        "Message-ID <id@good.example>",
    ),
    "delivered by LMTP": Situation(sends("r@mailbox.example"), to("r@mailbox.example"), rf"delivered to \S+ {ONCE}: {KEPT}"),
    "delivered at the third try": Situation(
        sends("r@grey.example"), to("r@grey.example"), rf"delivered to \S+ after 3 tries in \d+\.\d{{3}} s: {KEPT}"
    ),
    "a report of success": Situation(
        sends("r@old.example", rcpt_params=["NOTIFY=SUCCESS"]), to("r@old.example"),
        rf"delivered to \S+ {ONCE}: {KEPT}; {TO_BACK}"
    ),
    "two recipients, two fates": Situation(
        sends("r@half.example", "s@half.example"), ("--dest", "half.example"),
        rf"r@half\.example: delivered to \S+ {ONCE}: {KEPT}; "
        rf"s@half\.example: bounced {ONCE}: 550 5\.1\.1 no such user; {TO_BACK}",
    ),
    # -- waiting
    "a server puts it off": Situation(
        sends("r@later.example"), to("r@later.example"), rf"{UNTIL}: 450 4\.2\.1 mailbox busy"
    ),
    "a server's disk is full": Situation(sends("r@full.example"), to("r@full.example"), rf"{UNTIL}: 452 4\.3\.1 disk is full"),
    "nobody listens": Situation(sends("r@down.example"), to("r@down.example"), rf"{UNTIL}: .*Connection refused.*"),
    # -- bounced
    "an unknown user": Situation(
        sends("r@unknown.example"), to("r@unknown.example"), rf"bounced {ONCE}: 550 5\.1\.1 no such user; {TO_BACK}"
    ),
    "a content that is not wanted": Situation(
        sends("r@spam.example"), to("r@spam.example"), rf"bounced {ONCE}: 554 5\.7\.1 looks like spam; {TO_BACK}"
    ),
    "a server that wants no mail": Situation(
        sends("r@greets-no.example"), to("r@greets-no.example"), rf"bounced {ONCE}: 554 5\.3\.2 no mail here; {TO_BACK}"
    ),
    "a message that is too large for a server": Situation(
        sends("r@small.example"), to("r@small.example"), rf"bounced {ONCE}: 552 5\.3\.4 .*takes at most 100 bytes.*; {TO_BACK}"
    ),
    "a domain that does not exist": Situation(
        sends("r@no-such-domain.test"), to("r@no-such-domain.test"), rf"bounced {TIME}: 550 5\.1\.2 .*; {TO_BACK}"
    ),
    "a report that nobody takes": Situation(
        sends("x@unknown.example", mail="sender@void.example"), to("x@unknown.example"),
        rf"bounced {ONCE}: 550 5\.1\.1 no such user; "
        rf"report to sender@void\.example: bounced {ONCE}: 550 5\.7\.1 no reports please; "
        rf"report to postmaster@back\.example: delivered to \S+ {ONCE}: {KEPT}",
    ),
    "the bounce of a report": Situation(
        sends("empty@unknown.example", mail=""), to("empty@unknown.example"),
        rf"failed {ONCE}: 550 5\.1\.1 no such user; nobody is told",
        "from <>",
    ),
    # -- aliases
    "an alias for two, one of them unknown": Situation(
        sends("both@good.example"), to("both@good.example"),
        rf"both@good\.example -> one@members\.example: delivered to \S+ {ONCE}: {KEPT}; "
        rf"both@good\.example -> two@members\.example: bounced {ONCE}: 550 5\.1\.1 no such member; {TO_BACK}",
    ),
    "an alias is found by its member": Situation(
        sends("single@good.example"), to("only@good.example"),
        rf"single@good\.example -> only@good\.example: delivered to \S+ {ONCE}: {KEPT}",
    ),
    "a list whose member is unknown": Situation(
        sends("list@good.example"), to("list@good.example"),
        rf"list@good\.example -> m@list\.example: bounced {ONCE}: 550 5\.1\.1 no such user; "
        rf"report to boss@back\.example: delivered to \S+ {ONCE}: {KEPT}",
    ),
    "aliases that lead to each other": Situation(
        sends("loop@good.example"), to("loop@good.example"), rf"bounced {TIME}: 5\d\d 5\.4\.6 .*; {TO_BACK}"
    ),
    # -- given up
    "a server puts it off for too long": Situation(
        sends("old@later.example"), to("old@later.example"),
        rf"expired {TIME}: .*450 4\.2\.1 mailbox busy; "
        rf"report to sender@back\.example: delivered to \S+ {ONCE}: {KEPT}.*", hasty=True,
    ),
    "nobody listens for too long": Situation(
        sends("old@down.example"), to("old@down.example"), rf"expired {TIME}: .*Connection refused.*; report to .*", hasty=True
    ),
    "a client says nothing": Situation(silent, ("127.0.0.29",), r"timed out: 421 .*", hasty=True),
    # -- TLS, logins, filters
    "a name that is refused": Situation(
        talks(b"EHLO liar.example", MAIL, expect="550", source="127.0.0.40"), ("127.0.0.40",),
        r"refused at \w+: 550 5\.7\.1 not your name \(by \S+ ehlo:liar\.example\)", "liar.example",
    ),
    "a wrong password": Situation(
        talks(EHLO, b"AUTH PLAIN AGFubkBiYWNrLmV4YW1wbGUAd3Jvbmc=", expect="535", source="127.0.0.41"), ("127.0.0.41",),
        r"refused at AUTH as ann@back\.example \(wrong password or no such user\): 535 5\.7\.8 Authentication failed",
    ),
    "a client that has to log in": Situation(
        talks(EHLO, b"MAIL FROM:<l@back.example>", expect="530", source="127.0.0.42"), ("l@back.example",),
        r"refused at MAIL: 530 5\.7\.0 Authentication required",
    ),
    "a client that has to use TLS": Situation(
        talks(EHLO, b"MAIL FROM:<t@back.example>", expect="4", source="127.0.0.43"), ("t@back.example",),
        r"refused at MAIL: 4\d\d \S+ .*(TLS|STARTTLS).*",
    ),
    "a handshake that fails": Situation(fails_handshake("127.0.0.44"), ("127.0.0.44",), r"TLS failed: .+"),
    "a command behind STARTTLS": Situation(
        fails_handshake("127.0.0.45", b"MAIL FROM:<x@y>\r\n"), ("127.0.0.45",), r"STARTTLS: .+"
    ),
    "a filter refuses a recipient": Situation(
        filtered(*message(b"f1@local.example"), expect="550", RCPT=[["REPLYCODE", "550 5.7.1 not this one"]]),
        to("f1@local.example"), r"refused at RCPT: 550 5\.7\.1 not this one \(by milter f\)",
    ),
    "a filter refuses a message": Situation(
        filtered(*message(b"f2@local.example", *CONTENT), expect="554", BODYEOB=[["REPLYCODE", "554 5.7.1 a virus"]]),
        to("f2@local.example"), r"refused after DATA: 554 5\.7\.1 a virus \(by milter f\)",
    ),
    "a filter discards a message": Situation(
        filtered(*message(b"f3@local.example", *CONTENT), expect="250", BODYEOB=[["DISCARD"]]),
        to("f3@local.example"), r"discarded by milter f",
    ),
    "a filter holds a message": Situation(
        filtered(*message(b"f4@local.example", *CONTENT), expect="250", BODYEOB=[["QUARANTINE", "perhaps a virus"], GO_ON]),
        to("f4@local.example"), r"held by milter f: perhaps a virus; milter f: held 1",
    ),
    "a filter is to be asked later": Situation(
        filtered(*message(b"f5@local.example"), expect="451", RCPT=[["TEMPFAIL"]]),
        to("f5@local.example"), r"refused at RCPT: 451 4\.7\.1 .* \(by milter f\)",
    ),
    "the second of two filters refuses": Situation(
        filtered(*message(b"f6@local.example", *CONTENT), expect="550", source="127.0.0.48", name="g", EOH=[["REJECT"]]),
        to("f6@local.example"), r"refused after DATA: 550 5\.7\.1 .* \(by milter g\)",
    ),
    "the second of two filters holds": Situation(
        filtered(*message(b"f7@local.example", *CONTENT), expect="250", source="127.0.0.48", name="g",
                 BODYEOB=[["QUARANTINE", "odd"], GO_ON]),
        to("f7@local.example"), r"held by milter g: odd; milter g: held 1",
    ),
    "a filter changes the envelope": Situation(
        filtered(*message(b"f8@local.example", *CONTENT), expect="250", source="127.0.0.48", name="f",
                 BODYEOB=[["DELRCPT", "<f8@local.example>"], ["ADDRCPT", "<r@mailbox.example>"], GO_ON]),
        to("f8@local.example"),
        r"discarded by milter f; milter f: recipients removed 1, recipients added 1; 1 other recipient",
    ),
    "a filter does not answer, and mail is held then": Situation(
        filtered(*message(b"f9@local.example", *CONTENT), expect="250", source="127.0.0.49", name="g", BODYEOB=[]),
        to("f9@local.example"), r"held by milter slow failed.*",
    ),
    "a filter that is away": Situation(
        talks(expect="4", source="127.0.0.47"), ("127.0.0.47",), r"refused at connect: 4\d\d \S+ .*\(by milter away\)"
    ),
    "a server that does not know a recipient, asked beforehand": Situation(
        talks(EHLO, *message(b"v@asked.example"), expect="550"), to("v@asked.example"),
        r"refused at RCPT: 550 5\.1\.1 Address is refused by its mail server: 550 5\.1\.1 no such user",
    ),
    "a server without the TLS that is wanted of it": Situation(
        sends("r@clear.example"), to("r@clear.example"), rf"{UNTIL}: 4\d\d 4\.7\.\d .*(TLS|STARTTLS).*"
    ),
    "a server that does not take our login": Situation(
        sends("r@login.example"), to("r@login.example"), rf"{UNTIL}: 451 4\.7\.8 relay\.test\S+: AUTH: 535 5\.7\.8 who are you"
    ),
    # -- orders of the operator
    "held": Situation(sends("r@held.example"), to("r@held.example"), "held by order of the operator", then=order("hold")),
    "held and released": Situation(
        sends("r@freed.example"), to("r@freed.example"),
        rf"delivered to \S+ {TIME}: 250 (2\.0\.0 )?kept", then=order("hold", "release")
    ),
    "removed": Situation(sends("r@gone.example"), to("r@gone.example"),
                         "removed by order of the operator", then=order("remove")),
    "returned": Situation(
        sends("r@returned.example"), to("r@returned.example"), rf"bounced {TIME}: .*; {TO_BACK}", then=order("bounce")
    ),
    "a content is damaged": Situation(
        sends("r@hurt.example"), to("r@hurt.example"), r"held: .*mend the content, then qmgrctl release.*", then=breaks_content
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Site:
    """Two gateways."""

    patient: Gateway
    hasty: Gateway

    def of(self, one: Situation) -> Gateway:
        return self.hasty if one.hasty else self.patient


#: The filters of a gateway by its directory and their names.
FILTERS: dict[Path, dict[str, FakeMilter]] = {}


def guarded(gateway: Gateway, filters: dict[str, FakeMilter]) -> None:
    """Gives a gateway a certificate, a user, filters, and a login at a server that does not take it."""
    FILTERS[gateway.directory] = filters
    gateway.tls = True
    gateway.options["smtps"] += GUARDED.format(**{name: one.conf for name, one in filters.items()})
    gateway.options["smtpc"] = "auth { file = logins; flags = { without_tls }; }"
    for name, text in (
        ("passwords", f"ann@back.example:{make_stored('SCRAM-SHA-256', 'pencil', b'salt' * 4, 4096)}\n"),
        ("logins", "relay.test joe:secret\n"),
    ):
        (gateway.conf.parent / name).write_text(text)
        (gateway.conf.parent / name).chmod(0o600)


def gateways(directory: Path, table: str, dns: int) -> Iterator[Gateway]:
    """Sets the two gateways up."""
    qmgr = f"{FAST_RETRY} double_bounce_address = postmaster@back.example; smtps {{ max_connections = 6; }}"
    for name, more, smtps in (
        ("patient", "delay_dsn_timeout = 0s;", SMTPS),
        ("hasty", "delay_dsn_timeout = 1s; return_timeout = 3s;" + JSON_LOG, "IO_timeout = 1s;" + JSON_LOG),
    ):
        options = {"qmgr": qmgr + more, "smtps": smtps, "smar": SMAR.format(dns=dns)}
        made = Gateway(directory / name, table, options)
        made.conf.parent.mkdir(parents=True)
        for file, text in (("access", ACCESS), ("aliases", ALIASES), ("users", USERS), ("policy", "[clear.test] encrypt\n")):
            (made.conf.parent / file).write_text(text)
        yield made


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    with ExitStack() as stack:
        dns = stack.enter_context(NameServer())
        dns.add("21.0.0.127.list.test", "A", "127.0.0.2")
        ports = {
            name: free_port() if replies is None else stack.enter_context(ScriptedServer(dict(replies))).port
            for name, replies in SERVERS.items()
        }
        for name in ("relay.test", "clear.test"):
            dns.add(name, "A", "127.0.0.1")
        table = "\n".join(f"{name}.example {'lmtp:' if name in LMTP else ''}{port}^[127.0.0.1]" for name, port in ports.items())
        for name, host in (("login", "relay.test"), ("clear", "clear.test")):
            table = table.replace(f"{ports[name]}^[127.0.0.1]", f"{ports[name]}^[{host}]")
        directory = tmp_path_factory.mktemp("metalog")
        found = list(gateways(directory, table, dns.port))
        guarded(found[0], {name: stack.enter_context(FakeMilter(directory, name)) for name in ("f", "g")})
        made = Site(*(stack.enter_context(running(gateway)) for gateway in found))
        for one in SITUATIONS.values():
            one.act(made.of(one))
        for one in SITUATIONS.values():
            if one.then is not None:
                one.then(made.of(one), waiting(made.of(one), one))
        yield made


def waiting(gateway: Gateway, one: Situation) -> str:
    """Waits until a message was tried once; gives its id."""
    found: list[str] = []

    def tried() -> bool:
        found[:] = [ta_id for ta_id, text in verdicts(gateway, *one.asked).items() if text.startswith("waits until")]
        return bool(found)

    wait_until(tried, WAIT_S, lambda: f"a first try; {gateway.last_words()}")
    return found[0]


@pytest.mark.parametrize("name", SITUATIONS)
def test_metalog_alone_tells_who_what_and_why(site, name, capsys):
    one = SITUATIONS[name]
    gateway = site.of(one)
    found: dict[str, str] = {}

    def fits() -> bool:
        found.update(verdicts(gateway, *one.asked))
        return any(re.fullmatch(one.verdict, text) for text in found.values())

    with suppress(TimeoutError):
        wait_until(fits, WAIT_S, name)
    assert fits(), found
    assert metalog.main(["-f", str(gateway.conf), *one.asked]) == 0
    assert one.heading in capsys.readouterr().out


def lose_both_stores(gateway):
    """Removes IBDB and DEFEDB, and makes them again from the log."""
    for store in ("ibdb", "defedb"):
        for path in (gateway.queue / store).iterdir():
            path.unlink()
    commands = shown("repair.md", "with a queue that is lost").replace("/var/spool/meta1", str(gateway.queue))
    commands = commands.replace("rcvrenvfromlog", f"rcvrenvfromlog -f {gateway.conf}")
    environment = {**os.environ, "PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"}
    shell = ["bash", "-ec", commands]
    told = subprocess.run(
        shell, env=environment, cwd=gateway.directory, capture_output=True, text=True, timeout=60, check=False
    )
    assert (told.returncode, told.stderr) == (0, "")
    *listed, last = told.stdout.splitlines()
    assert last == "imported 4 recipients in 4 transactions"
    assert "held@later.example" in "".join(listed)


def served(servers):
    """Gives the recipients of all sessions that got content, each time that they were asked for."""
    return [
        line.partition("<")[2].partition(">")[0]
        for server in servers for seen in server.connections for line in seen.commands
        if line.startswith("RCPT") and seen.contents
    ]  # fmt: skip


def test_envelopes_come_back_from_the_log_when_both_stores_are_lost(tmp_path):
    """Who waits, is held, or is a member without mail yet gets it; who has it gets no second copy; a report goes out."""
    later, closed, good = ("450 4.2.1 not now\r\n", {"RCPT": "450 4.2.1 not now\r\n"}, {})
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(ScriptedServer(dict(replies)))
            for name, replies in {"later": closed, "good": good, "none": NO_USER, "back": {"MAIL": later}}.items()
        }
        table = "\n".join(f"{name}.example {server.port}^[127.0.0.1]" for name, server in servers.items())
        options = {"qmgr": "min_retry_delay = 1h; max_retry_delay = 1h;", "smar": 'aliases { file = "aliases"; type = text; }'}
        gateway = Gateway(tmp_path / "gateway", table, options)
        gateway.conf.parent.mkdir(parents=True)
        (gateway.conf.parent / "aliases").write_text("all@good.example one@good.example, two@later.example\n")
        with running(gateway):
            sends("plain@later.example", mail="sender@back.example", rcpt_params=["NOTIFY=NEVER"])(gateway)
            sends("held@later.example", "done@good.example")(gateway)
            sends("all@good.example")(gateway)
            sends("x@none.example", mail="reported@back.example")(gateway)
            sends("finished@good.example")(gateway)
            wait_until(lambda: gateway.control("status")["defedb"] == 4, WAIT_S, gateway.last_words)
            gateway.control("hold", "rcpt=held@later.example")
        lose_both_stores(gateway)
        for server in servers.values():
            server.replies.update({"MAIL": "250 ok\r\n", "RCPT": "250 ok\r\n"})
        with running(gateway):
            rows = {row["rcpt"]: row for row in gateway.control("queue")["list"]}
            assert set(rows) == {"plain@later.example", "held@later.example", "two@later.example", "reported@back.example"}
            assert rows["held@later.example"]["where"] == "held"
            assert rows["plain@later.example"]["tries"] == 1
            gateway.control("release", "state=held")
            gateway.control("retry", "all")
            gateway.wait_empty(WAIT_S)
        got = served(servers.values())
        (report,) = (content for content in servers["back"].contents if content)
        assert b"x@none.example" in report
        assert b"550 5.1.1 no such user" in report
    asked = {rcpt: got.count(rcpt) for rcpt in sorted(set(got))}
    assert asked == {
        **dict.fromkeys(("done@good.example", "finished@good.example", "one@good.example"), 1),
        **dict.fromkeys(("held@later.example", "plain@later.example", "two@later.example"), 2),  # refused once, then taken
        "reported@back.example": 2, "x@none.example": 1,
    }  # fmt: skip
