"""Whatever happens to a message, its sender gets a report that says what is true and that two parsers of different authors
understand, although the sender's server takes no 8-bit mail and nothing larger than 20,000 bytes."""

import email
import email.policy
import smtplib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from email.header import decode_header, make_header
from email.message import Message
from email.utils import parsedate_to_datetime

import pytest
from flufl.bounce import all_failures

from contrib.lib.gateway import Gateway, free_port, wait_until
from tests.fakes.smtp_server import Replies, ScriptedServer
from tests.system.conftest import running

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("report_situations")]

SIZE_MAX = 20_000
OLD = f"250-old\r\n250-PIPELINING\r\n250 SIZE {SIZE_MAX}\r\n"
NO_DSN_8BIT = "250-fake\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
QMGR = (
    "min_retry_delay = 1s; max_retry_delay = 2s; delay_dsn_timeout = 3s; return_timeout = 10s;"
    " double_bounce_address = postmaster@back.example; dsn_templates = texts;"
)
TEXTS = "delay_template = <<EOF\nSubject: Verspätet\n\nGrüße von $hostname.\nEOF\n"
SMTPC = " ".join(f"{step}_timeout = 3s;" for step in ("connect", "greeting", "command", "data", "block", "dot"))
SMAR = 'aliases { file = "aliases"; type = text; } tls_policy { file = "tls_policy"; type = text; }'
HEADER = b"From: a@test.example\r\nSubject: test\r\n"
PLAIN = HEADER + b"\r\ntext of the message\r\n"
EIGHT_BIT = HEADER + b"\r\ngr\xfc\xdfe\r\n"
ADDRESS = "[127.0.0.1]"
#: A server that nobody listens for.
DOWN: Replies = {}


@dataclass(frozen=True)
class Told:
    """What a report says of one recipient; without a diagnostic no server said anything."""

    status: str
    diagnostic: str | None = None
    words: str = ""
    action: str = "failed"
    rcpt: str = "r"


@dataclass(frozen=True)
class Situation:
    """What is sent, what the server does, and what the sender is told.

    Args:
        replies: of the server; DOWN for none.
        told: recipients of the report.
        content: the message.
        mail, rcpt: parameters.
        returned: type of the last part, None if nothing is returned.
        warned: the status of the warning that comes before, if one does.
        lmtp: the server speaks LMTP.
        aliases: lines of the aliases file, `%` for the domain.
        to: who gets the report, local part at back.example; that of the sender if empty.
        tls: what the map tls_policy demands there.
        sender: domain of the sender, `%` for that of the situation.
        orcpt: Original-Recipient.
    """

    replies: Replies
    told: tuple[Told, ...]
    content: bytes = PLAIN
    mail: tuple[str, ...] = ()
    rcpt: tuple[str, ...] = ()
    returned: str | None = "text/rfc822-headers"
    warned: Told | None = None
    lmtp: bool = False
    aliases: str = ""
    to: str = ""
    tls: str = ""
    sender: str = "back.example"
    orcpt: str | None = None
    names: tuple[str, ...] = field(default=("r",))


def expired(diagnostic: str | None, warned: str, words: str = "", **facts) -> dict:
    """The failure of a message that grew too old, and the warning before."""
    return {
        "told": (Told("5.4.7", diagnostic, words or diagnostic or "was in the queue too long"),),
        "warned": Told(warned, diagnostic, words, "delayed"),
        **facts,
    }


def refused(status: str, diagnostic: str | None, words: str = "", **facts) -> dict:
    return {"told": (Told(status, diagnostic, words or diagnostic or ""),), **facts}


def at(verb: str, said: str, status: str, **facts) -> Situation:
    """A command is refused by one line."""
    return Situation({verb: f"{said}\r\n"}, (Told(status, said, said),), **facts)


