"""Orders that stand: drain, stop and limits outlast the process, whatever ended it."""

import json
import signal

import pytest

from meta1g.base import sysexits
from tests.fakes.qmgr_peers import Ctl, new_id
from tests.fakes.qmgr_process import QmgrProcess
from tests.fakes.qmgr_system import QmgrSystem, wait_until


@pytest.fixture
def ask(qmgr):
    """Gives a command, to the process that runs now."""

    def ask(*words):
        with Ctl(qmgr.queue / "qmgr/control") as ctl:
            return ctl.ask(*words)

    ask.file = qmgr.queue / "qmgr/orders"
    return ask


def changed(rows):
    return {row["name"]: row["text"] for row in rows if row["changed"]}


def test_a_process_that_is_killed_in_an_incident_does_not_deliver_again(tmp_path):
    with QmgrProcess(tmp_path) as qmgr:
        qmgr.ask("stop")
        qmgr.ask("limits", "smtpc.max_connections=77")
        qmgr.end(signal.SIGKILL)
        qmgr.start()
        status = qmgr.ask("status")
        assert (status["mode"], status["limits_changed"]) == ("stop", ["smtpc.max_connections"])
        assert any("no mail is taken or delivered by order of the operator since 2" in text for text in status["trouble"])
        qmgr.smar()
        agent, smtps = qmgr.agent(), qmgr.smtps()
        assert smtps.connect(session=new_id()).code == 421
        assert "func=qmgr.standing, stat=stop still holds by order of the operator" in qmgr.log()
        assert "limit smtpc.max_connections: 77 still holds" in qmgr.log()
        qmgr.ask("resume")
        smtps.mail("r@to.example")
        assert agent.wait_jobs(1)
        assert qmgr.end(signal.SIGTERM) == 0
        qmgr.start()
        assert qmgr.ask("status")["mode"] == "normal"


@pytest.mark.parametrize("mode", ["drain", "stop"])
def test_a_mode_holds_since_it_was_ordered_until_resume(qmgr, ask, mode):
    ask(mode)
    first = ask("status")["mode_since"]
    assert first > 0
    for _ in range(2):
        qmgr.advance(1000)
        qmgr.restart()
        assert (ask("status")["mode"], ask("status")["mode_since"]) == (mode, first)
        assert qmgr.smtps().connect(session=new_id()).code == 421
    ask(mode)  # once more
    assert ask("status")["mode_since"] == first
    ask("resume")
    assert not ask.file.exists()
    qmgr.restart()
    assert (ask("status")["mode"], ask("status")["mode_since"], ask("status")["trouble"].count("operator")) == ("normal", 0, 0)


def test_an_order_is_answered_when_it_is_on_the_disk(qmgr, ask):
    assert ask("drain") == {"mode": "drain"}
    assert json.loads(ask.file.read_text().splitlines()[0])["mode"] == "drain"


def test_changed_limits_have_effect_in_the_next_process_until_they_are_taken_back(qmgr, ask):
    ask("limits", "AQ_max_entries=50", "min_retry_delay=10m", "ok_free_disk=1MB")
    qmgr.settings.aq_max_entries, qmgr.settings.min_retry_delay_s, qmgr.settings.ok_free_disk = 100, 300, 0  # read anew
    qmgr.restart()
    assert (qmgr.aq.limit, qmgr.settings.min_retry_delay_s) == (50, 600)
    rows = {row["name"]: row for row in ask("limits")}
    assert changed(rows.values()) == {"AQ_max_entries": "50", "min_retry_delay": "10m", "ok_free_disk": "1MB"}
    assert (rows["min_retry_delay"]["configured"], rows["min_retry_delay"]["since"] > 0) == ("5m", True)
    assert ask("limits", "aq_max_entries=DEFAULT")[0]["value"] == qmgr.aq.limit == 100
    assert changed(ask("limits")).keys() == {"min_retry_delay", "ok_free_disk"}
    ask("limits", "default")
    assert changed(ask("limits")) == {}
    assert not ask.file.exists()


