"""No acknowledged message is lost, whatever process is killed whenever (invariants I1 and I2)."""

import pytest

from tests.system.crash import run

pytestmark = pytest.mark.system


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("messages", "kills", "guarded"), [(600, 5, False), (200, 6, True)])
def test_every_acknowledged_message_arrives_though_processes_are_killed(tmp_path, messages, kills, guarded):
    report = run(tmp_path, messages, kills, 1, guarded=guarded)
    assert not report.bad, report
    assert report.acknowledged == messages
    assert len(report.kills) == kills