FULL = ("RET=FULL",)
LARGE = HEADER + b"\r\n" + b"line of text\r\n" * 4000
LARGE_HEADER = HEADER + b"".join(b"X-%d: %b\r\n" % (n, b"z" * 60) for n in range(500)) + b"\r\ntext\r\n"
RAW_HEADER = b"From: a@test.example\r\nSubject: caf\xe9\r\n\r\ntext\r\n"
NO_USER: Replies = {"RCPT": "550 5.1.1 no such user\r\n"}
LONG_SAID = " ".join(["go away"] * 60)

STARTTLS = "250-fake\r\n250 STARTTLS\r\n"

SITUATIONS: dict[str, Situation] = {
    "RCPT is refused without enhanced code": at("RCPT", "550 No such user", "5.0.0"),
    "RCPT is refused with enhanced code": at("RCPT", "550 5.1.1 no such user", "5.1.1"),
    "RCPT is refused in several lines": Situation(
        {"RCPT": "550-5.7.1 Your host is listed.\r\n550 5.7.1 See https://list.example/\r\n"},
        **refused("5.7.1", "550 5.7.1 Your host is listed. See https://list.example/", "Your host is listed."),
    ),
    "RCPT is refused with nothing but a code": at("RCPT", "553", "5.0.0"),
    "MAIL is refused": at("MAIL", "550 5.7.1 not from you", "5.7.1"),
    "DATA is refused": at("DATA", "554 5.3.0 not now, not ever", "5.3.0"),
    "the content is refused": at("dot", "554 5.7.1 looks like spam", "5.7.1"),
    "the content is found too large": at("dot", "552 5.3.4 too big", "5.3.4"),
    "the greeting is a refusal": at("banner", "554 5.3.2 no mail here", "5.3.2"),
    "EHLO and HELO are refused": Situation(
        {"EHLO": "550 who are you\r\n", "HELO": "550 5.7.0 go away\r\n"}, **refused("5.7.0", "550 5.7.0 go away")
    ),
    "a reply has bytes that are no text": Situation(
        {"RCPT": "550 5.1.1 inconnu \xe9\x07\r\n"}, **refused("5.1.1", "550 5.1.1 inconnu \\xE9\\x07")
    ),
    "a reply is very long": Situation(
        {"RCPT": f"550 5.7.1 {LONG_SAID}\r\n"}, **refused("5.7.1", f"550 5.7.1 {LONG_SAID}", "go away go away")
    ),
    "a mailbox behind LMTP is full": Situation(
        {"dot": "552 5.2.2 mailbox is full\r\n"}, **refused("5.2.2", "552 5.2.2 mailbox is full"), lmtp=True
    ),
    "two recipients are refused for two reasons": Situation(
        {"RCPT": ["550 5.1.1 no such user\r\n", "551 5.1.6 moved\r\n"]},
        (Told("5.1.1", "550 5.1.1 no such user"), Told("5.1.6", "551 5.1.6 moved", rcpt="s")), names=("r", "s"),
    ),
    "the message is larger than the server takes": Situation(
        {"EHLO": "250-fake\r\n250 SIZE 1000\r\n"},
        **refused("5.3.4", None, "takes at most 1000 bytes"),
        content=HEADER + b"\r\n" + b"x" * 900 + b"\r\n" * 200,
    ),
    "the message needs 8BITMIME": Situation(
        {"EHLO": "250 fake\r\n"},
        **refused("5.6.3", None, "message needs 8BITMIME"), content=EIGHT_BIT, mail=("BODY=8BITMIME", *FULL),
    ),
    "a small message comes back whole": Situation(
        NO_USER, **refused("5.1.1", "550 5.1.1 no such user"), mail=FULL, returned="message/rfc822"
    ),
    "a large message was to come back whole": Situation(
        NO_USER, **refused("5.1.1", "550 5.1.1 no such user"), mail=FULL, content=LARGE
    ),
    "an 8-bit message was to come back whole": Situation(
        NO_USER, **refused("5.1.1", "550 5.1.1 no such user"), mail=(*FULL, "BODY=8BITMIME"), content=EIGHT_BIT
    ),
    "an 8-bit message that was called 7-bit": Situation(
        NO_USER, **refused("5.1.1", "550 5.1.1 no such user"), mail=(*FULL, "BODY=7BIT"), content=EIGHT_BIT
    ),
    "a header that is not ASCII": Situation(
        NO_USER, **refused("5.1.1", "550 5.1.1 no such user"), mail=FULL, content=RAW_HEADER
    ),
    "a header that is larger than the sender's server takes": Situation(
        NO_USER, **refused("5.1.1", "550 5.1.1 no such user"), content=LARGE_HEADER
    ),
    "a message without a header": Situation(NO_USER, **refused("5.1.1", "550 5.1.1 no such user"), content=b"only text\r\n"),
    "what the sender wants to read in the report": Situation(
        NO_USER, **refused("5.1.1", "550 5.1.1 no such user"), mail=("ENVID=my+2Bown", "RET=HDRS"),
        rcpt=("NOTIFY=FAILURE", "ORCPT=rfc822;first+2Bname@old.example"), orcpt="rfc822; first+name@old.example",
    ),
    "an original recipient that is not ASCII": Situation(
        NO_USER, **refused("5.1.1", "550 5.1.1 no such user"), rcpt=("ORCPT=utf-8;\\x{FC}@old.example",),
        orcpt="utf-8; \\x{FC}@old.example",
    ),
    "a member of an alias is unknown": Situation(
        NO_USER, (Told("5.1.1", "550 5.1.1 no such user", "(from <r@%>)", rcpt="member"),), aliases="r@% member@%",
        orcpt="rfc822; r@%",
    ),
    "a member of a list with an owner is unknown": Situation(
        NO_USER, (Told("5.1.1", "550 5.1.1 no such user", rcpt="member"),), mail=("ENVID=e1",),
        aliases="r@% member@%\nowner-r@% boss@back.example", to="boss",
    ),
    "the report itself is refused": Situation(
        {"RCPT": ["550 5.1.1 no such user\r\n", "550 5.7.1 no reports please\r\n"]},
        (Told("5.7.1", "550 5.7.1 no reports please", rcpt="sender"), Told("5.1.1", "550 5.1.1 no such user")),
        sender="%", to="postmaster",
    ),
    "RCPT is put off for too long": Situation(
        {"RCPT": "451 4.7.1 greylisted\r\n"}, **expired("451 4.7.1 greylisted", "4.7.1")
    ),
    "RCPT is put off without enhanced code": Situation({"RCPT": "450 later\r\n"}, **expired("450 later", "4.0.0")),
    "the greeting puts it off": Situation({"banner": "421 busy\r\n"}, **expired("421 busy", "4.0.0")),
    "the content is put off": Situation({"dot": "452 4.3.1 disk is full\r\n"}, **expired("452 4.3.1 disk is full", "4.3.1")),
    "nobody listens": Situation(DOWN, **expired(None, "4.4.1", "Connection refused")),
    "the server closes at once": Situation({"banner": None}, **expired(None, "4.4.2", "closed the connection")),
    "the server closes after RCPT": Situation({"RCPT": None}, **expired(None, "4.4.2", "closed the connection")),
    "the server says nothing": Situation({"banner": ""}, **expired(None, "4.4.2", "timed out")),
    "the server speaks another language": Situation({"banner": "\x16\x03\x01\r\n"}, **expired(None, "4.5.0", "not a reply")),
    "a reply has different enhanced codes in its lines": Situation(
        {"RCPT": "550-5.1.1 no such user\r\n550 5.7.1 and not from you\r\n"},
        **refused("5.7.1", "550 5.7.1 5.1.1 no such user and not from you", "5.1.1 no such user"),
    ),
    "an enhanced code is of another class": at("RCPT", "550 4.7.1 never", "5.0.0"),
    "a reply looks like fields of a report": Situation(
        {"RCPT": "550-5.1.1 no\r\n550-Action: delivered\r\n550 \r\n"},
        **refused("5.1.1", "550 5.1.1 no Action: delivered", "Action: delivered"),
    ),
    "a reply has more lines than anybody reads": Situation(
        {"RCPT": "550-5.1.1 no\r\n" * 300 + "550 5.1.1 the end\r\n"},
        **refused("5.1.1", f"550 5.1.1 {' '.join(['no'] * 127)} the end", "no no no"),
    ),
    "the server cannot promise the time": Situation(
        {}, **refused("5.3.3", None, "does not offer DELIVERBY"), mail=("BY=100000;R",)
    ),
    "the server promises too little": Situation(
        {"EHLO": "250-fake\r\n250 DELIVERBY 200000\r\n"}, **refused("5.4.7", None, "200000 s at least"), mail=("BY=100000;R",)
    ),
    "the server does not take the time": Situation(
        {"EHLO": "250-fake\r\n250 DELIVERBY\r\n", "MAIL": "554 5.4.7 too soon\r\n"}, **refused("5.4.7", "554 5.4.7 too soon"),
        mail=("BY=100000;R",),
    ),
    "the server wants a login": Situation(
        {"MAIL": "530 5.7.0 who are you\r\n"}, **expired(None, "4.7.0", "530 5.7.0 who are you")
    ),
    "a forward is refused after a chunk": Situation(
        {"EHLO": "250-fake\r\n250 CHUNKING\r\n", "BDAT": "554 5.6.0 no\r\n"}, **refused("5.6.0", "554 5.6.0 no")
    ),
    "a member of an alias is refused, another one is put off": Situation(
        {"RCPT": ["550 5.1.1 no such user\r\n", "250 ok\r\n"]},
        (Told("5.1.1", "550 5.1.1 no such user", "(from <r@%>)", rcpt="a"),), aliases="r@% a@%, b@%", orcpt="rfc822; r@%",
    ),
    "TLS is demanded and not offered": Situation(
        {}, **expired(None, "4.7.4", "TLS is required, but the server does not offer it (encrypt: tls_policy"), tls="encrypt"
    ),
    "TLS is demanded and refused": Situation(
        {"EHLO": STARTTLS, "STARTTLS": "454 4.7.0 not now\r\n"},
        **expired(None, "4.7.5", "TLS is required, but the server refuses STARTTLS: 454 4.7.0 not now"), tls="encrypt",
    ),
    "TLS is demanded and breaks": Situation(
        {"EHLO": STARTTLS, "STARTTLS": "220 go\r\nwhat?\r\n"}, **expired(None, "4.7.5", "TLS handshake"), tls="verify",
    ),
    "it was relayed": Situation(
        {"EHLO": NO_DSN_8BIT}, (Told("2.0.0", "250 2.0.0 kept", "was taken by a server", "relayed"),), rcpt=("NOTIFY=SUCCESS",)
    ),
    "two were relayed together": Situation(
        {"EHLO": NO_DSN_8BIT}, (Told("2.0.0", "250 2.0.0 kept", "was taken by a server", "relayed"),
                                Told("2.0.0", "250 2.0.0 kept", "was taken by a server", "relayed", "s")),
        rcpt=("NOTIFY=SUCCESS",), names=("r", "s"),
    ),
    "it was delivered": Situation(
        {}, (Told("2.0.0", "250 2.0.0 kept", "was delivered", "delivered"),), rcpt=("NOTIFY=SUCCESS",), lmtp=True
    ),
    "an alias was expanded": Situation(
        {}, (Told("2.1.5", None, "stands for several addresses", "expanded"),), rcpt=("NOTIFY=SUCCESS",),
        aliases="r@% a@%, b@%",
    ),
}  # fmt: skip


