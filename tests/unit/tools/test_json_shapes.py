"""Everything that qmgrctl, mailq and metaqueue print as JSON has the shape that docs/json.md says, all of it."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout

import pytest

from meta1g.base.errors import Module, TempError
from meta1g.base.reply import Reply
from meta1g.qmgr.control.changing import VERBS
from meta1g.qmgr.defer import Change
from meta1g.qmgr.orders import Fate
from meta1g.rcb.common import DeliveryAgent, ServerAddr
from meta1g.rcb.envelope import HELD_UNTIL, Attempt, DsnRcpt, RcptFlags, RcptRecord, TaRecord
from meta1g.rcb.jsonform import from_object
from meta1g.rcb.qmgr_smar import Members, Route
from meta1g.rcb.smtps_qmgr import FilterFaults, FilterReport, NewSession, VerifyAddress
from meta1g.tools import mailq, metaqueue, qmgrctl
from tests.fakes.envelopes import rcpt, ta
from tests.fakes.qmgr_peers import Smar, new_id
from tests.fakes.qmgr_system import QmgrSystem, wait_until
from tests.jsonshapes import Shapes

SHAPES = Shapes.of_page()
#: What the tests of other files compare: tests/system/test_reload.py, tests/unit/tools/metalog/test_metalog.py.
ELSEWHERE = {"component", "story", "story of a recipient"}


class Queue:
    """A queue with a recipient of each kind, and the programs.

    Attributes:
        ids: of the messages: that is held, that is deferred, that is being delivered.
    """

    def __init__(self, queue) -> None:
        self.qmgr = QmgrSystem(queue).start()
        self._conf = queue / "meta1.conf"
        self._conf.write_text(f'queue_directory = "{queue}";\n')
        smar: Smar = self.qmgr.smar()
        smar.answers["lmtp.example"] = Route(da=int(DeliveryAgent.LMTP), servers=(ServerAddr(addr="/run/lmtp", port=0),))
        smar.answers["list@to.example"] = Members(members=("a@to.example",))
        self.agent = self.qmgr.agent(script=self._script)
        self.smtps = self.qmgr.smtps()

    def _script(self, job) -> None:
        if job.msg.probe:
            job.done(rcpts=dict.fromkeys(job.rcpts, 250))
        elif job.rcpts[0].startswith("held"):
            job.damaged("it is shorter")
        elif not job.rcpts[0].startswith("active"):
            job.done(450, text="later")

    def fill(self) -> None:
        qmgr, smtps = self.qmgr, self.smtps
        full = {"envid": "me", "ret": "HDRS", "by": qmgr.clock.now() + 7200, "by_mode": "N"}
        self.ids = [
            smtps.mail("held@to.example"),
            smtps.mail("later@to.example NOTIFY=NEVER", content=b"Subject: x\r\n\r\nx\r\n", **full),
        ]
        qmgr.wait_deferred(2)
        self.ids.append(smtps.mail("active@to.example", "active@lmtp.example"))
        self.agent.wait_jobs(4)

    def run(self, kind: str, *words: str, program=qmgrctl, codes=(0,)):
        """Runs a program and compares what it prints."""
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()):
            assert program.main(["-f", str(self._conf), "--json", *words]) in codes
        found = json.loads(out.getvalue())
        SHAPES.check(kind, found)
        return found


def lists_and_counts(queue, patch):
    assert len(queue.run("list of recipient", "queue")) == 4
    assert len(queue.run("list of recipient", program=mailq)) == 4
    for option in ("--counts", "--shape"):
        for by in mailq.BY:
            queue.run("counts", option, by, program=mailq)


def messages_in_full(queue, patch):
    for ta_id in queue.ids:
        queue.run("message", "show", ta_id)
    shown = queue.run("message", "show", "--header", "--body", queue.ids[1])
    assert shown["content"] == {"header": "Subject: x\r\n", "body": "x\r\n"}
    assert shown["transaction"]["by"].endswith("Z")
    assert queue.run("message", "show", "--body", f"{queue.ids[1]}-0000")["content"].keys() == {"body"}


def changes(queue, patch):
    held, later, active = queue.ids
    for verb in VERBS:
        queue.run("change", verb, "--dry-run", "all")
        queue.run("change", verb, new_id(), codes=(66,))
        queue.run("change", verb, "nowhere.example", codes=(66,))
    for words in (
        ("hold", held),
        ("retry", held),
        ("release", later),
        ("retry", active),
        ("hold", active),
        ("release", active),
    ):
        queue.run("change", *words, codes=(0,))
    patch.setattr("sys.stdin", io.StringIO(f"{new_id()}\n{later}\n"))
    queue.run("change", "remove", "-", codes=(66,))
    patch.setattr("meta1g.db.defedb.DefeDb.get_ta", lambda self, ta_id: None)  # it cannot be read
    assert queue.run("change", "bounce", held)["damaged"] == 1


def what_is_due_is_told(queue, patch):
    queue.run("mode", "stop")
    queue.qmgr.advance(90_000)
    assert queue.run("change", "retry", queue.ids[1])["due"] == 1


def what_cannot_be_done_is_told(queue, patch):
    patch.setattr("meta1g.qmgr.orders.Orders.give", lambda self, one, order: Fate.BUSY)
    queue.run("change", "remove", queue.ids[2], codes=(75,))
    queue.qmgr.defedb.error = TempError(Module.DEFEDB, "no space")
    queue.run("change", "remove", queue.ids[1], codes=(75,))
    queue.qmgr.defedb.error = None


def orders_and_limits(queue, patch):
    for word in ("drain", "stop", "resume"):
        queue.run("mode", word)
    queue.run("list of limit", "limits")
    queue.run("list of limit", "limits", "AQ_max_entries=50")
    queue.run("list of limit", "limits")


def what_is_known(queue, patch):
    queue.run("list of destination", "destinations")
    for address in ("r@to.example", "list@to.example", "lmtp.example"):
        queue.run("list of explained", "explain", address)
    queue.run("list of verified", "verified", "all")
    number = 77
    queue.smtps.peer.request(NewSession(session_id=(session := new_id()), client_addr="192.0.2.99"), 76)
    queue.smtps.peer.send(VerifyAddress(session_id=session, address="a@probe.example"), number)
    wait_until(lambda: len(queue.qmgr.context.verifier), "it is known")
    assert len(queue.run("list of verified", "verified", "all")) == 1
    assert queue.run("forgotten", "forget", "all") == {"forgotten": 1}


def the_system(queue, patch):
    zero = dict.fromkeys(("sessions", "messages", "refused", "discarded", "changed", "answers", "answers_us", "worst_us"), 3)
    faults = (FilterFaults(fault="timeout", count=2),)
    queue.smtps.peer.send(FilterReport(kind="milter", name="f", state="down", since=1000.0, faults=faults, **zero))
    wait_until(lambda: queue.qmgr.context.status()["filters"], "told")
    queue.run("status", "status", codes=(1,))
    queue.run("mode", "drain")
    assert queue.run("status", "status", codes=(1,))["mode_since"]
    wait_until(lambda: queue.qmgr.context.resources.usage, "looked at")
    queue.run("usage", "usage")


def test_the_stores_are_records_and_all_of_them(tmp_path, capsys):
    queue = QmgrSystem(tmp_path).start()
    try:
        attempts = (Attempt(server="mx[192.0.2.1]:25", reply=Reply(450, "4.2.1", ("a", "b")), count=2, first=1.0, last=2.0),)
        held = {"flags": RcptFlags.HOLD, "next_try": HELD_UNTIL}
        failed = (DsnRcpt(rcpt="x@y.example", reply=Reply(550, "5.1.1", "no")),)
        queue.context.defer.add(Change(ta=ta(1), put=(rcpt(1, **held), rcpt(1, 1, attempts=attempts, failed=failed, **held))))
        queue.wait_deferred(2)
    finally:
        queue.stop()
    (tmp_path / "qmgr/lock").touch()
    assert metaqueue.main(["--json", str(tmp_path)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    facts = json.loads(line)
    rcpts, store = facts.pop("rcpts"), facts.pop("store")
    assert store == "DEFEDB"
    for cls, found in ((TaRecord, {**facts, "rcpts": len(rcpts)}), *((RcptRecord, one) for one in rcpts)):
        assert found.keys() == {plan.name for plan in cls.PLAN.fields}
        assert from_object(cls, found)
    assert rcpts[1]["attempts"][0]["reply"] == {"code": 450, "ecode": "4.2.1", "text": ["a", "b"], "origin": ""}


SCENARIOS = (
    lists_and_counts,
    messages_in_full,
    changes,
    what_is_due_is_told,
    what_cannot_be_done_is_told,
    orders_and_limits,
    what_is_known,
    the_system,
)


def test_what_is_printed_is_documented_and_what_is_documented_is_printed(tmp_path):
    for number, scenario in enumerate(SCENARIOS):
        (directory := tmp_path / str(number)).mkdir()
        queue = Queue(directory)
        try:
            queue.fill()
            with pytest.MonkeyPatch.context() as patch:
                scenario(queue, patch)
        finally:
            queue.qmgr.stop()
    assert SHAPES.tables.keys() - SHAPES.used == ELSEWHERE
    assert {one for one in SHAPES.unseen() if one[0] not in ELSEWHERE} == set()


@pytest.mark.parametrize(
    ("kind", "value"),
    [("mode", {}), ("mode", {"mode": 1}), ("mode", {"mode": "x", "more": 1}), ("list of mode", {}), ("count", -1),
     ("count", True), ("time or null", "2026-01-01"), ("true", False), ("count by x", {"a": "b"}), ("content", {"body": None})],
)  # fmt: skip
def test_what_is_not_of_its_shape_is_found(kind, value):
    with pytest.raises(AssertionError):
        SHAPES.check(kind, value)
