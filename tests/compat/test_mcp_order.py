"""Order of start and stop of the components, and of restarts with dependents (sourced, MeTA1 README on the supervisor)."""

import pytest

from contrib.lib.gateway import wait_until
from meta1g.mcp.order import restart_order

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("mcp-order")]

#: The sections of the gateway's configuration in the order of the file; smtps and smtpc depend on qmgr.
FILE_ORDER = ["qmgr", "smtps", "smtpc", "smar"]


def components(gateway, func):
    lines = [line for line in gateway.log.read_text().splitlines() if f"func={func}," in line]
    return [line.partition("component=")[2].partition(",")[0] for line in lines]


def test_components_start_from_the_last_section_to_the_first(shared):
    assert components(shared.gateway, "mcp.start")[:4] == FILE_ORDER[::-1]


def test_dependents_stop_before_and_start_after_the_component_that_is_restarted(shared):
    gateway = shared.gateway
    before = len(components(gateway, "mcp.start"))
    gateway.kill("qmgr")
    wait_until(lambda: len(components(gateway, "mcp.start")) >= before + 3, 60, gateway.last_words)
    started = components(gateway, "mcp.start")[before:]
    assert started[0] == "qmgr"
    assert sorted(started) == ["qmgr", "smtpc", "smtps"]
    gateway.wait_ready()


def test_components_stop_in_the_order_of_the_file_but_dependents_first(shared):
    gateway = shared.gateway
    gateway.wait_ready()
    before = len([name for name in components(gateway, "mcp.stopping") if name])
    assert gateway.stop() == 0
    stopped = [name for name in components(gateway, "mcp.stopping") if name][before:]
    gateway.start()
    assert sorted(stopped) == sorted(FILE_ORDER)
    assert stopped.index("smtps") < stopped.index("qmgr")
    assert stopped.index("smtpc") < stopped.index("qmgr")
    assert stopped.index("smtps") < stopped.index("smtpc")


def test_the_order_of_a_restart_is_the_component_then_its_dependents():
    dependents = {"qmgr": ("smtps", "smtpc"), "smtps": (), "smtpc": (), "smar": ()}
    order = restart_order("qmgr", FILE_ORDER, dependents)
    assert order[0] == "qmgr"
    assert set(order) == {"qmgr", "smtps", "smtpc"}