@dataclass
class Site:
    """A gateway, a server for each situation, and the server of the senders."""

    gateway: Gateway
    back: ScriptedServer
    servers: dict[str, ScriptedServer | None]

    @staticmethod
    def domain(name: str) -> str:
        return f"f{list(SITUATIONS).index(name)}.example"

    def reports(self, name: str) -> list[bytes]:
        """The reports that came for a situation, a warning first: each names its domain."""
        mark = f"@{self.domain(name)}".encode()
        found = [content for content in self.back.contents if mark in content.partition(b"Reporting-MTA: ")[2]]
        return sorted(found, key=lambda content: b"Action: delayed" not in content)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("situations")
    with ExitStack() as stack:
        back = stack.enter_context(ScriptedServer({"EHLO": OLD}))
        servers = {
            name: None if one.replies is DOWN and not one.lmtp and name == "nobody listens"
            else stack.enter_context(ScriptedServer(dict(one.replies)))
            for name, one in SITUATIONS.items()
        }  # fmt: skip
        lines = []
        for name, one in SITUATIONS.items():
            server = servers[name]
            port = free_port() if server is None else server.port
            lines.append(f"{Site.domain(name)} {'lmtp:' if one.lmtp else ''}{port}^[127.0.0.1]")
        table = "\n".join([*lines, f"back.example {back.port}^[127.0.0.1]"])
        gateway = Gateway(directory / "gateway", table, {"qmgr": QMGR, "smtpc": SMTPC, "smar": SMAR})
        gateway.conf.parent.mkdir(parents=True)
        aliases = [one.aliases.replace("%", Site.domain(name)) for name, one in SITUATIONS.items() if one.aliases]
        (gateway.conf.parent / "aliases").write_text("\n".join(aliases) + "\n")
        demands = [
            f"[127.0.0.1]:{server.port} {SITUATIONS[name].tls}" for name, server in servers.items() if SITUATIONS[name].tls
        ]
        (gateway.conf.parent / "tls_policy").write_text("\n".join(demands) + "\n")
        (gateway.conf.parent / "texts").write_text(TEXTS)
        made = Site(stack.enter_context(running(gateway)), back, servers)
        with smtplib.SMTP("127.0.0.1", gateway.port, timeout=60) as client:
            client.ehlo("test.example")
            for name, one in SITUATIONS.items():
                domain = made.domain(name)
                assert client.mail(f"sender@{one.sender.replace('%', domain)}", list(one.mail))[0] == 250
                for rcpt in one.names:
                    assert client.rcpt(f"{rcpt}@{domain}", list(one.rcpt))[0] == 250
                client.data(one.content)
        yield made


