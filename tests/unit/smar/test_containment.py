"""The real process with faults put into it: what each of them costs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from meta1g.base.sysexits import EX_SOFTWARE
from meta1g.db.mapfile import MapFile
from meta1g.rcb.qmgr_smar import QmgrHelloA, Resolve, Route, SmarContained, SmarHelloQ
from meta1g.rcb.smtps_smar import CheckRcpt
from tests.fakes.rcb_peer import RcbPeer

from .test_process import DEADLINE_S, SmarProcess, connect

__all__ = ["connect"]

#: Runs smar with a fault: look-ups of `bug@` break an invariant, those of `odd@` raise something nobody expects.
FAULTY = """
import sys
from meta1g.base.errors import BugError, Module
from meta1g.smar import main, recipient

real = recipient.Recipients.resolve

def resolve(self, msg, on_answer):
    if msg.rcpt.startswith("bug@"):
        raise BugError(Module.SMAR, "an invariant is broken")
    if msg.rcpt.startswith("odd@"):
        raise ArithmeticError("of the test")
    return real(self, msg, on_answer)

recipient.Recipients.resolve = resolve
raise SystemExit(main.main(sys.argv[1:]))
"""


class FaultySmar(SmarProcess):
    """A smar with faults.  Owner: the test."""

    program = ("-c", FAULTY)

    def start(self, smar: str, glob: str = "") -> None:
        self.configure(smar, glob)
        ready, told = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, *self.program, "-f", str(self.conf)],
            env={**os.environ, "META1G_READY_FD": str(told)},
            pass_fds=[told],
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(told)
        byte = os.read(ready, 1)
        os.close(ready)
        assert byte == b"1", self.process.communicate(timeout=DEADLINE_S)[1]


@pytest.fixture
def smar(tmp_path) -> Iterator[FaultySmar]:
    process = FaultySmar(tmp_path)
    yield process
    if process.process is not None:
        assert process.stop() == 0


def resolve(rcpt: str) -> Resolve:
    return Resolve(ta_id="S0", rcpt_idx=0, rcpt=rcpt)


def check(rcpt: str) -> CheckRcpt:
    return CheckRcpt(ta_id="S0", rcpt_idx=0, client_addr="127.0.0.1", mail="", rcpt=rcpt)


GATEWAY = 'mailertable { file = "mailertable.db"; } relay_from = { 127.0.0.1 };'


def start(smar: FaultySmar) -> None:
    smar.map("mailertable.db", {".": "[192.0.2.1]"})
    smar.start(GATEWAY)


@pytest.mark.parametrize("blocking", [False, True])
def test_a_broken_invariant_ends_the_process_with_a_code_that_mcp_restarts(smar, connect, blocking):
    if blocking:
        smar.start('map m { type = socket; path = "none"; } mailertable { name = "m"; }')
    else:
        start(smar)
    connect("qmgr").send(resolve("bug@far.example"), 1)
    process, smar.process = smar.process, None
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == EX_SOFTWARE
    assert "an invariant is broken" in smar.log.read_text()


def test_an_unexpected_error_costs_its_look_up_and_qmgr_hears_of_it(smar, connect):
    start(smar)
    qmgr, smtps = connect("qmgr"), connect("smtps")
    assert qmgr.request(QmgrHelloA(pid=1)) == SmarHelloQ(by_domain=True)
    qmgr.send(resolve("odd@far.example"), 1)
    answers = {type(msg): msg for _, msg in (qmgr.receive(), qmgr.receive())}
    told = answers.pop(SmarContained)
    assert (told.count, "ArithmeticError" in told.last) == (1, True)
    (answer,) = answers.values()
    assert answer.reply.code == 451
    assert isinstance(qmgr.request(resolve("u@far.example"), 2), Route)
    assert smtps.request(check("u@far.example")).reply.code == 250
    late = connect("qmgr")
    late.send(QmgrHelloA(pid=2), 1)
    assert late.expect(SmarContained)[1].count == 1


def test_a_log_that_cannot_be_opened_again_costs_nothing_but_itself(smar, connect):
    start(smar)
    smar.log.rename(smar.log.with_suffix(".old"))
    smar.log.mkdir()
    smar.process.send_signal(signal.SIGUSR1)
    for _ in range(20):
        assert connect("smtps").request(check("u@far.example")).reply.code == 250
    assert smar.stop() == 0


def wait_for_code(peer: RcbPeer, code: int) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while peer.request(check("u@local.example")).reply.code != code:
        assert time.monotonic() < end_s, f"{code} did not come"


def test_a_map_file_that_is_damaged_at_run_time_is_a_temporary_failure_until_it_is_mended(smar, connect):
    entries = {f"u{number}@local.example": "yes" for number in range(2000)} | {"u@local.example": "yes"}
    smar.map("users.db", entries)
    smar.map("mailertable.db", {"local.example": "lmtp:", ".": "[192.0.2.1]"})
    smar.start(f'{GATEWAY} local_user_map {{ file = "users.db"; }}')
    smtps = connect("smtps")
    assert smtps.request(check("u@local.example")).reply.code == 250
    path = smar.etc / "users.db"
    data = path.read_bytes()
    path.write_bytes(data[:4096] + bytes(len(data) - 4096))
    wait_for_code(smtps, 451)
    assert smtps.request(check("u@far.example")).reply.code == 250
    text = smar.log.read_text()
    assert f"path={path}" in text
    assert "map=local_user_map" in text
    path.unlink()
    assert smtps.request(check("u@local.example")).reply.code == 451
    MapFile.build(path, [(key.encode(), value.encode()) for key, value in entries.items()])
    wait_for_code(smtps, 250)


def test_the_check_tells_all_that_is_wrong_with_maps(smar):
    (smar.etc / "rules").write_text("/(a)\\1/ x\n")
    (smar.etc / "nets").write_text("192.0.2.1/24 x\n")
    (smar.etc / "text").write_bytes(b"caf\xe9 x\n")
    smar.configure(
        'map r { type = regex; file = "rules"; } map n { type = cidr; file = "nets"; } map t { type = text; file = "text"; }'
        'mailertable { file = "none.db"; } aliases { file = "gone.db"; }'
    )
    command = [sys.executable, "-m", "meta1g.smar.main", "--check", "-f", str(smar.conf)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert result.returncode == 78
    for text in (
        "rules:1: wrong expression",
        "nets:1:",
        "byte 0xe9 is no UTF-8",
        "none.db: map file is missing",
        "gone.db: map file",
    ):
        assert text in result.stderr, text
    assert result.stderr.count("none.db") == 1


def test_the_check_warns_of_passwords_that_everybody_can_read(smar):
    path = smar.etc / "passwords"
    path.write_text("door {EXTERNAL}\n")
    smar.configure(
        "map file { type = text; file = passwords; } map both { type = sequence; maps = { file }; }"
        "password_map { name = both; }"
    )
    command = [sys.executable, "-m", "meta1g.smar.main", "--check", "-f", str(smar.conf)]
    for mode, warned in ((0o644, True), (0o640, False)):
        path.chmod(mode)
        result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert (f"chmod o-rwx {path}" in result.stderr) == warned
