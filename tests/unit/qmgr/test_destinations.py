"""The configuration map of QMGR: each of its options is tried, and what becomes of mail when an entry is wrong."""

import pytest

from meta1g.base.errors import PermError
from meta1g.base.log import Log
from meta1g.conf.defs_session import DESTINATION
from meta1g.conf.load import load_file
from meta1g.db.aq_types import DestKey
from meta1g.db.mapfile import MapFile
from meta1g.db.occ import Occ
from meta1g.maps.base import temp
from meta1g.maps.static import StaticMap
from meta1g.maps.wrong import WrongEntries
from meta1g.qmgr.destinations import COMMON, DestinationLimits, Destinations, configuration_map
from meta1g.rcb.common import ServerAddr
from tests.fakes.lines import Lines
from tests.fakes.qmgr_peers import route
from tests.fakes.qmgr_system import wait_until

MX = ServerAddr(addr="192.0.2.7", port=25, host="mx.example.net")


def made(entries, lines=None):
    log = Log("qmgr", sink=lines) if lines is not None else Log("qmgr", level=0)
    return Destinations(StaticMap("dests", entries), WrongEntries(log))


#: Snippet, and the limit that comes of it.
ROWS = {
    "initial_connections": ("initial_connections = 3;", "initial_connections", 3),
    "max_connections": ("max_connections = 5;", "max_connections", 5),
    "max_rcpts_per_transaction": ("max_rcpts_per_transaction = 7;", "max_rcpts", 7),
    "min_retry_delay": ("min_retry_delay = 1m;", "min_retry_delay_s", 60),
    "max_retry_delay": ("max_retry_delay = 1h;", "max_retry_delay_s", 3600),
}


def test_every_option_has_a_row():
    assert set(ROWS) == {row.name for row in DESTINATION.options}


@pytest.mark.parametrize("name", sorted(ROWS))
def test_an_option_of_a_destination(name):
    snippet, limit, expected = ROWS[name]
    found = made({"mx.example.net": snippet}).of(lambda: MX)
    assert found == DestinationLimits(**{limit: expected})


def test_keys_are_the_address_or_the_begin_of_it_then_the_name_and_its_parents():
    entries = {"192.0.2.7": "max_connections = 1;", "192.0": "max_connections = 2;", ".net": "max_connections = 3;"}
    dests = made(entries)

    def limit(addr, host):
        return dests.of(lambda: ServerAddr(addr=addr, port=25, host=host)).max_connections

    assert limit("192.0.2.7", "mx.example.net") == 1
    assert limit("192.0.2.8", "mx.example.net") == 2
    assert limit("198.51.100.1", "MX.example.net") == 3
    assert dests.of(lambda: ServerAddr(addr="198.51.100.1", port=25, host="mx.example.org")) == COMMON


def test_without_a_map_nobody_is_asked_about():
    assert Destinations().of(lambda: pytest.fail("asked")) is COMMON


def test_a_changed_map_counts_and_an_unchanged_one_is_not_asked_again():
    class Counting(StaticMap):
        asked, number = 0, 0

        def lookup(self, key):
            self.asked += 1
            return super().lookup(key)

        def version(self):
            return self.number

    table = Counting("dests", {"mx.example.net": "max_connections = 5;"})
    dests = Destinations(table)
    for _ in range(3):
        assert dests.of(lambda: MX).max_connections == 5
    before = table.asked
    table._entries["mx.example.net"] = "max_connections = 6;"
    assert (dests.of(lambda: MX).max_connections, table.asked) == (5, before)
    table.number = 1
    assert dests.of(lambda: MX).max_connections == 6


def test_a_wrong_entry_is_no_limit_and_is_logged():
    lines = Lines()
    assert made({"192.0.2": "max_conections = 5;"}, lines).of(lambda: MX) is None
    assert "map=dests, key=192.0.2, answer=max_conections = 5;" in lines.lines[0]
    assert "did you mean max_connections?" in lines.lines[0]


def test_a_map_that_cannot_be_read_is_no_limit():
    class Away(StaticMap):
        def lookup(self, key):
            return temp("damaged")

    assert Destinations(Away("a", {}), WrongEntries(Log("qmgr", level=0))).of(lambda: MX) is None


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (DestinationLimits(), (300, 7200)),
        (DestinationLimits(min_retry_delay_s=10), (10, 7200)),
        (DestinationLimits(min_retry_delay_s=9000), (9000, 9000)),
        (DestinationLimits(max_retry_delay_s=60), (60, 60)),
        (DestinationLimits(min_retry_delay_s=1, max_retry_delay_s=2), (1, 2)),
    ],
)
def test_bounds_of_retries_do_not_contradict_each_other(own, expected):
    assert own.retry_bounds(300, 7200) == expected


