"""The milters that people use, unchanged and as the manual configures them, on a gateway: what they do arrives, or is said.

    python -m tests.system.filter_peers [--only NAME ...] [--pmult] [--keep]

OpenDKIM, OpenDMARC, ClamAV's, SpamAssassin's and rspamd's are installed from Debian, started below a temporary directory on
Unix sockets (filter_daemons.py), and ended; it needs root.  Each row is one message and what has to become of it.
The exit code is the number of rows where something else became of it.
"""

import argparse
import os
import re
import smtplib
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from contrib.lib.gateway import Gateway, wait_until
from tests.fakes.filter_program import FilterProgram
from tests.fakes.nameserver import NameServer
from tests.system import filter_daemons
from tests.system.conftest import KeepingSink, mailq, running

WAIT_S = 90
#: Addresses that messages come from: one whose mail is signed, and one whose mail is looked at; XCLIENT tells it.
OURS, STRANGER = "127.0.0.1", "198.51.100.7"
RESULTS = r"^Authentication-Results: gateway\.example"
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


@dataclass(frozen=True)
class Seen:
    """What became of a message: refused with a reply, held for a reason, dropped, or content that arrived."""

    reply: str
    held: str = ""
    dropped: bool = False
    content: bytes = b""

    def __str__(self) -> str:
        if self.held:
            return f"held: {self.held}"
        return "dropped" if self.dropped else "arrived" if self.content else self.reply


Expected = Callable[[Seen], str]


def refused(start: str, text: str = "") -> Expected:
    """A reply that begins so and has this in it."""
    return lambda seen: "" if seen.reply.startswith(start) and text in seen.reply else f"wanted {start} ... {text}"


def held(text: str) -> Expected:
    return lambda seen: "" if text in seen.held else f"wanted it held, {text}"


def dropped(seen: Seen) -> str:
    return "" if seen.dropped else "wanted it dropped"


def arrives(*patterns: str, without: str = "") -> Expected:
    """Content with all of these in its unfolded text, in this order, and without the other one."""

    def check(seen: Seen) -> str:
        text = re.sub(r"\r\n[ \t]+", " ", seen.content.decode("utf-8", "replace"))
        at = 0
        for pattern in patterns:
            found = re.compile(pattern, re.M).search(text, at)
            if found is None:
                return f"wanted {pattern!r} in\n{text}"
            at = found.end()
        return f"{without!r} is in\n{text}" if without and re.search(without, text, re.M) else ""

    return check


def message(sender: str, text: str = "hello", subject: str = "a word", more: str = "") -> bytes:
    """Makes a message."""
    names = f"From: <{sender}>\nTo: <r@to.example>\nSubject: {subject}\nDate: Fri, 27 Nov 2026 12:00:00 +0000\n"
    return f"{names}Message-ID: <1@{sender.partition('@')[2]}>\n{more}\n{text}\n".replace("\n", "\r\n").encode()


@dataclass(frozen=True)
class Row:
    """One message.

    Args:
        what: it shows.
        content: of the message, or what makes it of those of the rows before.
        expected: what has to become of it; gives an empty text if it did.
        variant: of the configuration.
        client: where it comes from.
        mail: its sender.
    """

    what: str
    content: "bytes | Callable[[Results], bytes]"
    expected: Expected
    variant: str = ""
    client: str = STRANGER
    mail: str = "s@foreign.example"


@dataclass
class Results:
    """What was seen, by what it shows."""

    rows: list[tuple[Row, Seen, str]] = field(default_factory=list)

    def content(self, what: str) -> bytes:
        return next(seen.content for row, seen, _error in self.rows if row.what == what)


def signed(what: str) -> Callable[[Results], bytes]:
    return lambda results: results.content(what)


def tampered(what: str) -> Callable[[Results], bytes]:
    return lambda results: results.content(what).replace(b"\r\nhello", b"\r\nhallo")


