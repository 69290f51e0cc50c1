"""Signed zones, served by nsd and validated by unbound (Debian's): no fakes, but in a directory and on ports of their own.

with SignedZones(directory, {"good.test": Zone(RECORDS), "old.test": Zone(RECORDS, expired=True)}) as zones:
    ... a resolver that asks 127.0.0.1 port zones.port ...
"""

import re
import shutil
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import dns.exception
import dns.message
import dns.query

from contrib.lib.gateway import free_port, wait_until

HEAD = "$ORIGIN {name}.\n$TTL 300\n@ IN SOA ns hostmaster 1 3600 600 86400 60\n@ IN NS ns\nns IN A 127.0.0.1\n"
NSD = """\
server:
  ip-address: 127.0.0.1@{port}
  username: ""
  chroot: ""
  zonesdir: "{directory}"
  database: ""
  pidfile: "{directory}/nsd.pid"
  zonelistfile: "{directory}/zone.list"
  xfrdfile: "{directory}/xfrd.state"
  logfile: "{directory}/nsd.log"
remote-control:
  control-enable: no
"""
UNBOUND = """\
server:
  interface: 127.0.0.1@{port}
  username: ""
  chroot: ""
  directory: "{directory}"
  pidfile: "{directory}/unbound.pid"
  logfile: "{directory}/unbound.log"
  use-syslog: no
  do-daemonize: no
  do-ip6: no
  do-not-query-localhost: no
  module-config: "validator iterator"
  num-threads: 1
  local-zone: "test." nodefault
  {anchors}
remote-control:
  control-enable: no
"""
WAIT_S = 20


@dataclass(frozen=True)
class Zone:
    """A zone: its records, and how it is signed: rightly, until yesterday, with a signature of TLSA that is broken, or not."""

    records: str
    signed: bool = True
    expired: bool = False
    broken: bool = False


class SignedZones:
    """The two servers.  Owner: the test."""

    def __init__(self, directory: Path, zones: dict[str, Zone]) -> None:
        self._directory = directory
        self._zones = zones
        self._stack = ExitStack()
        self.port = free_port()

    def __enter__(self) -> "SignedZones":
        inner = free_port()
        directory = self._directory
        directory.mkdir(exist_ok=True)
        anchors, stubs, served = [], "", NSD.format(port=inner, directory=directory)
        for name, zone in self._zones.items():
            (directory / name).write_text(HEAD.format(name=name) + zone.records)
            if zone.signed:
                anchors.append(f'trust-anchor: "{self._sign(name, zone)}"')
            else:
                anchors.append(f'domain-insecure: "{name}"')
            served += f"zone:\n  name: {name}\n  zonefile: {name}{'.signed' if zone.signed else ''}\n"
            stubs += f"stub-zone:\n  name: {name}\n  stub-addr: 127.0.0.1@{inner}\n  stub-prime: no\n"
        (directory / "nsd.conf").write_text(served)
        settings = UNBOUND.format(port=self.port, directory=directory, anchors="\n  ".join(anchors))
        (directory / "unbound.conf").write_text(settings + stubs)
        self._start("nsd", "-d", "-c", "nsd.conf")
        self._start("unbound", "-d", "-p", "-c", "unbound.conf")
        wait_until(lambda: self._answers(self.port), WAIT_S, "an answer of unbound")
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _sign(self, name: str, zone: Zone) -> str:
        """Signs a zone; gives the key that its signatures are checked with."""
        made = self._run("ldns-keygen", "-a", "ECDSAP256SHA256", "-k", name)
        now = int(time.time())
        until = now - 86400 if zone.expired else now + 86400
        times = ["-i", str(now - 10 * 86400), "-e", str(until)]
        self._run("ldns-signzone", "-o", name, *times, "-f", f"{name}.signed", name, made.strip())
        if zone.broken:
            path = self._directory / f"{name}.signed"
            path.write_text(re.sub(r"(RRSIG\s+TLSA .* )(\S)(\S+)$", _other_letter, path.read_text(), flags=re.MULTILINE))
        (key,) = [line for line in (self._directory / f"{made.strip()}.key").read_text().splitlines() if "DNSKEY" in line]
        return key.partition(";")[0].strip()

    def _run(self, program: str, *arguments: str) -> str:
        path = shutil.which(program)
        assert path is not None, f"{program} is missing: apt-get install ldnsutils"
        done = subprocess.run([path, *arguments], cwd=self._directory, check=True, capture_output=True, text=True)
        return done.stdout

    def _start(self, program: str, *arguments: str) -> None:
        path = shutil.which(program, path="/usr/sbin:/usr/local/sbin:/usr/bin")
        assert path is not None, f"{program} is missing: apt-get install {program}"
        errors = self._stack.enter_context((self._directory / f"{program}.err").open("wb"))
        process = subprocess.Popen([path, *arguments], cwd=self._directory, stderr=errors)
        self._stack.callback(lambda: (process.terminate(), process.wait(WAIT_S)))

    def _answers(self, port: int) -> bool:
        name = next(iter(self._zones))
        try:
            answer = dns.query.udp(dns.message.make_query(name, "NS"), "127.0.0.1", 1, port=port)
        except (OSError, dns.exception.DNSException):
            return False
        return bool(answer.answer)


def _other_letter(match: "re.Match[str]") -> str:
    return f"{match[1]}{'A' if match[2] != 'A' else 'B'}{match[3]}"
