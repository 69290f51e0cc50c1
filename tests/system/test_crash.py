"""No acknowledged message is lost, whatever process is killed whenever (invariants I1 and I2)."""

import pytest

from tests.system.crash import run

pytestmark = pytest.mark.system


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1])
def test_every_acknowledged_message_arrives_though_processes_are_killed(tmp_path, seed):
    report = run(tmp_path, messages=600, kills=5, seed=seed)
    assert report.lost == [], report
    assert report.acknowledged == 600
    assert set(report.leftovers.values()) == {0}, report
