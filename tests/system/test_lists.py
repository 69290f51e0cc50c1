"""A large alias file with lists that name each other, and a very long list: everybody else is served meanwhile."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from meta1g.rcb.qmgr_smar import MEMBERS_PER_PART, Members, Resolve, Route
from meta1g.rcb.smtps_smar import CheckRcpt
from tests.fakes.rcb_peer import RcbPeer
from tests.unit.smar.test_process import SmarProcess

pytestmark = pytest.mark.system

ENTRIES = 100_000
MEMBERS = 60_000
DEADLINE_S = 120
#: No look-up may take so long; the limit of a quiet machine is far lower, but tests run beside others.
PATIENCE_S = 5.0
SETTINGS = 'mailertable { file = "mailertable.db"; } aliases { file = "aliases"; type = text; flags = { localpart }; }'


def alias_file(end: str) -> str:
    """Levels that lead to the next one in two ways, each with a way back, and one list of MEMBERS members."""
    lines = [f"all: t0, all, joe@{end}.example"]
    levels = (ENTRIES - 3) // 3
    for n in range(levels):
        lines += (f"t{n}: a{n} b{n}", f"a{n}: t{n + 1} all m{n}@{end}.example", f"b{n}: t{n + 1} t{n} m{n}@{end}.example")
    lines.append(f"t{levels}: all, end@{end}.example")
    lines.append("big: " + ",\n  ".join(f"m{n}@{end}.example" for n in range(MEMBERS)))
    assert len(lines) <= ENTRIES
    return "\n".join(lines) + "\n"


@pytest.fixture
def smar(tmp_path) -> Iterator[SmarProcess]:
    process = SmarProcess(tmp_path)
    process.map("mailertable.db", {"local.example": "lmtp:", ".": "[192.0.2.25]"})
    (process.etc / "aliases").write_text(alias_file("far"))
    process.start(SETTINGS)
    yield process
    if process.process is not None:
        assert process.stop() == 0


class Others:
    """Recipients of other mail, checked and resolved without pause.  Owner: the test."""

    def __init__(self, smar: SmarProcess) -> None:
        self.times_s: list[float] = []
        self._smtps, self._qmgr = smar.smtps(), smar.qmgr()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._failure: BaseException | None = None

    def _ask(self) -> None:
        try:
            for number in itertools.count():
                if self._end.is_set():
                    return
                start = time.monotonic()
                rcpt = f"u{number}@local.example"
                check = CheckRcpt(ta_id="S0", rcpt_idx=0, client_addr="127.0.0.1", mail="", rcpt=rcpt)
                assert self._smtps.request(check, number + 1).reply.code == 250
                assert isinstance(self._qmgr.request(Resolve(ta_id="S0", rcpt_idx=0, rcpt=rcpt), number + 1), Route)
                self.times_s.append(time.monotonic() - start)
        except BaseException as error:  # noqa: BLE001  told to the test
            self._failure = error

    def __enter__(self) -> "Others":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join(DEADLINE_S)
        self._smtps.close()
        self._qmgr.close()
        assert self._failure is None
        assert self.times_s
        assert max(self.times_s) < PATIENCE_S


def expand(peer: RcbPeer, rcpt: str) -> list[str]:
    """Asks for all parts of a list."""
    members: list[str] = []
    part = Members(members=(), more=True)
    while part.more:
        question = Resolve(ta_id="S0", rcpt_idx=0, rcpt=rcpt, offset=len(members), expansion=part.expansion)
        part = peer.request(question, len(members) + 1)
        assert isinstance(part, Members), part
        assert part.offset == len(members)
        assert len(part.members) <= MEMBERS_PER_PART
        members += part.members
    return members


def connect(smar: SmarProcess) -> RcbPeer:
    peer = smar.qmgr()
    peer.sock.settimeout(DEADLINE_S)
    return peer


def wait_until(what: Callable[[], bool]) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < end_s


def test_lists_that_name_each_other_and_long_ones_hold_up_nobody(smar):
    peer = connect(smar)
    with Others(smar) as others:
        found = expand(peer, "all@local.example")
        during = len(others.times_s)
        big = expand(peer, "big@local.example")
    assert len(found) == len(set(found)) == (ENTRIES - 3) // 3 + 3
    assert {"joe@far.example", "end@far.example", "all@local.example"} <= set(found)
    assert big == [f"m{n}@far.example" for n in range(MEMBERS)]
    assert during > 10
    peer.close()


def test_a_large_alias_file_is_read_again_while_others_are_served(smar):
    peer = connect(smar)
    assert expand(peer, "big@local.example")[-1] == f"m{MEMBERS - 1}@far.example"
    with Others(smar) as others:
        fresh = smar.etc / "aliases.new"
        fresh.write_text(alias_file("new"))
        before = len(others.times_s)
        fresh.replace(smar.etc / "aliases")
        wait_until(lambda: expand(peer, "big@local.example")[0] == "m0@new.example")
        assert len(others.times_s) > before + 10
        fresh.write_bytes(b"big: caf\xe9@far.example\n")
        fresh.replace(smar.etc / "aliases")
        wait_until(lambda: "no UTF-8" in smar.log.read_text())
        assert expand(peer, "big@local.example")[0] == "m0@new.example"
    peer.close()
