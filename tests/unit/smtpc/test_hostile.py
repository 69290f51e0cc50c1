"""Servers that flood, trickle, lie or never come to an end cost their own session: bounded time and memory, one result each."""

import random
import socket
from contextlib import ExitStack
from pathlib import Path
from zlib import crc32

import pytest

from bench.fairness_out import hostile_servers
from contrib.loadtest import hostile
from meta1g.rcb.common import DeliveryAgent
from meta1g.rcb.smtpc_qmgr import DeliveryResult
from tests.fakes.smtp_server import ScriptedServer
from tests.unit.smtpc.conftest import TA, SmtpcProcess, running

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("smtpc-hostile")]

GOOD = "S00000000000000BB00"
SMALL = b"Received: here\r\nSubject: x\r\n\r\nhello\r\n"
LARGE = b"Received: here\r\nSubject: x\r\n\r\n" + b"0123456789abcdef" * 64 * 8 * 1024
ONE_HEADER = b"Received: here\r\nX: " + b"y" * (24 << 20) + b"\r\n"
MEMORY_MAX_KIB = 48 << 10


def memory_kib(smtpc: SmtpcProcess, what: str = "VmHWM") -> int:
    """Gives the resident memory of the process: most of its life, or VmRSS for now."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{smtpc.process.pid}/status").read_text().splitlines())
    return int(lines[what].split()[0])


@pytest.fixture(scope="module")
def smtpc(tmp_path_factory):
    """One process for all tests here; its time-outs are short."""
    with running(tmp_path_factory.mktemp("smtpc")) as made:
        yield made


def forget_most(smtpc: SmtpcProcess) -> int:
    """Lets the most memory be counted from now on; gives what there is now."""
    smtpc.wait_idle()
    Path(f"/proc/{smtpc.process.pid}/clear_refs").write_text("5")
    return memory_kib(smtpc, "VmRSS")


def deliver_beside(smtpc: SmtpcProcess, good: ScriptedServer, waiting: dict[int, DeliveryResult | None]) -> int:
    """Delivers one good message after the other until all others have their result; gives how many were."""
    count = 0
    while None in waiting.values():
        number = next(smtpc.numbers)
        smtpc.qmgr.send(smtpc.job(good.port, cdb_id=GOOD, file_bytes=len(SMALL), checksum=crc32(SMALL)), number)
        while True:
            answered, result = smtpc.qmgr.expect(DeliveryResult)
            assert isinstance(result, DeliveryResult)
            if answered == number:
                assert [one.reply.code for one in result.rcpts] == [250]
                break
            assert waiting[answered] is None, "two results for one delivery"
            waiting[answered] = result
        count += 1
    return count


@pytest.mark.parametrize("kind", list(hostile.KINDS))
def test_a_hostile_server_costs_its_session_only(smtpc, kind):
    smtpc.store(LARGE)
    smtpc.store(SMALL, GOOD)
    with ScriptedServer() as good, hostile_servers([kind]) as ports:
        smtpc.deliver(smtpc.job(good.port, cdb_id=GOOD))
        before = forget_most(smtpc)
        waiting: dict[int, DeliveryResult | None] = {}
        for number in range(1_000_001, 1_000_006):
            waiting[number] = None
            smtpc.qmgr.send(smtpc.job(ports[kind], file_bytes=len(LARGE), checksum=crc32(LARGE)), number)
        assert deliver_beside(smtpc, good, waiting) > 0
        assert memory_kib(smtpc) - before < MEMORY_MAX_KIB
    for result in waiting.values():
        assert (result.session.code, result.session_open, result.damage) == (451, False, "")


def test_a_bounced_message_that_is_one_header_takes_neither_the_time_nor_the_memory_of_others(smtpc):
    smtpc.store(ONE_HEADER)
    smtpc.store(SMALL, GOOD)
    facts = {"file_bytes": len(ONE_HEADER), "checksum": crc32(ONE_HEADER), "mail": ""}
    report = {"dsn_head": b"Subject: bounce\r\n"}
    with ScriptedServer() as good, ScriptedServer({"EHLO": "250 fake\r\n"}, on_connection=count_bytes) as sink:
        smtpc.deliver(smtpc.job(good.port, cdb_id=GOOD))
        before = forget_most(smtpc)
        waiting: dict[int, DeliveryResult | None] = {1_000_001: None, 1_000_002: None}
        for number in waiting:
            smtpc.qmgr.send(smtpc.job(sink.port, **facts, **report, body="8BITMIME"), number)
        assert deliver_beside(smtpc, good, waiting) > 1
        assert memory_kib(smtpc) - before < MEMORY_MAX_KIB
    sizes = [int(one.reply.text.split()[0]) for result in waiting.values() for one in result.rcpts]
    assert len(sizes) == 2
    assert max(sizes) < 100_000


def count_bytes(conn: socket.socket) -> None:
    """Takes messages without keeping them; the answer to the dot tells the size."""
    conn.sendall(b"220 sink\r\n")
    last, size, content = b"", 0, False
    while data := conn.recv(1 << 18):
        if not content:
            last += data
            while b"\r\n" in last and not content:
                line, _, last = last.partition(b"\r\n")
                content = line == b"DATA"
                conn.sendall(b"354 go\r\n" if content else b"250 ok\r\n")
            size, last = 0, b"\r\n" if content else last
            continue
        size += len(data)
        last = (last + data)[-5:]
        if last == b"\r\n.\r\n":
            conn.sendall(f"250 {size - 3} bytes\r\n".encode())
            content, last = False, b""


LIES = [
    b"250 ok\r\n", b"220 x\r\n", b"354 go\r\n", b"421 bye\r\n", b"450 4.2.1 later\r\n", b"550 5.1.1 no\r\n",
    b"250-a\r\n250 PIPELINING\r\n", b"250-a\r\n", b"250 \r\n", b"250\r\n", b"999 x\r\n", b"\r\n", b"garbage\r\n", b"25",
    b"250-PIPELINING\r\n251 x\r\n", b"\0\r\n", b"250 ok\r\n250 ok\r\n", b"354 go\r\n354 go\r\n",
    b"250 ok\r\n354 go\r\n250 ok\r\n", b"250 2.0.0 \xff\xfe\r\n",
    b"250-x\r\n250-SIZE 99999999999999999999999999999\r\n250 PIPELINING\r\n",
    b"250-x\r\n250 SIZE 1\r\n", b"300 x\r\n", b"599 x\r\n",
]  # fmt: skip


class Liar:
    """Answers whatever comes with a random choice of replies, the first of them often in order."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def serve(self, conn: socket.socket) -> None:
        honest = self.chance.randrange(8)
        conn.settimeout(5)
        for step in range(40):
            right = (b"220 x\r\n", b"250-x\r\n250 PIPELINING\r\n", b"250 ok\r\n" * 3 + b"354 go\r\n", b"250 ok\r\n" * 2)
            conn.sendall(right[step] if step < honest and step < len(right) else self.chance.choice(LIES))
            if not conn.recv(65536):
                return


