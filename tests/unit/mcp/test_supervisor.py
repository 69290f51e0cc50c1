"""Real children under a real mcp: order, restarts, dependencies, end."""

import os
import signal

import pytest

from tests.unit.mcp.conftest import child

ALL = ("qmgr", "smtps", "smtpc", "smar")
SAMPLE = (
    child("qmgr", section="restart_dependencies = { smtps, smtpc, smar };"),
    child("smtps"),
    child("smtpc"),
    child("smar", section="restart_dependencies = { smtps, qmgr };"),
)

#: Python that mcp runs first: the first delay after a failure is 0.1 s instead of 1 s, the time for a stop 1 s instead of 10 s.
QUICK = "import meta1g.mcp.restart as r, meta1g.mcp.child as c; r.BACKOFF_FIRST_S = 0.1; c.STOP_GRACE_S = 1.0"


def test_components_start_from_the_last_section_to_the_first(mcp):
    mcp.start(*SAMPLE)
    assert mcp.started() == ["smar", "smtpc", "smtps", "qmgr"]


def test_sigterm_stops_dependents_first_and_the_rest_in_file_order(mcp):
    mcp.start(*SAMPLE)
    assert mcp.stop() == 0
    assert mcp.told_to_stop() == ["smtps", "smtpc", "qmgr", "smar"]
    assert mcp.names("signal")[2:] == ["qmgr", "smar"]


def test_without_dependencies_sigterm_stops_in_file_order(mcp):
    mcp.start(*(child(name) for name in ALL))
    assert mcp.stop() == 0
    assert mcp.told_to_stop() == list(ALL)


def test_a_dependent_starts_when_its_dependency_is_ready(mcp):
    fifo = mcp.directory / "fifo"
    os.mkfifo(fifo)
    mcp.start(child("smtps"), child("smar", f"--late {fifo}", "restart_dependencies = { smtps };"), ready=False)
    mcp.wait("facts smar")
    assert mcp.status()["smtps"]["state"] == "stopped"
    fifo.open("w").close()
    mcp.wait("READY=1")
    assert mcp.names("start") == ["smar", "smtps"]


def test_a_killed_component_restarts_between_its_dependents_stop_and_start(mcp):
    mcp.start(child("qmgr", section="restart_dependencies = { smtps, smtpc };"), child("smtps"), child("smtpc"), child("smar"))
    os.kill(mcp.pid("qmgr"), signal.SIGKILL)
    for name in ("qmgr", "smtps", "smtpc"):
        mcp.wait(f"start {name}", 2)
    assert mcp.told_to_stop() == ["smtps", "smtpc"]
    assert mcp.started()[4:] == ["qmgr", "smtps", "smtpc"]
    ended = [event.split()[1] for event in mcp.drain() if event.startswith(("signal", "start qmgr"))]
    assert sorted(ended[1:3]) == ["smtpc", "smtps"]
    assert ended[3] == "qmgr"


def test_a_dependent_that_dies_restarts_alone(mcp):
    mcp.start(*SAMPLE)
    os.kill(mcp.pid("smtpc"), signal.SIGKILL)
    mcp.wait("start smtpc", 2)
    assert sorted(mcp.names("start")) == ["qmgr", "smar", "smtpc", "smtpc", "smtps"]
    assert mcp.names("signal") == []


def test_dependencies_of_dependents_restart_as_well(mcp):
    mcp.start(*SAMPLE)
    os.kill(mcp.pid("smar"), signal.SIGKILL)
    for name in ALL:
        mcp.wait(f"start {name}", 2)
    assert mcp.started()[4:] == ["smar", "qmgr", "smtps", "smtpc"]


def test_exit_0_is_meant_and_not_repaired(mcp):
    mcp.start(child("smtps"), child("smar"))
    os.kill(mcp.pid("smar"), signal.SIGTERM)
    mcp.wait("signal smar")
    os.kill(mcp.pid("smtps"), signal.SIGKILL)
    mcp.wait("start smtps", 2)
    assert mcp.names("start").count("smar") == 1
    assert mcp.status()["smar"]["state"] == "stopped"
    assert "func=mcp.gone, component=smar, " in mcp.log()


def test_mcp_ends_with_0_when_all_have_ended_as_they_meant_to(mcp):
    mcp.start(child("smar"))
    os.kill(mcp.pid("smar"), signal.SIGTERM)
    assert mcp.end() == 0


@pytest.mark.parametrize("code", [64, 77, 78])
def test_a_component_that_refuses_at_the_start_stops_the_system(mcp, code):
    mcp.start(child("smtps"), child("smar", f"--exit {code}"), ready=False)
    assert mcp.end() == code
    assert f"smar ended with exit code {code}" in mcp.errors
    assert mcp.errors.count("\n") == 1
    assert mcp.names("start").count("smar") == 1


