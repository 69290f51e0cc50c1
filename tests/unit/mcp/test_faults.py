"""Something that nobody expects goes wrong in mcp itself, or a check does not end: what that costs."""

import os
import signal
from pathlib import Path

import pytest

from tests.unit.mcp.conftest import PYTHON, child
from tests.unit.mcp.test_reload import wait_for

FAIL = "raise ZeroDivisionError('a bug of the test')"


def test_a_failure_of_the_frame_ends_mcp_with_a_code_that_is_restarted_and_the_children_stop(mcp):
    mcp.prelude = f"""
import meta1g.mcp.supervisor as s
def reap(self):
    {FAIL}
s.Supervisor.reap = reap
"""
    mcp.start(child("smtps"), child("smar"))
    os.kill(mcp.pid("smar"), signal.SIGKILL)
    assert mcp.end() == 70
    assert "where=mcp.loop" in mcp.log()
    assert "the process ends: ZeroDivisionError: a bug of the test" in mcp.log()
    mcp.wait("orphan smtps")
    mcp.prelude = ""
    mcp.start()
    assert mcp.stop() == 0


def test_a_failure_in_a_reload_costs_that_reload(mcp):
    mcp.prelude = f"""
import meta1g.mcp.reload as r
right = r.prepare
def prepare(*arguments, **options):
    r.prepare = right
    {FAIL}
r.prepare = prepare
"""
    mcp.start(child("smar"))
    result = mcp.ask("reload")
    assert (result.exit_code, result.text.splitlines()[0]) == (70, "ZeroDivisionError: a bug of the test")
    assert "contained: ZeroDivisionError" in mcp.log()
    assert mcp.ask("reload").exit_code == 0
    assert mcp.stop() == 0


def test_a_failure_at_the_start_of_one_component_costs_one_start_of_it(mcp):
    mcp.prelude = f"""
import meta1g.mcp.spawn as s
right, starts = s.start, []
def start(launch, *arguments, **options):
    starts.append(launch)
    if len(starts) == 3:
        {FAIL}
    return right(launch, *arguments, **options)
s.start = start
"""
    mcp.start(child("smtps"), child("smar"))
    os.kill(mcp.pid("smar"), signal.SIGKILL)
    mcp.pid("smar", 2)
    mcp.wait("facts smar", 2)
    assert "func=failure.contained, component=smar, " in mcp.log()
    assert "func=failure.trace, where=mcp.start, stat=| Traceback" in mcp.log()
    assert "contained: ZeroDivisionError" in mcp.log()
    assert mcp.names("signal") == []
    assert mcp.stop() == 0


def test_a_failure_while_a_client_is_answered_costs_that_connection(mcp):
    mcp.prelude = f"""
import meta1g.mcp.control as s
right = s.component_facts
def facts(members):
    s.component_facts = right
    {FAIL}
s.component_facts = facts
"""
    mcp.start(child("smar"))
    with pytest.raises(AssertionError, match="connection closed"):
        mcp.ask("status")
    assert mcp.status()["smar"]["state"] == "running"


#: A program that mcp takes for one of this package: what it does for --check, and otherwise.
OWN = """#!{python}
# meta1g.smar
import os, sys, time
if "--check" in sys.argv:
    {check}
os.execv("{python}", ["smar", "{child}", "smar"])
"""


def own_program(mcp, check: str) -> str:
    path = mcp.directory / "smar"
    path.write_text(OWN.format(python=PYTHON, check=check, child=mcp.directory / "child.py"))
    path.chmod(0o755)
    return f'smar {{ path = "{path}"; arguments = "smar"; }}\n'


def test_a_check_that_does_not_end_is_ended_and_told(mcp):
    mcp.prelude = "import meta1g.mcp.precheck as p; p.CHECK_LIMIT_S = 1.0"
    mcp.start(child("smtps"), child("smar"))
    section = own_program(mcp, "open('pid', 'w').write(str(os.getpid())); time.sleep(1000)")
    result = mcp.reload(child("smtps"), section)
    assert (result.exit_code, result.text.splitlines()[0]) == (75, "smar: its check did not end within 1 s")
    pid = int((mcp.queue / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()
    assert mcp.names("signal") == []
    assert mcp.ask("reload").exit_code == 75


def test_a_check_that_says_too_much_is_told_by_its_end(mcp):
    mcp.start(child("smar"))
    section = own_program(mcp, "[print('smar: problem', n, file=sys.stderr) for n in range(100_000)]; sys.exit(78)")
    result = mcp.reload(section)
    assert result.exit_code == 78
    assert len(result.text.splitlines()) <= 101
    assert "smar: problem " in result.text


def test_a_check_that_dies_without_a_word_is_told(mcp):
    mcp.start(child("smar"))
    result = mcp.reload(own_program(mcp, "os.kill(os.getpid(), 9)"))
    assert result.exit_code == 71
    assert "ended by SIGKILL: it said nothing" in result.text
    result = mcp.reload(own_program(mcp, "import no_such_module"))
    assert "ended with exit code 1: ModuleNotFoundError: No module named 'no_such_module'" in result.text
    assert mcp.names("signal") == []


def test_a_check_that_finds_nothing_lets_the_reload_go_on(mcp):
    mcp.start(child("smar"))
    assert mcp.reload(own_program(mcp, "sys.exit(0)")).exit_code == 0
    mcp.pid("smar", 2)
    assert mcp.stop() == 0


def test_a_check_that_ends_while_mcp_stops_starts_nothing(mcp):
    mcp.prelude = "import meta1g.mcp.child as c; c.STOP_GRACE_S = 3.0"
    mcp.start(child("smtps", "--deaf"), child("smar"))
    mcp.configure(child("smtps", "--deaf"), own_program(mcp, "open('fifo').close()"))
    os.mkfifo(mcp.queue / "fifo")
    mcp.signal(signal.SIGHUP)
    wait_for(lambda: mcp.facts()["reloading"], mcp.log())
    mcp.signal(signal.SIGTERM)
    mcp.wait("signal smar SIGTERM")
    os.close(os.open(mcp.queue / "fifo", os.O_RDWR))
    assert mcp.end() == 0
    assert sorted(mcp.names("start")) == ["smar", "smtps"]


def test_mcp_can_be_stopped_while_a_check_runs_and_ends_it(mcp):
    mcp.start(child("smar"))
    mcp.configure(own_program(mcp, "open('pid', 'w').write(str(os.getpid())); os.mkfifo('fifo'); open('fifo')"))
    mcp.signal(signal.SIGHUP)
    wait_for((mcp.queue / "fifo").exists, mcp.log())
    assert mcp.stop() == 0
    pid = int((mcp.queue / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()


def test_what_mcp_cannot_write_beside_its_work_is_logged_and_costs_nothing(mcp):
    mcp.start(child("smar"))
    (mcp.queue / "mcp" / "children").unlink(missing_ok=True)
    (mcp.queue / "mcp" / "children").mkdir()
    os.kill(mcp.pid("smar"), signal.SIGKILL)
    mcp.pid("smar", 2)
    mcp.wait("facts smar", 2)
    assert "sevr=ERROR, func=mcp.children, " in mcp.log()


def test_a_component_that_is_not_ready_in_time_holds_nobody_up(mcp):
    mcp.prelude = "import meta1g.mcp.service as s; s.READY_BOUND_S, s.READY_MARGIN_S = 1.0, 0.0"
    mcp.start(child("smtps"), child("smar", "--mute"), ready=False)
    mcp.wait("facts smtps")
    wait_for(lambda: "sevr=WARN, func=mcp.not_ready, component=smar, time_ms=1000.000, " in mcp.log(), mcp.log())
