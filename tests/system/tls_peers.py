"""TLS and AUTH both ways with mail servers of others: Exim, OpenSMTPD, Postfix; Dovecot's LMTP and HAProxy beside them.

    apt-get install postfix dovecot-lmtpd haproxy
    apt-get download exim4-daemon-light opensmtpd      # they conflict with postfix: unpacked, not installed
    for i in *.deb; do dpkg-deb -x $i DIR; done
    python -m tests.system.tls_peers [--unpacked DIR]

Each server takes a message from smtpc and hands one on to smtps, with TLS 1.2 and 1.3, certificates verified, and AUTH; one
whose STARTTLS is broken gets mail in clear, or none if TLS is demanded.  Everything runs in a temporary directory, on loopback,
as root; Exim and OpenSMTPD in mount namespaces with accounts and a spool of their own.  OpenSMTPD does not verify smtps: its
authorities are those of the machine.  What is not installed is named and left out; the exit code is the number of surprises.
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.relays import PostfixRelay, Sink
from contrib.lib.gateway import free_port, wait_until
from meta1g.base.tlspolicy import TlsLevel, TlsPolicy
from meta1g.rcb.common import DeliveryAgent, ServerAddr
from meta1g.sasl.stored import make_stored
from tests.fakes.certificates import make_certificate, sign_certificate
from tests.fakes.dovecot_conf import dovecot_conf
from tests.fakes.smtps_process import SmtpsProcess
from tests.unit.smtpc.conftest import SmtpcProcess, running

USER, WORD, NAME = "ann@example.org", "pencil", "mx.x.example"
WAIT_S = 60
VERSIONS = ("TLSv1.2", "TLSv1.3")
CONTENT = b"Received: here\r\nFrom: ann@example.org\r\nSubject: x\r\n\r\nbody\r\n"
VERIFIED = TlsPolicy(TlsLevel.VERIFY, names=(NAME,))

# -- peers in a namespace of their own

#: Accounts that Exim and OpenSMTPD look for; the rest of the file is the machine's.
FIRST_ID = 61000
ACCOUNTS = ("Debian-exim", "opensmtpd", "opensmtpq", "_smtpd", "_smtpq")
INSIDE = """\
mount --make-rprivate /
mount --bind {0}/passwd /etc/passwd
mount --bind {0}/group /etc/group
mount -t tmpfs tmpfs /var/spool
mount -t tmpfs tmpfs /var/lib
mkdir -p /var/lib/opensmtpd/empty
"""
EXIM = """\
primary_hostname = {name}
exim_path = {program}
spool_directory = {directory}/spool
log_file_path = {directory}/spool/%slog
pid_file_path = {directory}/spool/pid
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
tls_advertise_hosts = *
tls_certificate = {certificate}
tls_privatekey = {directory}/{name}.key
tls_require_ciphers = {ciphers}
acl_smtp_rcpt = check
keep_environment =
begin acl
check:
  accept condition = {open}
  accept authenticated = *
  deny
begin routers
out:
  driver = manualroute
  condition = {hands_on}
  transport = out
  route_list = "* 127.0.0.1"
  self = send
away:
  driver = redirect
  data = :blackhole:
begin transports
out:
  driver = smtp
  port = {target}
  hosts_require_tls = *
  hosts_require_auth = *
  tls_require_ciphers = {ciphers}
  tls_verify_certificates = {directory}/ca.example.pem
  tls_verify_hosts = *
  tls_verify_cert_hostnames = :
begin retry
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and {{{{eq{{$auth2}}{{{user}}}}} {{eq{{$auth3}}{{{word}}}}}}}}}
  server_set_id = $auth2
  server_advertise_condition = ${{if def:tls_in_cipher}}
  client_send = ^{user}^{word}
