"""milter-regex beside the one of sendmail: the same rules and the same sessions, and the same has to come of them.

    apt-get install libmilter-dev bison gcc; build milter-regex 3.x by Daniel Hartmeier
    python -m tests.system.regex_peer /path/to/milter-regex [COUNT] [SEED]

Each is asked by an smtps of its own.  COUNT sets of rules are made at random, and sessions for each.  What differs on purpose
is not played (docs/filter-regex.md): several recipients, several messages, discard and quarantine before a message, macros of
TLS.  The exit code is the number of sets that differ.
"""

import contextlib
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from contrib.lib.gateway import wait_until
from meta1g.rcb.smtps_qmgr import CloseTransaction
from meta1g.rcb.smtps_smar import Checks
from tests.fakes.filter_program import FilterProgram
from tests.fakes.smtps_process import Client, SmtpsProcess

WAIT_S = 30
SESSIONS = 12
HELOS = ["client.example", "nodot", "mail.example.org", "localhost"]
SENDERS = ["ada@example.net", "friend@partner.example", "", "bob@example.org"]
RCPTS = ["bob@to.example", "sales@to.example"]
FIELDS = [
    "Subject: Hello World",
    "Subject: You won\r\n the lottery",
    "From: Ada <ada@example.net>",
    "X-Loop: us",
    "To: x",
    "subject: again",
]
LINES = ["Hello", "The lottery is here", 'Content-Type: x; name="a.EXE"', "", "x" * 900, "-- ", "a+b", "(c)"]
TERMS = r"""
connect // /^127/
connect /localhost/ //
connect /^\[/ /1$/
connect // /^192/
helo /\./
helo /\./n
helo /LOCAL/i
helo /\.(org|net)$/e
helo //
envfrom /<>/
envfrom /example/
envfrom /@partner/n
envfrom /^<[a-c]\{3\}@/
envfrom /^<(ada|bob)@/e
envrcpt /sales/
envrcpt /bob/n
envrcpt /@to/
header /^Subject$/ /Hello/
header /^subject$/i /lottery/
header /^Subject$/ /won.*the/
header /X-/ //
header /^From$/ /[[:upper:]]da/
header /To/n /^x/
header // /^$/
header /./ /\(us\|net\)/
body /lottery/
body /^$/
body /name=.*\.exe/i
body /x{800}/e
body /a+b/
body /^.c.$/e
body /nothing/
body /\(c\)/e
macro /{auth_type}/ /./
macro /{mail_addr}/ /bob/
""".strip().splitlines()


def expression(rng: random.Random, depth: int = 0) -> str:
    """Gives an expression that both understand."""
    kind = rng.random()
    if depth > 2 or kind < 0.45:
        return rng.choice(TERMS)
    if kind < 0.6:
        return f"not {term(rng, depth)}"
    return f"{term(rng, depth)} {rng.choice(('and', 'or'))} {expression(rng, depth + 1)}"


def term(rng: random.Random, depth: int) -> str:
    return rng.choice(TERMS) if rng.random() < 0.6 else f"( {expression(rng, depth + 1)} )"


def rules(rng: random.Random) -> str:
    """Gives a configuration.

    One that quarantines does nothing else, and only in the body: the original may change its mind, and forgets a quarantine if
    nothing is left that it wants to see.
    """
    if rng.random() < 0.2:
        return f'quarantine "q" ( {expression(rng)} ) and body //\n'
    lines = []
    for number in range(rng.randint(1, 5)):
        action = rng.choice((f'reject "r{number}"', f'reject "r{number}"', f'tempfail "t{number}"', "accept", "discard"))
        several = [expression(rng) for _ in range(rng.randint(1, 2))]
        lines += [action, *(f"( {one} ) and envfrom //" if action == "discard" else one for one in several)]
    return "\n".join(lines) + "\n"


