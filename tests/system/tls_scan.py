"""testssl.sh against smtps, by STARTTLS and on the port with implicit TLS: nothing is below its OK but what is explained here.

    apt-get install testssl.sh
    python -m tests.system.tls_scan [--testssl PROGRAM] [--openssl PROGRAM]

Takes some two minutes for each port.  Exit code 1 if testssl.sh has something to say that is not explained.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fakes.certificates import make_certificate, sign_certificate
from tests.fakes.smtps_process import SmtpsProcess

NAME = "mx.example"
WAIT_S = 3600
#: Less is a remark of testssl.sh.
DAYS = 90
OPTIONS = """
  listen_socket {{ type = inet; address = "127.0.0.1"; port = 0; implicit_tls = true; }}
  max_bad_commands = 1000; tls {{ cert_file = {0}/mx.example.pem; key_file = {0}/mx.example.key; }}
"""
#: What testssl.sh says that is all right.
WELL = ("OK", "INFO", "DEBUG")
#: What it finds, and why it stays.
EXPLAINED = {
    "engine_problem": "testssl.sh about its own openssl",
    "sessionresumption_ticket": "its openssl hangs up before the ticket of TLS 1.3 has come, on a machine that is busy",
    "cert_revocation": "the authority of the test has neither CRL nor OCSP: they belong to an authority, not to smtps",
}


def scan(testssl: list[str], directory: Path, port: int, *, starttls: bool) -> list[dict[str, str]]:
    """Runs testssl.sh; gives what it found."""
    path = directory / f"{port}.json"
    how = ["--starttls", "smtp"] if starttls else []
    command = [
        *(*testssl, "--quiet", "--color", "0", "--warnings", "batch", "--nodns", "min", "--ip", "127.0.0.1"),
        *("--add-ca", str(directory / "ca.example.pem"), "--jsonfile", str(path), *how, f"{NAME}:{port}"),
    ]
    subprocess.run(command, timeout=WAIT_S, check=False, stdin=subprocess.DEVNULL, capture_output=True)
    return list(json.loads(path.read_text()))


def unexplained(found: list[dict[str, str]]) -> int:
    """Tells what is not well; gives how much of it has no explanation."""
    surprises = 0
    for one in found:
        if one["severity"] in WELL:
            continue
        why = next((text for name, text in EXPLAINED.items() if one["id"].startswith(name)), "")
        surprises += not why
        print(f"  {one['severity']:8} {one['id']}: {one['finding']}  [{why or 'not explained'}]")
    return surprises


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--testssl", default="testssl", help="the program")
    parser.add_argument("--openssl", help="the openssl that it uses")
    args = parser.parse_args(argv)
    testssl = [args.testssl, *(["--openssl", args.openssl] if args.openssl else [])]
    surprises = 0
    with tempfile.TemporaryDirectory(prefix="m1g-") as name:
        directory = Path(name)
        make_certificate(directory, "ca.example")
        sign_certificate(directory, NAME, "ca.example", days=DAYS)
        with SmtpsProcess(directory / "q", OPTIONS.format(directory)) as process:
            for number, what in enumerate(("STARTTLS", "implicit TLS")):
                found = scan(testssl, directory, process.port_of(number), starttls=not number)
                print(f"{what}: {len(found)} findings", flush=True)
                surprises += unexplained(found) if len(found) > 1 else 1
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