def test_a_limit_that_is_changed_to_what_it_was_is_not_changed(qmgr, ask):
    ask("limits", "AQ_max_entries=50")
    assert changed(ask("limits", "AQ_max_entries=100")) == {}
    assert not ask.file.exists()


def test_who_edits_the_configuration_means_it(qmgr, ask):
    ask("limits", "AQ_max_entries=50", "min_retry_delay=10m")
    qmgr.settings.aq_max_entries, qmgr.settings.min_retry_delay_s = 80, 300
    qmgr.restart()
    assert (qmgr.aq.limit, changed(ask("limits"))) == (80, {"min_retry_delay": "10m"})
    assert qmgr.sink.find("func=qmgr.standing_over, stat=limit AQ_max_entries is that of meta1.conf again")
    wait_until(lambda: b"AQ_max" not in ask.file.read_bytes(), "it is forgotten in the file, too")


def test_limits_that_do_not_go_with_the_new_configuration_are_those_of_the_configuration(qmgr, ask):
    ask("limits", "min_retry_delay=50m")
    qmgr.settings.min_retry_delay_s, qmgr.settings.max_retry_delay_s = 300, 600
    qmgr.restart()
    assert (qmgr.settings.min_retry_delay_s, changed(ask("limits"))) == (300, {})
    wait_until(lambda: not ask.file.exists(), "nothing stands")


@pytest.mark.parametrize(
    "hurt",
    [lambda data: b"", lambda data: data[:-1], lambda data: data.replace(b"drain", b"drink"), lambda data: b"\xff" * 100_000],
)
def test_a_damaged_file_is_set_aside_and_told(qmgr, ask, hurt):
    ask("drain")
    data = hurt(ask.file.read_bytes())
    ask.file.write_bytes(data)
    qmgr.restart()
    status = ask("status")
    assert (status["mode"], status["lost_found"]) == ("normal", 1)
    (kept,) = (qmgr.queue / "lost+found").iterdir()
    assert kept.read_bytes() == data[:65536]
    (line,) = qmgr.sink.find("func=qmgr.damaged,.* stat=standing orders: ")
    assert "give them again" in line
    assert not ask.file.exists()
    ask("drain")
    qmgr.restart()
    assert ask("status")["mode"] == "drain"


def test_a_file_that_is_none_does_not_keep_qmgr_from_its_work(qmgr, ask):
    ask.file.mkdir()
    qmgr.restart()
    assert ask("status")["mode"] == "normal"
    assert qmgr.sink.find("func=qmgr.damaged,.* stat=standing orders: ")


def test_an_order_that_cannot_be_kept_holds_and_is_told(qmgr, ask):
    ask.file.with_name("orders.new").mkdir()  # in the way
    with Ctl(qmgr.queue / "qmgr/control") as ctl:
        code, text, _ = ctl.command("drain")
    assert (code, "it holds now, but ends with this qmgr" in text) == (sysexits.EX_TEMPFAIL, True)
    assert ask("status")["mode"] == "drain"
    assert any("the file of orders cannot be written" in text for text in ask("status")["trouble"])
    assert qmgr.sink.find("func=qmgr.standing_file")
    ask.file.with_name("orders.new").rmdir()
    ask("drain")
    assert not any("the file of orders" in text for text in ask("status")["trouble"])
    qmgr.restart()
    assert ask("status")["mode"] == "drain"


def test_a_mode_of_a_newer_version_is_not_guessed_at(tmp_path):
    from meta1g.db.orderfile import OrderFile, StandingOrders

    (tmp_path / "qmgr").mkdir()
    OrderFile(tmp_path / "qmgr/orders").write(StandingOrders("moonlight", 1.0, {}))
    system = QmgrSystem(tmp_path).start()
    try:
        assert system.context.mode.name == "normal"
        assert len(list((tmp_path / "lost+found").iterdir())) == 1
    finally:
        system.stop()