def parse(content: bytes) -> Message:
    found = email.message_from_bytes(content)
    assert not found.defects
    return found


def unfolded(value: str | None) -> str | None:
    return value if value is None else value.replace("\r\n", "").replace("\n", "")


def check(content: bytes, told: tuple[Told, ...], domain: str, one: Situation) -> Message:
    """Checks all of a report but what it returns."""
    assert content.isascii()
    assert len(content) <= SIZE_MAX
    report = parse(content)
    assert report["To"] == f"<{one.to or 'sender'}@back.example>"
    assert (report["Auto-Submitted"], report["MIME-Version"]) == ("auto-replied", "1.0")
    assert report["Content-Transfer-Encoding"] is None
    assert (report.get_content_type(), report.get_param("report-type")) == ("multipart/report", "delivery-status")
    text, status = report.get_payload()[:2]
    message, *groups = status.get_payload()
    assert message["Reporting-MTA"] == "dns; gateway.example"
    assert parsedate_to_datetime(message["Arrival-Date"])
    listed = {unfolded(group["Final-Recipient"]): group for group in groups}
    assert len(listed) == len(groups) == len(told)
    for it in told:
        address = f"{it.rcpt}@{domain}"
        group = listed[f"rfc822; {address}"]
        assert (group["Action"], group["Status"]) == (it.action, it.status)
        said = unfolded(group["Diagnostic-Code"])
        assert said == (it.diagnostic and f"smtp; {it.diagnostic}")
        assert group["Remote-MTA"] == (it.diagnostic and f"dns; {ADDRESS}")
        assert parsedate_to_datetime(group["Last-Attempt-Date"])
        assert bool(group["Will-Retry-Until"]) is (it.action == "delayed")
        if one.orcpt:
            assert group["Original-Recipient"] == one.orcpt.replace("%", domain)
        words = " ".join(text.get_payload(decode=True).decode().split())
        assert f"<{address}>" in words
        assert " ".join(it.words.replace("%", domain).split()) in words
        assert ("answered:" in words) is any(each.diagnostic for each in told)
    return report