def test_a_destination_begins_and_grows_within_its_own_limits():
    occ = Occ(10, 100, 60.0, 10)
    dest = occ.get(DestKey(0, "192.0.2.7", 25))
    occ.give_own(dest, 2, 3)
    assert dest.limit == 2
    for _ in range(5):
        occ.success(dest)
    assert dest.limit == 3
    occ.set_limits(10, 200, 60.0)
    assert dest.limit == 3
    occ.give_own(dest, None, 1)
    assert dest.limit == 1
    occ.give_own(dest, None, None)
    occ.success(dest)
    assert dest.limit == 2


@pytest.fixture
def opened(tmp_path):
    def open_(text):
        path = tmp_path / "meta1.conf"
        path.write_text(text)
        config = load_file(path)
        return configuration_map(config, config.section("qmgr"))

    return open_


def test_the_map_of_the_configuration_is_opened(opened, tmp_path):
    MapFile.build(tmp_path / "dests.db", [(b"mx.example.net", b"max_connections = 5;")])
    table = opened('qmgr { conf_map { file = "dests.db"; } }')
    assert Destinations(table).of(lambda: MX).max_connections == 5
    assert opened('qmgr { map d { type = static; entries = { "192 x" }; } conf_map { name = d; } }') is not None
    assert opened("qmgr { }") is None


def test_a_map_that_asks_others_is_refused(opened, tmp_path):
    with pytest.raises(PermError, match="map d asks others; name a map in a file"):
        opened("qmgr { map d { type = socket; path = x; } conf_map { name = d; } }")
    with pytest.raises(PermError, match=r"dests\.db: map file is missing"):
        opened('qmgr { conf_map { file = "dests.db"; } }')


# -- in a running queue manager


def to_mx(qmgr, count=1, *, one_message=False):
    """Sends mail to a.example, whose server is 192.0.2.1, and to b.example, whose server is 192.0.2.2."""
    smar = qmgr.smar()
    smar.answers.update({"a.example": route("192.0.2.1"), "b.example": route("192.0.2.2")})
    smtps = qmgr.smtps()
    for name in "ab":
        rcpts = [f"r{number}@{name}.example" for number in range(count)]
        for group in [rcpts] if one_message else [[rcpt] for rcpt in rcpts]:
            smtps.mail(*group)


def test_a_destination_has_as_many_sessions_as_it_may(make_qmgr):
    qmgr = make_qmgr(destinations={"192.0.2.1": "initial_connections = 1; max_connections = 1;"})
    agent = qmgr.agent(script=lambda job: None)
    to_mx(qmgr, 4)
    agent.wait_jobs(3)
    wait_until(lambda: list(qmgr.states().values()).count("READY") == 5, "the others wait")
    assert agent.most == {"192.0.2.1": 1, "192.0.2.2": 2}


def test_a_delivery_has_as_many_recipients_as_the_destination_takes(make_qmgr):
    qmgr = make_qmgr(destinations={"192.0.2.1": "max_rcpts_per_transaction = 2;"})
    agent = qmgr.agent()
    to_mx(qmgr, 6, one_message=True)
    qmgr.wait_empty()
    sizes = {}
    for job in agent.jobs:
        sizes.setdefault(job.msg.server[0].addr, []).append(len(job.msg.rcpts))
    assert sizes == {"192.0.2.1": [2, 2, 2], "192.0.2.2": [6]}


def test_mail_is_tried_again_when_the_destination_wants_it(make_qmgr):
    qmgr = make_qmgr(destinations={"192.0.2.1": "min_retry_delay = 10s; max_retry_delay = 10s;"})
    qmgr.agent(script=lambda job: job.done(451))
    before = qmgr.clock.now()
    to_mx(qmgr)
    qmgr.wait_deferred(2)
    waits = {rcpt.rcpt: rcpt.next_try - before for rcpt in qmgr.defedb.scan(None, 9)}
    assert 5 < waits["r0@a.example"] < 30 < 200 < waits["r0@b.example"]


def test_a_wrong_entry_puts_mail_for_its_destination_off(make_qmgr):
    qmgr = make_qmgr(destinations={"192.0.2.1": "max_conections = 1;"})
    agent = qmgr.agent()
    to_mx(qmgr)
    qmgr.wait_deferred(1)
    (rcpt,) = qmgr.defedb.scan(None, 9)
    assert (rcpt.rcpt, rcpt.reply.code, rcpt.reply.ecode) == ("r0@a.example", 451, "4.3.5")
    assert [job.msg.server[0].addr for job in agent.wait_jobs(1)] == ["192.0.2.2"]


def test_deliveries_begin_as_soon_as_both_clients_are_there(make_qmgr):
    qmgr = make_qmgr(wait_for_client_s=3600, wait_for_server_s=3600)
    to_mx(qmgr)
    wait_until(lambda: list(qmgr.states().values()).count("READY") == 2, "both wait")
    agent = qmgr.agent()
    agent.wait_jobs(2)
    qmgr.wait_empty()
