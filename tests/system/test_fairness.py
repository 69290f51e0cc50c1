"""Floods of several clients at full loopback speed: another client's commands go on (invariant I10).

The bounds are generous, since tests run beside others; bench/fairness measures what they are.
"""

import re
from pathlib import Path

import pytest

from bench.fairness import filtered_gateway, flooded_gateway, median, watch
from bench.floods import FILTERS
from contrib.lib.gateway import wait_until

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("fairness")]

CLIENTS = 3
SECONDS = 1.0
COMMAND_MAX_MS = 300
MESSAGE_MAX_MS = 5000
MEMORY_MAX_KIB = 150_000


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with flooded_gateway(tmp_path_factory.mktemp("fairness")) as gateway:
        yield gateway


#: One or two of each sort; bench/fairness has more of them.
KINDS = (
    *(
        "refused-rcpt",
        "rcpt-limit",
        "refused-content",
        "endless-header",
        "noop",
        "wrong-commands",
        "half-lines",
        "tiny-packets",
    ),
    *("connections", "guesses", "tiny-chunks", "tls-keys", "tls-tiny-records", "tls-connections"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_another_client_is_served_while_others_flood_with(kind, gateway):
    look(gateway, kind)


@pytest.fixture(scope="module")
def filtered(tmp_path_factory):
    with filtered_gateway(tmp_path_factory.mktemp("filtered")) as gateway:
        yield gateway


@pytest.mark.parametrize("name", FILTERS)
def test_another_client_is_served_while_the_filter_of_others_breaks(name, filtered):
    look(filtered, f"filter-{name}")
    met = rf"func=smtps\.milter_failed, .*key={name},"
    wait_until(lambda: re.search(met, filtered.log.read_text()), 20, "the filter has broken")


def look(gateway, kind):
    """Floods, and sees what another client notices and how much memory it takes."""
    seen = watch(gateway, kind, CLIENTS, SECONDS)
    assert median(seen.commands) <= COMMAND_MAX_MS
    assert max(seen.messages) <= MESSAGE_MAX_MS
    (pid,) = gateway.pids()["smtps"]
    status = Path(f"/proc/{pid}/status").read_text()
    assert int(status.partition("VmHWM:")[2].split()[0]) <= MEMORY_MAX_KIB