def agrees(report: Message, told: tuple[Told, ...], domain: str, one: Situation) -> None:
    """Asks the other parser: those that were delayed, those that failed."""
    delayed, failed = all_failures(report)
    for action, found in (("delayed", delayed), ("failed", failed)):
        whom = {f"{it.rcpt}@{domain}".encode() for it in told if it.action == action}
        if one.orcpt is None:
            assert found == whom
        else:  # it prefers the original recipient, and knows none of the type utf-8
            kind, _, original = one.orcpt.replace("%", domain).partition("; ")
            assert found >= ({original.encode()} if kind == "rfc822" and whom else whom)


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_sender_is_told_what_happened(site, name):
    one, domain = SITUATIONS[name], site.domain(name)
    count = 1 if one.warned is None else 2
    wait_until(lambda: len(site.reports(name)) >= count, 90, lambda: f"report: {name}; {site.gateway.last_words()}")
    *warnings, content = site.reports(name)
    if one.warned is not None:
        (warning,) = warnings
        report = check(warning, (one.warned,), domain, one)
        agrees(report, (one.warned,), domain, one)
        assert str(make_header(decode_header(report["Subject"]))) == "Verspätet"
        assert "Grüße von gateway.example." in report.get_payload()[0].get_payload(decode=True).decode()
    report = check(content, one.told, domain, one)
    agrees(report, one.told, domain, one)
    parts = report.get_payload()
    assert len(parts) == 3
    assert parts[2].get_content_type() == one.returned
    assert ("8bit" in str(content)) is False
    if "ENVID=my+2Bown" in one.mail:
        assert parts[1].get_payload()[0]["Original-Envelope-Id"] == "my+own"
    else:
        assert parts[1].get_payload()[0]["Original-Envelope-Id"] is None
    if one.returned == "message/rfc822":
        assert one.content in content
    elif one.content is RAW_HEADER:
        assert "Subject: café" in parts[2].get_payload(decode=True).decode("latin-1")
    elif one.content.startswith(HEADER):
        assert "Subject: test" in parts[2].get_payload()
        assert "text of the message" not in parts[2].get_payload()


