import json
import time

import pytest

from meta1g.base import paths, sysexits
from meta1g.base.cli import CliError
from meta1g.rcb.control import PROTOCOL, CommandResult
from meta1g.tools import mailq, queueview
from tests.fakes.rcb_server import RcbServer

NOW = 1_700_000_000.0


def row(number, idx=0, **facts):
    base = {
        "ta": f"S{number}", "rcpt_idx": idx, "rcpt": f"r{idx}@to.example", "mail": "s@from.example", "size": 1234,
        "entered": NOW - 100 + number, "where": "defedb", "tries": 2, "next_try": NOW + 600, "status": "", "remote_mta": "",
    }  # fmt: skip
    return {**base, **facts}


def short(*rows):
    return list(queueview.short([rows], NOW))


def test_each_message_has_a_line_and_each_recipient_one():
    lines = short(row(1, 0), row(1, 1, status="450 4.2.1 busy"), row(2, 0, where="aq ready", tries=0))
    stamp = time.strftime("%a %b %e %H:%M:%S", time.localtime(NOW - 99))
    assert lines[:4] == [
        f"S1       1234  {stamp}  <s@from.example>",
        "    <r0@to.example>  next try in 10m, 2 tries",
        "    <r1@to.example>  next try in 10m, 2 tries",
        "        450 4.2.1 busy",
    ]
    assert lines[5] == "    <r0@to.example>  aq ready, 0 tries"


def test_a_message_goes_on_from_one_page_to_the_next_and_a_bounce_stands_beside_it():
    pages = [[row(1, 0)], [row(1, 1), row(1, 2, mail="")], [row(2)]]
    assert [line.split()[0] + line.split()[-1] for line in queueview.short(pages, NOW) if line.startswith("S")] == [
        "S1<s@from.example>",
        "S1<>",
        "S2<s@from.example>",
    ]


def test_what_a_sender_wrote_is_shown_in_printable_characters():
    rows = [row(1, rcpt="\x1b[2J@x", mail="\udcff@y", status="\x07")]
    for lines in (queueview.short([rows], NOW), queueview.wide([rows])):
        text = "\n".join(lines)
        assert "\\x1B[2J@x" in text
        assert "\\xFF@y" in text
        assert text.isascii()
        assert "\x07" not in text


def test_json_has_times_as_times_and_none_where_there_is_none():
    lines = list(queueview.json_lines([[row(1), row(2, where="held", next_try=32_503_680_000.0)]], NOW))
    first, second = json.loads("\n".join(lines))
    assert (first["id"], first["entered"], first["next_try"]) == ("S1-0000", "2023-11-14T22:11:41Z", "2023-11-14T22:23:20Z")
    assert (first["age_s"], second["next_try"]) == (99.0, None)
    assert json.loads("\n".join(queueview.json_lines([], NOW))) == []


@pytest.fixture
def run(tmp_path, capsys):
    """A qmgr that answers with two pages, or as a test wants; runs mailq."""
    conf = tmp_path / "meta1.conf"
    conf.write_text(f'queue_directory = "{tmp_path}";\n')
    asked, pages = [], [([row(1), row(1, 1)], "next"), ([row(2)], "")]

    def handle(conn, request_id, msg):
        asked.append(msg.words)
        rows, more = pages[1 if "--after" in msg.words else 0]
        conn.send(CommandResult(exit_code=0, text=json.dumps(rows), more=more), request_id)

    def run(*options):
        code = mailq.main(["-f", str(conf), *options])
        return code, capsys.readouterr().out

    with RcbServer(tmp_path / paths.QMGR_CONTROL_SOCKET, PROTOCOL, handle):
        run.asked, run.pages, run.capsys = asked, pages, capsys
        yield run


def test_the_program_asks_page_by_page_with_the_same_selector(run):
    code, out = run("age=1d", "to.example")
    assert (code, out.endswith("-- 3 recipients in 2 messages\n")) == (0, True)
    assert run.asked == [
        ("queue", "--stored", "age=1d", "to.example"), ("queue", "--stored", "age=1d", "to.example", "--after", "next"),
    ]  # fmt: skip


def test_json_of_all_pages_is_one_array(run):
    code, out = run("--json")
    assert code == 0
    assert [one["id"] for one in json.loads(out)] == ["S1-0000", "S1-0001", "S2-0000"]


def test_a_limited_list_says_where_the_next_one_begins(run):
    code, out = run("--limit", "1")
    assert (code, out.splitlines()[-1]) == (0, "-- 1 recipients in 1 messages; more: --after S1-0000")
    assert run.asked == [("queue", "--stored")]
    assert "more:" not in run("--limit", "3")[1]
    assert run("--after", "S1-0001")[1].endswith("-- 1 recipients in 1 messages\n")
    assert run.asked[-1] == ("queue", "--stored", "--after", "S1-0001")
    assert "--after S1-0000" in run("--wide", "--limit", "1")[1].splitlines()[-1]


def test_an_empty_queue_is_no_mistake_a_selector_that_matches_nothing_is_one(run):
    run.pages[:] = [([], "next"), ([], "")]
    for words in ((), ("all",), ("--wide",)):
        assert run(*words) == (0, "the queues are empty\n")
    with pytest.raises(CliError, match=r"no recipient in the queues matches exmaple\.org") as caught:
        run("exmaple.org")
    assert caught.value.exit_code == sysexits.EX_NOINPUT


def test_counts_and_shapes_are_tables():
    ages = [0] * 10
    result = {
        "by": "domain", "ages_min": list(range(1, 10)), "total": 7, "ages": [7, *ages[1:]],
        "others": 2, "others_ages": [2, *ages[1:]],
        "rows": [{"key": "a.example", "total": 4, "ages": [4, *ages[1:]]}, {"key": "", "total": 1, "ages": [1, *ages[1:]]}],
    }  # fmt: skip
    assert [line.split(None, 1) for line in queueview.counts(result).splitlines()] == [
        ["recipients", "domain"], ["4", "a.example"], ["1", "<>"], ["2", "(others)"], ["7", "all together"],
    ]  # fmt: skip
    lines = [line.split() for line in queueview.shape(result).splitlines()]
    assert lines[0] == ["domain", "T", *map(str, range(1, 10)), "9+"]
    assert [line[:2] for line in lines[1:]] == [["TOTAL", "7"], ["a.example", "4"], ["<>", "1"], ["(others)", "2"]]
    assert {len(line) for line in queueview.shape(result).splitlines()} == {len(queueview.shape(result).splitlines()[0])}


@pytest.mark.parametrize(
    "options",
    [("--shape", "age", "--limit", "3"), ("--json", "--wide"), ("--limit", "0"), ("--limit", "x"), ("--counts", "x")],
)
def test_options_that_do_not_go_together_are_refused(options, capsys):
    with pytest.raises(SystemExit) as caught:
        mailq.main(list(options))
    assert caught.value.code == sysexits.EX_USAGE
    assert "_positive" not in capsys.readouterr().err