INFECTED = message("s@foreign.example", "some meta1g-virus-test text")
SPAM = message("s@foreign.example", "some meta1g-spam-test text")
UBE = message("s@foreign.example", GTUBE)
FROM_US = message("a@example.org")
#: The filters of a row's gateway, by the name of the group; a group has one gateway.
GROUPS: dict[tuple[str, ...], tuple[Row, ...]] = {
    ("opendkim",): (
        Row(
            "OpenDKIM signs",
            FROM_US,
            arrives(r"^DKIM-Signature: v=1; .*d=example\.org; s=s1;", r"^Received: ", "^From: "),
            client=OURS,
        ),
        Row("OpenDKIM verifies", signed("OpenDKIM signs"), arrives(rf"{RESULTS}; dkim=pass .*example\.org")),
        Row("OpenDKIM refuses", tampered("OpenDKIM signs"), refused("550 5.7.0", "bad DKIM signature")),
        Row(
            "OpenDKIM removes a field",
            message("a@foreign.example", more="Authentication-Results: gateway.example; dkim=pass\n"),
            arrives("^From: ", without=rf"{RESULTS}; dkim=pass"),
        ),
        Row("OpenDKIM quarantines", tampered("OpenDKIM signs"), held("milter opendkim: "), "quarantine"),
        Row("OpenDKIM discards", tampered("OpenDKIM signs"), dropped, "discard"),
    ),
    ("opendkim", "opendmarc"): (
        Row("OpenDKIM signs for DMARC", FROM_US, arrives("^DKIM-Signature: "), client=OURS),
        Row(
            "OpenDMARC sees what OpenDKIM says",
            signed("OpenDKIM signs for DMARC"),
            arrives(
                rf"{RESULTS}; dmarc=pass .*header\.from=example\.org",
                rf"{RESULTS}; dkim=pass",
            ),
        ),
        Row(
            "OpenDMARC takes what SPF allows",
            message("s@pass.example"),
            arrives(r"dmarc=pass .*header\.from=pass\.example"),
            mail="s@pass.example",
        ),
        Row("OpenDMARC refuses", FROM_US, refused("550 5.7.1", "rejected by DMARC policy for example.org")),
        Row("OpenDMARC quarantines", message("s@quarantine.example"), held("milter opendmarc: ")),
    ),
    ("clamav",): (
        Row(
            "ClamAV replaces a field",
            message("s@foreign.example", more="X-Virus-Status: Infected (of others)\n"),
            arrives("^X-Virus-Scanned: .*", "^X-Virus-Status: Clean", without="of others"),
        ),
        Row("ClamAV refuses", INFECTED, refused("550 5.7.1", "Infected: Own.Test")),
        Row("ClamAV quarantines", INFECTED, held("milter clamav: "), "quarantine"),
        Row("ClamAV discards", INFECTED, dropped, "discard"),
    ),
    ("spamass",): (
        Row("SpamAssassin adds fields", message("s@foreign.example"), arrives("^X-Spam-Checker-Version: ", without="SPAM")),
        Row(
            "SpamAssassin changes the subject",
            SPAM,
            arrives(r"^Subject: \[SPAM\] a word", without="^Subject: a word"),
        ),
        Row(
            "SpamAssassin removes fields of others",
            message("s@foreign.example", more="X-Spam-Flag: YES of others\n"),
            arrives("^X-Spam-Status: No", without="of others"),
        ),
        Row("SpamAssassin refuses", UBE, refused("550 5.7.1", "Blocked by SpamAssassin")),
        Row(
            "SpamAssassin replaces the body",
            SPAM,
            arrives("^Content-Type: multipart/mixed", "^Content-Type: message/rfc822", "^Subject: a word", "meta1g-spam-test"),
            "report",
        ),
    ),
    ("rspamd",): (
        Row(
            "rspamd signs",
            FROM_US,
            arrives(r"^DKIM-Signature: v=1; .*d=example\.org; s=s1;"),
            client=OURS,
            mail="a@example.org",
        ),
        Row("rspamd verifies", signed("rspamd signs"), arrives(r"^Authentication-Results: \S+;.* dkim=pass .*example\.org")),
        Row("rspamd adds fields", message("s@foreign.example"), arrives("^X-Spamd-Bar: ")),
        Row("rspamd marks spam", message("s@foreign.example", "Y" + GTUBE[1:]), arrives("^X-Spam: Yes")),
        Row(
            "rspamd changes the subject",
            message("s@foreign.example", "Z" + GTUBE[1:]),
            arrives(r"^Subject: \*\*\* SPAM \*\*\* a word", without="^Subject: a word"),
        ),
        Row("rspamd refuses", UBE, refused("554 5.7.1", "Gtube pattern")),
        Row("rspamd quarantines", UBE, held("milter rspamd: "), "quarantine"),
        Row("rspamd discards", UBE, dropped, "discard"),
    ),
    ("clamav", "spamass", "rspamd", "opendkim", "opendmarc"): (
        Row("all sign", FROM_US, arrives("^DKIM-Signature: .*s=s1", "^From: ", "^X-Virus-Status: Clean"), client=OURS),
        Row(
            "all look at it",
            signed("all sign"),
            arrives(
                f"{RESULTS}; dmarc=pass",
                f"{RESULTS}; dkim=pass",
                "^X-Spam-Status: No",
                "^X-Virus-Status: Clean",
                "^X-Spamd-Bar: ",
            ),
        ),
        Row("the first one refuses", INFECTED, refused("550 5.7.1", "Infected")),
        Row("the last one refuses", FROM_US, refused("550 5.7.1", "DMARC")),
    ),
}  # fmt: skip