def test_a_report_about_so_many_that_it_is_too_large_comes_in_parts(site):
    name = "RCPT is refused with enhanced code"
    rcpts = [f"many{number}@{site.domain(name)}" for number in range(120)]
    with smtplib.SMTP("127.0.0.1", site.gateway.port, timeout=60) as client:
        assert client.sendmail("many@back.example", rcpts, PLAIN) == {}

    def told() -> list[str]:
        found = [parse(content) for content in site.back.contents]
        mine = [report.get_payload()[1].get_payload()[1:] for report in found if report["To"] == "<many@back.example>"]
        return [group["Final-Recipient"].partition("; ")[2] for groups in mine for group in groups]

    wait_until(lambda: len(told()) >= len(rcpts), 90, lambda: f"all are told; {site.gateway.last_words()}")
    assert sorted(told()) == sorted(rcpts)
    assert max(map(len, site.back.contents)) <= SIZE_MAX


def test_nobody_got_more_reports_than_there_were_and_nothing_is_left(site):
    site.gateway.wait_empty(90)
    expected = sum(1 if one.warned is None else 2 for one in SITUATIONS.values())
    found = [content for content in site.back.contents if b"To: <many@" not in content]
    assert len(found) == expected
    for seen in site.back.connections:
        mails = [line for line in seen.commands if line.startswith("MAIL")]
        assert all(line.startswith("MAIL FROM:<> SIZE=") for line in mails)
        assert not any("BODY=8BITMIME" in line or "SMTPUTF8" in line for line in mails)