def test_a_component_that_refuses_later_is_left_alone_until_a_reload(mcp):
    mcp.prelude = QUICK
    refusal = mcp.directory / "exit"
    mcp.start(child("smtps"), child("smar", f"--exit-file {refusal}"))
    refusal.write_text("78")
    os.kill(mcp.pid("smar"), signal.SIGKILL)
    mcp.pid("smar", 2)
    os.kill(mcp.pid("smtps"), signal.SIGKILL)
    mcp.pid("smtps", 2)
    assert mcp.status()["smar"]["state"] == "failed"
    refusal.unlink()
    mcp.signal(signal.SIGHUP)
    mcp.pid("smar", 3)
    mcp.wait("facts smar", 2)
    assert mcp.stop() == 0


def test_a_component_that_fails_again_and_again_is_started_again_and_the_others_go_on(mcp):
    mcp.prelude = QUICK
    mcp.start(child("smtps"), child("smar"))
    others = mcp.pid("smtps")
    for number in range(1, 5):
        mcp.wait("facts smar", number)
        os.kill(mcp.pid("smar", number), signal.SIGKILL)
    mcp.wait("facts smar", 5)
    assert mcp.status()["smar"]["restarts"] == 4
    assert mcp.status()["smtps"]["pid"] == others
    assert mcp.names("signal") == []
    assert mcp.stop() == 0


def test_dependents_go_on_without_a_component_that_does_not_come_up_again(mcp):
    mcp.prelude = QUICK
    refusal = mcp.directory / "exit"
    section = "restart_dependencies = { smtps };"
    mcp.start(child("smtps"), child("qmgr", f"--exit-file {refusal}", section))
    refusal.write_text("1")
    os.kill(mcp.pid("qmgr"), signal.SIGKILL)
    mcp.wait("start qmgr", 2)
    mcp.wait("facts smtps", 2)
    mcp.wait("start qmgr", 3)
    refusal.unlink()
    mcp.wait("facts qmgr", 2)
    assert mcp.status()["smtps"]["pid"] == mcp.pid("smtps", 2)
    assert mcp.names("start").count("smtps") == 2
    assert mcp.stop() == 0


def test_a_component_that_never_comes_up_stops_the_system_with_a_clear_last_line(mcp):
    mcp.prelude = QUICK
    mcp.start(child("smtps"), child("smar", "--exit 1"), ready=False)
    assert mcp.end() == 1
    assert mcp.errors == (
        "mcp: smar ended with exit code 1 at its start, 3 times; everything is stopped; "
        f"the reason is in the log, or in {mcp.queue}/smar.log\n"
    )
    assert "sevr=FATAL" in mcp.log().splitlines()[-1]


def test_four_kills_of_each_component_do_not_stop_the_system(mcp):
    mcp.start(child("smtps"), child("smar"))
    for name in ("smar", "smtps"):
        os.kill(mcp.pid(name), signal.SIGKILL)
        mcp.wait(f"start {name}", 2)
    mcp.wait("facts smtps", 2)
    mcp.wait("facts smar", 2)
    assert mcp.stop() == 0


def test_a_deaf_component_is_killed(mcp):
    mcp.prelude = QUICK
    mcp.start(child("smar", "--deaf"))
    assert mcp.stop() == 0
    assert "func=mcp.stopping, component=smar, " in mcp.log()
    assert "func=mcp.killed, component=smar, " in mcp.log()


def test_sigusr1_is_passed_on(mcp):
    mcp.start(child("smtps"), child("smar"))
    mcp.signal(signal.SIGUSR1)
    mcp.wait("signal smtps SIGUSR1")
    mcp.wait("signal smar SIGUSR1")


def test_children_notice_the_end_of_mcp_and_the_next_mcp_waits_for_them(mcp):
    mcp.start(child("smtps"), child("smar"))
    mcp.signal(signal.SIGKILL)
    mcp.end()
    mcp.start()
    mcp.wait("orphan smtps")
    mcp.wait("orphan smar")
    first = [event.split()[0] for event in mcp.drain() if event.startswith(("start", "orphan"))]
    assert first == ["start", "start", "orphan", "orphan", "start", "start"]
    assert mcp.stop() == 0


def test_a_second_mcp_refuses_and_names_the_first(mcp):
    mcp.start(child("smar"))
    first = mcp.process
    mcp.start(ready=False)
    assert mcp.end() == 69
    assert f"mcp with process id {first.pid} serves it already" in mcp.errors
    mcp.process = first


def test_children_have_only_the_descriptors_of_the_contract(mcp):
    mcp.start(child("smar"))
    words = dict(word.partition("=")[::2] for word in mcp.wait("facts smar").split()[2:])
    assert words["fds"] == "0,1,2,alive,ready"
    assert words["Umask"] == "0007"
    assert words["cwd"] == str(mcp.queue)
    assert words["core"] == "0"


def test_standard_error_of_a_component_goes_to_its_file(mcp):
    mcp.prelude = QUICK
    mcp.start(child("smar"), child("smtps", "--nonsense --exit x"), ready=False)
    mcp.wait("READY=1|STOPPING=1")
    mcp.stop()
    assert "invalid int value" in (mcp.queue / "smtps.log").read_text()