"""
EXIM_CIPHERS = {"TLSv1.2": "NORMAL:-VERS-ALL:+VERS-TLS1.2", "TLSv1.3": "NORMAL:-VERS-ALL:+VERS-TLS1.3"}
OPENSMTPD = """\
pki {name} cert "{directory}/rsa/{name}.pem"
pki {name} key "{directory}/rsa/{name}.key"
table logins {{ "{user}" = "{stored}" }}
table secrets {{ us = "{user}:{word}" }}
listen on 127.0.0.1 port {port} tls pki {name} auth-optional <logins> hostname {name}
listen on 127.0.0.1 port {inner} tag inner
action "keep" relay host smtp://127.0.0.1:{sink}
action "out" relay host smtp+tls://us@127.0.0.1:{target} auth <secrets> tls no-verify
match tag inner from any for any action "out"
match from any for any action "keep"
"""
OPENSSL = """\
openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = limits
[limits]
MinProtocol = {0}
MaxProtocol = {0}
"""
POSTFIX = """\
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_tls_cert_file = {directory}/{name}.pem
smtpd_tls_key_file = {directory}/{name}.key
smtpd_tls_protocols = {version}
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {directory}/auth
smtpd_sasl_security_options = noanonymous
smtp_tls_CAfile = {directory}/ca.example.pem
smtp_tls_security_level = secure
smtp_tls_secure_cert_match = {name}
smtp_tls_mandatory_protocols = {version}
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = inline:{{ [127.0.0.1]:{target}={user}:{word} }}
smtp_sasl_security_options = noanonymous
smtpd_relay_restrictions = permit_sasl_authenticated, permit_mynetworks, reject
relayhost = [127.0.0.1]:{target}
"""
DOVECOT_TLS = """\
ssl = yes
ssl_cert = <{directory}/{name}.pem
ssl_key = <{directory}/{name}.key
ssl_min_protocol = TLSv1.2
"""
HAPROXY = """\
defaults
  mode tcp
  timeout client 60s
  timeout server 60s
  timeout connect 5s
listen mail
  bind 127.0.0.1:{port}
  server smtps 127.0.0.1:{target} send-proxy-v2
"""
SMTPS = """
  listen_socket {{ type = inet; address = "127.0.0.1"; port = 0; implicit_tls = true; }}
  tls {{ cert_file = {0}/mx.x.example.pem; key_file = {0}/mx.x.example.key; }}
  auth {{ password_file = {0}/passwords; }} {1}