def session(rng: random.Random) -> tuple[str, str, str, str]:
    """Gives what a client says: HELO, sender, recipient, message."""
    header = [rng.choice(FIELDS) for _ in range(rng.randint(1, 4))]
    body = [rng.choice(LINES) for _ in range(rng.randint(0, 4))]
    return rng.choice(HELOS), rng.choice(SENDERS), rng.choice(RCPTS), "\r\n".join([*header, "", *body, ""])


def outcome(smtps: SmtpsProcess, said: tuple[str, str, str, str]) -> str:
    """Gives what came of a session: the step that was refused, and how; or what QMGR was told."""
    helo, mail, rcpt, message = said
    smtps.qmgr.messages.clear()
    with Client(smtps.port) as client:
        steps = [("client", None), ("client", f"EHLO {helo}"), ("mail", f"MAIL FROM:<{mail}>"), ("rcpt", f"RCPT TO:<{rcpt}>")]
        for name, line in (*steps, ("content", "DATA"), ("content", f"{message}.")):
            if line is not None:
                client.send(f"{line}\r\n".encode())
            reply = client.reply()
            if reply[:1] in ("4", "5"):
                return f"{name}: {reply.replace('451', '4xx').replace('421', '4xx')}"
        client.send(b"QUIT\r\n")
        client.reply()
    closed = smtps.qmgr.of(CloseTransaction)
    return f"taken {(closed[-1].hold or '').partition(': ')[2]}" if closed else "discarded"


@contextlib.contextmanager
def original(program: str, directory: Path, text: str) -> Iterator[str]:
    """Runs the original; gives the section that asks it."""
    file, sock = directory / "original.conf", directory / "original.sock"
    file.write_text(text)
    file.chmod(0o644)
    sock.unlink(missing_ok=True)
    command = [program, "-d", "-c", str(file), "-p", f"unix:{sock}", "-u", "root", "-P", "0666"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_until(lambda: sock.exists() and sock.stat().st_mode & 0o002, WAIT_S, "the original listens")
        yield f'milter original {{ socket {{ type = unix; path = "{sock}"; }} }}'
    finally:
        with process:  # this closes its pipe and waits for it
            process.kill()


def differences(program: str, directory: Path, rng: random.Random, seen: Counter[str]) -> list[str]:
    """Plays sessions with one set of rules; gives what differs, and counts what came of them."""
    text = rules(rng)
    found = []
    with (
        original(program, directory, text) as theirs,
        FilterProgram("meta1g_filters.regex.main", directory, text) as program_of_ours,
        contextlib.ExitStack() as stack,
    ):
        conf = (theirs, f"policy_milter ours {{ {program_of_ours.conf} }}")
        both = []
        for number, one in enumerate(conf):
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"r{number}"))) / "q"
            both.append(stack.enter_context(SmtpsProcess(place, one, checks=Checks.RCPT | Checks.CLIENT)))
        both[1].wait_log(r"func=smtps\.policy, ")
        for _ in range(SESSIONS):
            said = session(rng)
            was, now = (outcome(one, said) for one in both)
            seen[was.partition(" ")[0]] += 1
            if was != now:
                found.append(f"{said}\n  original: {was}\n  ours:     {now}")
    return [text, *found] if found else []


def main(argv: list[str]) -> int:
    """Runs the command."""
    count = int(argv[1]) if len(argv) > 1 else 20
    seed = int(argv[2]) if len(argv) > 2 else random.randrange(1 << 32)
    wrong, seen = 0, Counter[str]()
    for number in range(count):
        with tempfile.TemporaryDirectory(prefix="regex") as name:
            found = differences(argv[0], Path(name), random.Random(f"{seed} {number}"), seen)
        if found:
            wrong += 1
            print("\n".join([f"seed {seed}, set {number}", *found]), flush=True)
    print(f"{count} sets of rules with {SESSIONS} sessions each, seed {seed}: {wrong} differ; {dict(seen)}")
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
