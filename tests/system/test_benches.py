"""The benchmarks run, on a small scale and without judging the time; what they find is added to the results."""

import re
from dataclasses import replace

import pytest

from bench import (
    dkim_speed,
    evthr_stress,
    filter_cost,
    filter_load,
    guard,
    idle_connections,
    null_policy,
    queue_tools,
    slow_fsync,
    source,
    st_switch,
)
from bench.relay_load import LOADS, Burst
from bench.relays import Use
from bench.results import percentile, record
from meta1g.rcb.smtps_pmilter import Capability
from tests.fakes.smtp_server import ScriptedServer

pytestmark = pytest.mark.system


def test_an_idle_connection_is_cheap(capfd):
    assert idle_connections.main(["--connections", "300", "--rate", "300", "--limit-kib", "20"]) == 0
    assert "each after EHLO" in capfd.readouterr().out


def test_idle_connections_that_cost_too_much_are_an_error(capfd):
    assert idle_connections.main(["--connections", "50", "--rate", "300", "--limit-kib", "0.01"]) == 1


def test_noop_is_measured_while_flushes_are_slow(capfd):
    few = ["--sessions", "10", "--senders", "4", "--seconds", "1", "--flush-ms", "30", "--limit-ms", "10000"]
    assert slow_fsync.main(few) == 0
    assert "messages/s" in capfd.readouterr().out


def test_many_destinations_are_fed_by_one_source_until_a_server_refuses():
    with ScriptedServer() as server:
        assert source.main(["--sessions", "3", "--messages", "7", "--domains", "2", "--size", "500", str(server.port)]) == 0
        rcpts = sorted(line for seen in server.connections for line in seen.commands if line.startswith("RCPT"))
        assert rcpts == ["RCPT TO:<rcpt@d0.example>"] * 4 + ["RCPT TO:<rcpt@d1.example>"] * 3
        assert {len(content) for content in server.contents} == {500}
    with (
        ScriptedServer({"MAIL": "451 4.3.0 later\r\n"}) as server,
        pytest.raises(source.SourceError, match=r"451 4\.3\.0 later"),
    ):
        source.main(["--messages", "1", str(server.port)])


def test_a_message_that_costs_more_than_the_record_is_told():
    assert guard.verdict(120.0, 100.0) == "MORE (+20 %)"
    assert guard.verdict(80.0, 100.0) == "less (-20 %)"
    assert guard.verdict(104.0, 100.0) == "as recorded (+4 %)"
    assert guard.verdict(1.0, None) == "no record"
    assert guard.piece_ms() > 0


def test_state_threads_and_event_threads_are_measured(capfd):
    assert st_switch.main(["--rounds", "1"]) == 0
    report = evthr_stress.Stress(5000, 4, timers=50, seed=3).run()
    assert evthr_stress.figures_of(report)["timers lost or doubled"] == "0 of 50"


def test_what_filters_cost_is_measured(capfd, monkeypatch):
    monkeypatch.setattr(filter_cost, "WAYS", (("1 by pmult", 1, True),))
    assert filter_cost.main(["--sessions", "4", "--clients", "2"]) == 0
    assert re.search(r"1 by pmult: [\d,]+/s, [\d.]+ ms", capfd.readouterr().out)


def test_the_policy_milter_that_does_nothing_is_asked_everything_and_agrees():
    filter_ = null_policy.NullPolicy()
    wanted = Capability.CNNCT | Capability.EHLO | Capability.MAIL | Capability.RCPT | Capability.MSG | Capability.DOT
    assert filter_.wants() & wanted == wanted


def test_filters_are_shown_beside_each_other_and_against_none(capsys):
    def turns(rate, cpu_s):
        burst = Burst(replace(LOADS["a"], messages=100), 100 / rate, Use({"smtps": cpu_s}))
        return [filter_load.Turn(burst, 0.5)]

    found = {
        ("a", "none", "meta1g"): turns(100, 1),
        ("a", "milter", "meta1g"): turns(50, 2),
        ("a", "milter", "postfix"): turns(25, 4),
    }
    filter_load.show(LOADS["a"], "milter", found)
    cells = [cell.strip() for cell in capsys.readouterr().out.split("|")]
    assert cells[3:6] == ["50.00 : 25.00", "20.00 : 40.00", "0.50 : 0.50"]
    assert cells[6:9] == ["2.00 (2.00-2.00)", "0.50 (0.50-0.50)", "0.50 (0.50-0.50) : -"]
    with pytest.raises(SystemExit):
        filter_load.main(["--only", "nothing"])


def test_signing_and_verifying_are_measured(capfd, monkeypatch):
    monkeypatch.setattr(dkim_speed, "SIZES", {"4 KiB": 4096})
    monkeypatch.setattr("sys.argv", ["bench/dkim", "--seconds", "0.01"])
    dkim_speed.main()
    lines = capfd.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        f"{kind}, 4 KiB, {way}" for kind in ("RSA 2048", "Ed25519") for way in ("sign", "verify")
    ]


def test_a_row_goes_to_its_section_and_leaves_the_others_alone(tmp_path):
    path = tmp_path / "RESULTS.md"
    path.write_text("# Results\n\n## Relay\n\n| a |\n| --- |\n| 1 |\n\nA last word.\n")
    record("Own", "What it is.", "bench/own", {"x": "1"}, path)
    record("Other", "Another.", "bench/other", {"y": "2"}, path)
    record("Own", "What it is.", "bench/own", {"x": "3"}, path)
    text = path.read_text()
    assert text.startswith("# Results\n\n## Relay\n\n| a |\n| --- |\n| 1 |\n\nA last word.\n\n## Own\n")
    assert [line.split(" | ")[-1] for line in text.splitlines() if "`bench/" in line] == ["1 |", "3 |", "2 |"]
    with pytest.raises(ValueError, match="other columns"):
        record("Own", "What it is.", "bench/own", {"z": "1"}, path)


def test_a_percentile_is_a_value_that_occurred():
    assert percentile([5.0, 1.0, 3.0], 50) == 3.0
    assert percentile([1.0], 99) == 1.0
    assert percentile([float(n) for n in range(100)], 99) == 99.0


def test_a_queue_is_filled_and_what_its_operator_needs_is_measured(capfd):
    assert queue_tools.main(["--count", "1500", "--short", "300", "--seconds", "0.5"]) == 0
    out = capfd.readouterr().out
    assert re.search(r"removed +[1-9]\d* in", out)
    assert re.search(r"qmgr +\d+ MB", out)