class Place:
    """One gateway and its sink.

    Args:
        directory: everything is below it.
        options: of smtps.
    """

    def __init__(self, directory: Path, options: str, undo: ExitStack) -> None:
        directory.mkdir()
        self.sink = undo.enter_context(KeepingSink(directory / "maildir"))
        smtps = {"smtps": f"xclient_from = {OURS}; {options}"}
        made = Gateway(directory / "gateway", f". {self.sink.port}^[127.0.0.1]", smtps, relay_from=f"{OURS}, {STRANGER}")
        self.gateway = undo.enter_context(running(made))
        self.number = 0
        self._seen_lines = 0

    def send(self, row: Row, content: bytes) -> Seen:
        """Sends a message and waits for what becomes of it."""
        self.number += 1
        self._seen_lines = len(self._log())
        rcpt = f"r{self.number}@to.example"
        try:
            with smtplib.SMTP("127.0.0.1", self.gateway.port, timeout=WAIT_S) as client:
                client.ehlo("client.example")
                if row.client != OURS:
                    client.docmd("XCLIENT", f"ADDR={row.client} NAME=client.example")
                    client.ehlo("client.example")
                for code, text in (client.mail(row.mail), client.rcpt(rcpt), client.data(content)):
                    if code >= 400:
                        return Seen(f"{code} {text.decode()}")
        except smtplib.SMTPResponseException as error:
            return Seen(f"{error.smtp_code} {error.smtp_error!r}")
        found: list[Seen] = []
        wait_until(lambda: found.extend(self._fate(rcpt)) or found, WAIT_S, f"{row.what}: {rcpt}")
        return found[0]

    def _fate(self, rcpt: str) -> list[Seen]:
        for envelope in self.sink.envelopes():
            if rcpt in envelope["rcpts"]:
                return [Seen("250", content=self.sink.content(envelope))]
        if reason := re.search(r"held by .*", mailq(self.gateway)):
            self.gateway.control("remove", f"recipient={rcpt}")
            return [Seen("250", held=reason[0])]
        if any("smtps.message_discarded" in line for line in self._log()[self._seen_lines :]):
            return [Seen("250", dropped=True)]
        return []

    def _log(self) -> list[str]:
        return self.gateway.log.read_text().splitlines()


def play(group: tuple[str, ...], directory: Path, keys: Path, results: Results, *, pmult: bool) -> None:
    """Plays all rows of a group, with the filters anew for each variant; smtps asks them, or pmult does."""
    directory.mkdir()
    roots = {name: directory / name for name in group}
    options = "\n".join(filter_daemons.milter_options(name, root) for name, root in roots.items())
    place: Place | None = None
    with ExitStack() as undo:
        if pmult:
            program = undo.enter_context(FilterProgram("meta1g_filters.pmult.main", directory, options))
            options = f"policy_milter {{ {program.conf} timeout = 10m; }}"
        for variant in dict.fromkeys(row.variant for row in GROUPS[group]):
            with ExitStack() as filters:
                for name, root in roots.items():
                    filters.enter_context(filter_daemons.running(name, root, variant, keys))
                place = place or Place(directory / "place", options, undo)
                for row in (row for row in GROUPS[group] if row.variant == variant):
                    content = row.content if isinstance(row.content, bytes) else row.content(results)
                    seen = place.send(row, content)
                    error = row.expected(seen)
                    results.rows.append((row, seen, error))
                    print(f"{'WRONG' if error else 'ok':6}{row.what:36}{seen}{f'; {error}' if error else ''}", flush=True)
            for root in roots.values():
                root.rename(root.with_name(f"{root.name} {variant}"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.system.filter_peers", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help=f"groups that have one of {', '.join(filter_daemons.FILTERS)}"
    )
    parser.add_argument("--pmult", action="store_true", help="pmult asks the filters, and smtps asks pmult")
    parser.add_argument("--keep", action="store_true", help="leave the directory with all logs")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("only root can start filters with the accounts of their packages")
    filter_daemons.install(*filter_daemons.PACKAGES)
    results = Results()
    base = Path(tempfile.mkdtemp(prefix="m1g-", dir="/run"))  # OpenDKIM's keys must not be below what all can write
    base.chmod(0o755)
    with NameServer(filter_daemons.NAME_SERVER, 53) as names:
        names.add("s1._domainkey.example.org", "TXT", filter_daemons.make_key(base / "keys"))
        names.add("_dmarc.example.org", "TXT", '"v=DMARC1; p=reject"')
        names.add("_dmarc.quarantine.example", "TXT", '"v=DMARC1; p=quarantine"')
        names.add("_dmarc.pass.example", "TXT", '"v=DMARC1; p=reject"')
        names.add("pass.example", "TXT", f'"v=spf1 ip4:{STRANGER} -all"')
        for number, group in enumerate(GROUPS):
            if not options.only or {*options.only} & {*group}:
                play(group, base / str(number), base / "keys", results, pmult=options.pmult)
    wrong = sum(bool(error) for *_rest, error in results.rows)
    print(f"{len(results.rows)} messages, {wrong} with another end than wanted")
    if options.keep:
        print(base)
    else:
        filter_daemons.shutil.rmtree(base)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