"""


@dataclass(frozen=True)
class Place:
    """Where everything is: the directory, unpacked programs (None without any), and smtps."""

    directory: Path
    unpacked: Path | None
    smtps: SmtpsProcess
    smtpc: SmtpcProcess

    def facts(self, **more: object) -> dict[str, object]:
        return {"directory": self.directory, "name": NAME, "user": USER, "word": WORD, "target": self.smtps.port, **more}

    def program(self, path: str) -> Path | None:
        found = None if self.unpacked is None else self.unpacked / path
        return found if found is not None and found.exists() else None


@contextlib.contextmanager
def process(command: list[object], env: dict[str, str] | None = None) -> Iterator[None]:
    """Runs a program in the foreground with all its children."""
    made = subprocess.Popen(
        [str(one) for one in command],
        start_new_session=True,
        env={**os.environ, **(env or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(made.pid, signal.SIGTERM)
        made.wait(WAIT_S)


def apart(place: Place, command: str) -> list[object]:
    """Gives what runs a command with accounts, spool and state of its own."""
    return ["unshare", "-m", "sh", "-ec", INSIDE.format(place.directory) + command]


def write_accounts(directory: Path) -> None:
    ids = list(enumerate(ACCOUNTS, FIRST_ID))
    lines = {
        "passwd": [f"{name}:x:{one}:{one}::/:/bin/false\n" for one, name in ids],
        "group": [f"{name}:x:{one}:\n" for one, name in ids],
    }
    for file, more in lines.items():
        (directory / file).write_text((Path("/etc") / file).read_text() + "".join(more))


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


# -- the peers: each gives its port for smtpc and a function that sends a message to smtps


@contextlib.contextmanager
def exim(place: Place, version: str, certificate: str = "") -> Iterator[tuple[int, Callable[[], object]]]:
    port, program = free_port(), place.program("usr/sbin/exim4")
    facts = place.facts(
        port=port, program=program, ciphers=EXIM_CIPHERS[version], certificate=certificate or place.directory / f"{NAME}.pem"
    )
    confs = {}
    for kind, hands_on in (("in", "false"), ("out", "true")):
        confs[kind] = place.directory / f"exim-{kind}.conf"
        confs[kind].write_text(EXIM.format(hands_on=hands_on, open="true" if certificate else "false", **facts))
        confs[kind].chmod(0o644)
    (place.directory / "spool").mkdir(exist_ok=True)
    (place.directory / "spool").chmod(0o777)

    def send() -> object:
        command = f"exec {program} -C {confs['out']} -odf -i -f {USER} r@example.org"
        return subprocess.run(
            [str(one) for one in apart(place, command)], input=CONTENT, check=True, timeout=WAIT_S, capture_output=True
        )

    with process(apart(place, f"exec {program} -C {confs['in']} -bdf -q1h")):
        wait_until(lambda: listens(port), WAIT_S, "Exim")
        yield port, send


@contextlib.contextmanager
def opensmtpd(place: Place, version: str) -> Iterator[tuple[int, Callable[[], object]]]:
    port, inner, sink = free_port(), free_port(), Sink()
    conf, openssl = place.directory / "smtpd.conf", place.directory / "openssl.cnf"
    stored = subprocess.run(["openssl", "passwd", "-6", WORD], check=True, capture_output=True, text=True).stdout.strip()
    conf.write_text(OPENSMTPD.format(**place.facts(port=port, inner=inner, sink=sink.port, stored=stored)))
    openssl.write_text(OPENSSL.format(version))
    spool = "mkdir -m 711 /var/spool/smtpd; "
    try:
        with process(
            apart(place, f"{spool}exec {place.program('usr/sbin/smtpd')} -d -f {conf}"), {"OPENSSL_CONF": str(openssl)}
        ):
            wait_until(lambda: listens(port), WAIT_S, "OpenSMTPD")
            yield port, lambda: submit(inner)
    finally:
        sink.stop()


@contextlib.contextmanager
def postfix(place: Place, version: str) -> Iterator[tuple[int, Callable[[], object]]]:
    directory = place.directory / f"postfix-{version}"
    relay = PostfixRelay(directory, 0, 1, POSTFIX.format(**place.facts(version=version)))
    try:
        inner = free_port()  # what goes in by this port is kept by the sink, what goes in by the other one goes to smtps
        with (directory / "etc/master.cf").open("a") as master:
            master.write("keep unix - - n - - smtp -o smtp_tls_security_level=none -o smtp_sasl_auth_enable=no\n")
            master.write(
                f"127.0.0.1:{inner} inet n - n - - smtpd -o content_filter=keep:[127.0.0.1]:{relay.sink.port} "
                "-o mynetworks=192.0.2.1/32\n"
            )
        subprocess.run(["postfix", "-c", str(directory / "etc"), "reload"], check=True, capture_output=True, timeout=WAIT_S)
        wait_until(lambda: listens(inner), WAIT_S, "Postfix")
        yield inner, lambda: submit(relay.port)
    finally:
        relay.stop()


def submit(port: int) -> object:
    with smtplib.SMTP("127.0.0.1", port, timeout=WAIT_S) as smtp:
        return smtp.sendmail(USER, ["r@example.org"], CONTENT)


# -- what is tried


def takes_from_smtpc(place: Place, port: int, version: str) -> str:
    """Tells how smtpc gets rid of a message."""
    log = place.smtpc.queue / "smtpc.log"
    begin = log.stat().st_size if log.exists() else 0
    said = delivered(place, port, VERIFIED.demands())
    text = log.read_bytes()[begin:].decode()
    found = [text[:300] for text in re.findall(r"func=smtpc\.(?:tls|auth\w*), .*", text)]
    well = said.startswith("250") and f"tls={version} " in text and "verify=ok" in text and "func=smtpc.auth, " in text
    return "ok" if well else f"{said}; {found}"


def delivered(place: Place, port: int, demands: str, da: DeliveryAgent = DeliveryAgent.ESMTP, host: str = NAME) -> str:
    server = ServerAddr(addr="127.0.0.1", port=port, host=host, tls=demands, tls_source="peers")
    result = place.smtpc.deliver(place.smtpc.job(port, [USER], server=(server,), da=int(da), mail=USER))
    return str(result.rcpts[0].reply if result.rcpts else result.session)


def hands_to_smtps(place: Place, send: Callable[[], object], version: str) -> str:
    """Tells how a message of the peer comes to smtps."""
    smtps = place.smtps
    before = len([line for line in smtps.log if "func=smtps.message," in line])
    with smtps.changed:
        seen = len(smtps.log)
    try:
        send()
        smtps.wait_log(r"func=smtps\.message,", before + 1)
    except (AssertionError, subprocess.SubprocessError, smtplib.SMTPException) as error:
        return f"{str(error)[:100]}: {[line for line in smtps.log[seen:] if 'smtps.' in line][:3]}"
    new = "\n".join(smtps.log[seen:])
    well = re.search(rf"func=smtps\.auth, .*tls={version} .*auth={USER}, ", new)
    return "ok" if well else new[:300]


def can_begin_tls(port: int) -> bool:
    """Tells whether anybody can make a handshake: OpenSMTPD 6.8 fails in all of them if it is built with OpenSSL 3."""
    with smtplib.SMTP("127.0.0.1", port, timeout=WAIT_S) as smtp:
        try:
            smtp.starttls(context=ssl._create_unverified_context())
        except (OSError, smtplib.SMTPException):
            return False
        return True


def broken_starttls(place: Place, name: str, port: int) -> Iterator[tuple[str, str]]:
    """What offers STARTTLS and cannot do it gets mail in clear, unless TLS is demanded."""
    for what, policy, code in (("may", TlsPolicy(), "250"), ("encrypt", TlsPolicy(TlsLevel.ENCRYPT), "451")):
        yield f"{name}, STARTTLS is broken, {what}", expect(delivered(place, port, policy.demands(), host="old.example"), code)


def expect(said: str, code: str) -> str:
    return "ok" if said.startswith(code) else said


@contextlib.contextmanager
def dovecot(place: Place) -> Iterator[int]:
    """Runs Dovecot: LMTP with STARTTLS, and the users of Postfix."""
    port, directory = free_port(), place.directory
    (directory / "users").write_text(f"{USER}:{WORD}\n")
    (directory / "mail").mkdir()
    shutil.chown(directory / "mail", "mail", "mail")
    (directory / "dovecot.conf").write_text(dovecot_conf(directory, DOVECOT_TLS.format(**place.facts()), lmtp=str(port)))
    with process(["dovecot", "-F", "-c", directory / "dovecot.conf"]):
        wait_until(lambda: (directory / "auth").exists() and listens(port), WAIT_S, "Dovecot")
        yield port


def by_haproxy(place: Place) -> str:
    """A client of implicit TLS comes through HAProxy, which says who it is."""
    port = free_port()
    conf = place.directory / "haproxy.cfg"
    conf.write_text(HAPROXY.format(port=port, target=place.smtps.port_of(1)))
    context = ssl.create_default_context(cafile=place.directory / "ca.example.pem")
    context.check_hostname = False
    with process(["haproxy", "-db", "-f", conf]):
        wait_until(lambda: listens(port), WAIT_S, "HAProxy")
        with smtplib.SMTP_SSL("127.0.0.1", port, timeout=WAIT_S, context=context, source_address=("127.0.0.7", 0)) as smtp:
            smtp.login(USER, WORD)
            smtp.sendmail(USER, ["r@example.org"], CONTENT)
    return "ok" if any("func=smtps.auth, " in line and "client=127.0.0.7" in line for line in place.smtps.log) else "no client"


# -- all of it

SERVERS = {"Postfix": postfix, "Exim": exim, "OpenSMTPD": opensmtpd}
PROGRAMS = {"Exim": "usr/sbin/exim4", "OpenSMTPD": "usr/sbin/smtpd"}


def rows(place: Place, lmtp: int) -> Iterator[tuple[str, str]]:
    for name, start in SERVERS.items():
        if name in PROGRAMS and place.program(PROGRAMS[name]) is None:
            print(f"{name}: not there, left out")
            continue
        for version in VERSIONS:
            with start(place, version) as (port, send):
                if can_begin_tls(port):
                    yield f"{name} as server of smtpc, {version}, verified, AUTH", takes_from_smtpc(place, port, version)
                else:
                    yield from broken_starttls(place, f"{name} {version}", port)
                verified = "" if name == "OpenSMTPD" else ", verified"
                yield f"{name} as client of smtps, {version}{verified}, AUTH", hands_to_smtps(place, send, version)
    for what, policy in (("in clear", TlsPolicy(TlsLevel.NONE)), ("verified", VERIFIED)):
        yield (
            f"Dovecot LMTP, {what}",
            expect(delivered(place, lmtp, policy.demands(), DeliveryAgent.LMTP, "store.example"), "250"),
        )
    if place.program(PROGRAMS["Exim"]) is not None:
        with exim(place, "TLSv1.3", "/nonexistent") as (port, _):
            yield from broken_starttls(place, "Exim without certificate", port)


def play(directory: Path, unpacked: Path | None) -> int:
    stored = make_stored("SCRAM-SHA-256", WORD, b"salt" * 4, 4096)
    (directory / "passwords").write_text(f"{USER}:{stored}\n")
    (directory / "logins").write_text(f"{NAME} {USER} password {WORD}\n")
    (directory / "logins").chmod(0o600)
    write_accounts(directory)
    make_certificate(directory, "ca.example")
    sign_certificate(directory, NAME, "ca.example")
    (directory / "rsa").mkdir()  # OpenSMTPD 6.8 knows no other keys
    for name in ("ca.example.pem", "ca.example.key"):
        shutil.copy(directory / name, directory / "rsa")
    sign_certificate(directory / "rsa", NAME, "ca.example", "rsa")
    (directory / f"{NAME}.key").chmod(0o644)  # of a test; Exim reads it without privileges
    out = f'log {{ file = "smtpc.log"; }} log_level = 9; tls {{ CAcert_file = {directory}/ca.example.pem; }}'
    out += f' auth {{ file = "{directory}/logins"; }}'
    surprises = 0
    with (
        SmtpsProcess(directory / "q", SMTPS.format(directory, "")) as smtps,
        running(directory, out, step_s=WAIT_S) as smtpc,
    ):
        smtpc.store(CONTENT)
        place = Place(directory, unpacked, smtps, smtpc)
        with dovecot(place) as lmtp:
            for what, result in rows(place, lmtp):
                surprises += result != "ok"
                print(f"{what:55} {result}", flush=True)
        with SmtpsProcess(directory / "p", SMTPS.format(directory, "proxy_from = { 127.0.0.1 };")) as behind:
            result = by_haproxy(Place(directory, unpacked, behind, smtpc))
            surprises += result != "ok"
            print(f"{'HAProxy, PROXY v2 before implicit TLS':55} {result}")
    return surprises


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--unpacked", type=Path, metavar="DIR", help="where Exim and OpenSMTPD were unpacked")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="m1g-") as text:
        directory = Path(text)
        directory.chmod(0o755)  # the peers' processes have accounts of their own
        return play(directory, args.unpacked and args.unpacked.resolve())


if __name__ == "__main__":
    sys.exit(main())
