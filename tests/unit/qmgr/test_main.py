import os
import signal
import subprocess
import sys

import pytest

from meta1g.base import sysexits
from meta1g.qmgr.main import lock_queue
from meta1g.rcb.qmgr_smar import Members
from tests.fakes.qmgr_peers import route
from tests.fakes.qmgr_process import QmgrProcess
from tests.fakes.qmgr_system import wait_until

LOADED = "AQ_max_entries = 100; min_retry_delay = 1; max_retry_delay = 1;"


@pytest.fixture
def qmgr(tmp_path):
    with QmgrProcess(tmp_path, LOADED) as process:
        yield process


def second(conf):
    command = [sys.executable, "-m", "meta1g.qmgr.main", "-f", str(conf)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_second_qmgr_on_a_queue_directory_refuses_and_names_the_first(qmgr):
    result = second(qmgr.conf)
    assert result.returncode == sysexits.EX_TEMPFAIL
    assert result.stderr == f"qmgr: another qmgr (process {qmgr.process.pid}) works on {qmgr.queue}; stop it first\n"
    assert qmgr.ask("status")["pid"] == qmgr.process.pid


def test_the_lock_goes_with_the_process(tmp_path):
    (tmp_path / "qmgr").mkdir()
    os.close(lock_queue(tmp_path))
    os.close(lock_queue(tmp_path))
    assert (tmp_path / "qmgr/lock").read_text() == f"{os.getpid()}\n"


def test_a_missing_queue_directory_is_told_with_what_to_do(tmp_path):
    conf = tmp_path / "meta1.conf"
    conf.write_text(f'queue_directory = "{tmp_path}/none";\n')
    result = second(conf)
    assert (result.returncode, "run sm.setup" in result.stderr) == (sysexits.EX_CONFIG, True)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_in_order(qmgr, signum):
    assert qmgr.end(signum) == 0
    assert "func=qmgr.stop, stat=stopped" in qmgr.log()
    assert sorted(path.name for path in (qmgr.queue / "qmgr").iterdir()) == ["lock"]


def test_a_stop_waits_for_results_only_as_long_as_somebody_is_connected(tmp_path):
    program = "import meta1g.qmgr.main as main; main.STOP_GRACE_S = 3600; main.run()"
    with QmgrProcess(tmp_path, program=("-c", program)) as qmgr:
        agent, smtps = qmgr.agent(), qmgr.smtps()
        wait_until(lambda: qmgr.ask("status")["smtpc"] == qmgr.ask("status")["smtps"] == 1, "both are connected")
        qmgr.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "stat=stopping" in qmgr.log(), "it stops")
        agent.stop()
        wait_until(lambda: "func=qmgr.smtpc, pid=" in qmgr.log() and "stat=gone" in qmgr.log(), "the agent is gone")
        assert qmgr.process.poll() is None
        smtps.stop()
        assert qmgr.process.wait(20) == 0


def test_it_stops_when_mcp_is_gone(qmgr):
    os.close(qmgr.alive_fd)
    qmgr.alive_fd = -1
    assert qmgr.process.wait(20) == 0
    assert "func=qmgr.mcp, stat=mcp is gone" in qmgr.log()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_no_accepted_message_is_lost_whenever_it_ends(qmgr, signum):
    qmgr.smar().answers["silent.example"] = None
    agent = qmgr.agent(script=lambda job: job.done(450) if "later" in job.rcpts[0] else None)
    smtps = qmgr.smtps()
    ids = [smtps.mail(f"r{number}@{name}.example") for number in range(5) for name in ("silent", "busy", "later")]
    agent.wait_jobs(3)
    qmgr.end(signum)
    qmgr.start()
    qmgr.smar()
    agent = qmgr.agent()
    wait_until(lambda: {job.msg.ta_id for job in agent.jobs} == set(ids), "all are delivered")
    wait_until(lambda: qmgr.content() == [], "nothing is left")
    assert {qmgr.ask("status")[name] for name in ("aq", "defedb", "ibdb_open")} == {0}


def test_a_kill_in_the_middle_of_an_alias_loses_nobody(qmgr):
    """Bounces made after the restart must not take the indexes of members that still wait in the log."""
    members = Members(members=tuple(f"m{number}@x.example" for number in range(6)))
    answers = {"x.example": route("192.0.2.7"), "list@to.example": members}
    qmgr.smar(answers)
    agent = qmgr.agent(script=lambda job: job.done(450) if job.server == "192.0.2.1" else None)
    qmgr.smtps().mail("first@later.example", "list@to.example")
    wait_until(lambda: any(job.server == "192.0.2.7" for job in agent.jobs), "members are on their way")
    wait_until(lambda: qmgr.ask("status")["defedb"] == 1, "the first is deferred")
    qmgr.end(signal.SIGKILL)
    qmgr.start()
    qmgr.smar(answers)  # it asks as soon as there is somebody to ask
    agent = qmgr.agent(script=lambda job: job.done(550 if job.rcpts[0].startswith(("first", "m0")) else 250))
    wait_until(lambda: qmgr.content() == [], "nothing is left")
    seen = {rcpt for job in agent.jobs for rcpt in job.rcpts}
    assert seen >= {"first@later.example", "s@from.example", *(f"m{number}@x.example" for number in range(6))}
    told = b"".join(job.told for job in agent.jobs)
    assert b"rfc822; first@later.example" in told
    assert b"rfc822; m0@x.example" in told


def test_recovery_keeps_what_was_never_resolved(qmgr):
    ta_id = qmgr.smtps().mail("r@to.example")
    qmgr.end(signal.SIGKILL)
    qmgr.start()
    (row,) = qmgr.ask("queue")
    assert row["ta"] == ta_id


def test_two_ends_in_a_row_change_nothing(qmgr):
    ids = [qmgr.smtps().mail(f"r{number}@to.example") for number in range(3)]
    for signum in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        qmgr.end(signum)
        qmgr.start()
    qmgr.smar()
    agent = qmgr.agent()
    wait_until(lambda: qmgr.content() == [], "nothing is left")
    assert sorted(job.msg.ta_id for job in agent.jobs) == sorted(ids)


def test_files_of_ibdb_grow_to_max_size_and_verp_senders_have_an_address_for_each_recipient(tmp_path):
    options = 'IBDB { max_size = 1KB; } verp_senders = { "s@from.example" }; verp_delimiters = "-=";'
    with QmgrProcess(tmp_path, options) as qmgr:
        for number in range(9):
            qmgr.smtps().mail(f"r{number}@to.example")
        sizes = [path.stat().st_size for path in (qmgr.queue / "ibdb").iterdir()]
        assert len(sizes) > 3, "with the default all is in one file"
        qmgr.smar()
        agent = qmgr.agent()
        wait_until(lambda: qmgr.content() == [], "all are delivered")
    assert {job.msg.mail for job in agent.jobs} == {f"s-r{number}=to.example@from.example" for number in range(9)}