@pytest.mark.parametrize("seed", range(4))
def test_whatever_servers_answer_each_delivery_gets_one_result(smtpc, seed):
    smtpc.store(SMALL)
    smtpc.store(SMALL, GOOD)
    agents = [int(DeliveryAgent.ESMTP), int(DeliveryAgent.LMTP)]
    chance = random.Random(seed)
    with ExitStack() as stack:
        good = stack.enter_context(ScriptedServer())
        waiting: dict[int, DeliveryResult | None] = {}
        for number in range(1_000_001, 1_000_041):
            liar = stack.enter_context(ScriptedServer(on_connection=Liar(seed * 1000 + number).serve))
            facts = {"da": chance.choice(agents), "keep_open": chance.random() < 0.5}
            waiting[number] = None
            smtpc.qmgr.send(smtpc.job(liar.port, ["a@x", "b@x"], cdb_id=TA, **facts), number)
        deliver_beside(smtpc, good, waiting)
    assert smtpc.process.poll() is None


def test_the_replies_of_a_server_never_make_a_result_that_qmgr_does_not_take(smtpc):
    smtpc.store(SMALL)
    rcpts = [f"r{number}@x.example" for number in range(9000)]
    text = "550 5.1.1 " + "x" * 1500 + "\r\n"
    with ScriptedServer({"RCPT": text, "DATA": "554 no\r\n"}) as server:
        result = smtpc.deliver(smtpc.job(server.port, rcpts))
    assert [one.reply.code for one in result.rcpts] == [550] * len(rcpts)
