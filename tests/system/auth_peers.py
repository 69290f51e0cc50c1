"""AUTH with programs of others: Dovecot as back end; msmtp, nodemailer, swaks, gsasl, smtplib as clients.

    apt-get install dovecot-core msmtp gsasl swaks; npm install --prefix DIR nodemailer
    python -m tests.system.auth_peers [--nodemailer DIR]

Each client speaks each mechanism that it knows to an smtps whose passwords are in a file, and to one that asks Dovecot, once
with the right password and once with a wrong one.  What is not installed is named and left out; the exit code is the number of
surprises.
"""

import argparse
import contextlib
import os
import shutil
import signal
import smtplib
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from contrib.lib.gateway import wait_until
from meta1g.sasl.stored import make_stored
from tests.fakes.certificates import make_certificate
from tests.fakes.dovecot_conf import dovecot_conf
from tests.fakes.smtps_process import SmtpsProcess

USER, RIGHT, WRONG = "ann@example.org", "pencil", "pencils"
WAIT_S = 60
MECHANISMS = "plain login scram-sha-256 scram-sha-1 cram-md5"
NODE = """\
const [dir, port, method, user, pass] = process.argv.slice(1);
const transport = require(dir + "/node_modules/nodemailer").createTransport({
  host: "127.0.0.1", port: port, authMethod: method, auth: { user: user, pass: pass }, tls: { rejectUnauthorized: false } });
transport.verify().then(() => process.exit(0), (error) => process.exit(error.code == "EAUTH" ? 1 : 2));
"""
AUTH = "failure_delay = 0; max_client_failures = 9999; max_user_failures = 9999;"


def run(command: list[str], stdin: str = "") -> int:
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=WAIT_S, check=False).returncode


def gsasl(port: int, mechanism: str, password: str) -> bool:
    binding = [] if mechanism.endswith("PLUS") else ["--no-cb"]
    return not run(
        [
            "gsasl",
            "--smtp",
            f"--connect=127.0.0.1:{port}",
            "-m",
            mechanism,
            "-a",
            USER,
            "-p",
            password,
            "--x509-ca-file=",
            *binding,
        ]
    )


def swaks(port: int, mechanism: str, password: str) -> bool:
    who = ["--auth", mechanism, "--auth-user", USER, "--auth-password", password]
    return not run(["swaks", "--server", f"127.0.0.1:{port}", "--tls", *who, "--quit-after", "AUTH"])


def msmtp(port: int, mechanism: str, password: str) -> bool:
    how = [
        "--host=127.0.0.1",
        f"--port={port}",
        "--tls=on",
        "--tls-certcheck=off",
        f"--auth={mechanism.lower()}",
        f"--user={USER}",
    ]
    command = ["msmtp", *how, f"--passwordeval=echo {password}", f"--from={USER}", "r@example.org"]
    return not run(command, "Subject: x\n\nhello\n")


def smtp_library(port: int, mechanism: str, password: str) -> bool:
    with smtplib.SMTP("127.0.0.1", port, timeout=WAIT_S) as smtp:
        smtp.starttls(context=ssl._create_unverified_context())
        smtp.ehlo("client.example")
        smtp.user, smtp.password = USER, password
        try:
            smtp.auth(mechanism, getattr(smtp, f"auth_{mechanism.lower().replace('-', '_')}"))
        except smtplib.SMTPAuthenticationError:
            return False
        return True


def nodemailer(directory: Path) -> Callable[[int, str, str], bool]:
    def speak(port: int, mechanism: str, password: str) -> bool:
        code = run(["node", "-e", NODE, "--", str(directory.resolve()), str(port), mechanism, USER, password])
        if code not in (0, 1):
            raise RuntimeError(f"nodemailer ended with {code}")
        return not code

    return speak


#: What each client knows.
CLIENTS = {
    "gsasl": (gsasl, ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS")),
    "swaks": (swaks, ("PLAIN", "LOGIN", "CRAM-MD5")),
    "msmtp": (msmtp, ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256")),
    "python": (smtp_library, ("PLAIN", "LOGIN", "CRAM-MD5")),
}


@contextlib.contextmanager
def dovecot(directory: Path) -> Iterator[str]:
    """Runs Dovecot's authentication; gives the options of smtps."""
    (directory / "users").write_text(f"{USER}:{{PLAIN}}{RIGHT}:1000:1000::/tmp::\n")
    (directory / "dovecot.conf").write_text(dovecot_conf(directory, mechanisms=MECHANISMS))
    daemon = subprocess.Popen(["dovecot", "-F", "-c", directory / "dovecot.conf"], start_new_session=True)
    try:
        wait_until((directory / "auth").exists, WAIT_S, "Dovecot")
        yield f"dovecot_socket = {directory}/auth; mechanisms = {{ {MECHANISMS.replace(' ', ', ')} }};"
    finally:
        os.killpg(daemon.pid, signal.SIGTERM)
        daemon.wait(WAIT_S)


@contextlib.contextmanager
def password_file(directory: Path) -> Iterator[str]:
    stored = [make_stored(kind, RIGHT, b"salt" * 4, 4096) for kind in ("SCRAM-SHA-256", "SCRAM-SHA-1")]
    (directory / "passwords").write_text(f"{USER}:{' '.join(map(str, stored))}\n")
    yield f"password_file = {directory}/passwords;"


BACK_ENDS = {
    "password file": (password_file, {"CRAM-MD5"}),
    "dovecot": (dovecot, {"SCRAM-SHA-256-PLUS"}),
}


def play(options: str, directory: Path, unknown: set[str], clients: dict[str, tuple]) -> int:
    """Lets all clients speak all mechanisms; gives the number of surprises."""
    tls = f"tls {{ cert_file = {directory}/mx.example.pem; key_file = {directory}/mx.example.key; }}"
    surprises = 0
    with SmtpsProcess(directory / "q", f"{tls} auth {{ {AUTH} {options} }}") as process:
        for name, (speak, mechanisms) in clients.items():
            for mechanism in (one for one in mechanisms if one not in unknown):
                right, wrong = (speak(process.port, mechanism, password) for password in (RIGHT, WRONG))
                well = right and not wrong
                surprises += not well
                print(
                    f"  {name:12} {mechanism:20} {'ok' if well else f'right password {right}, wrong one {wrong}'}", flush=True
                )
    return surprises


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodemailer", type=Path, metavar="DIR", help="where npm installed it")
    args = parser.parse_args()
    clients = {name: row for name, row in CLIENTS.items() if name == "python" or shutil.which(name)}
    if args.nodemailer:
        clients["nodemailer"] = (nodemailer(args.nodemailer), ("PLAIN", "LOGIN", "CRAM-MD5"))
    for name in {*CLIENTS, "dovecot", "nodemailer"} - {*clients, *(["dovecot"] if shutil.which("dovecot") else [])}:
        print(f"{name}: not there, left out")
    surprises = 0
    for name, (start, unknown) in BACK_ENDS.items():
        if name == "dovecot" and not shutil.which("dovecot"):
            continue
        print(name)
        with tempfile.TemporaryDirectory(prefix="m1g-") as text:
            directory = Path(text)
            directory.chmod(0o755)  # Dovecot's processes have accounts of their own
            make_certificate(directory, "mx.example")
            with start(directory) as options:
                surprises += play(options, directory, unknown, clients)
    return surprises


if __name__ == "__main__":
    sys.exit(main())
