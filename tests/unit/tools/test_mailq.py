import json
import time

import pytest

from meta1g.base import paths
from meta1g.rcb.control import PROTOCOL, CommandResult
from meta1g.tools import mailq
from tests.fakes.rcb_server import RcbServer

NOW = 1_700_000_000.0


def row(number, idx=0, **facts):
    base = {
        "ta": f"S{number}", "rcpt_idx": idx, "rcpt": f"r{idx}@to.example", "mail": "s@from.example", "size": 1234,
        "entered": NOW - 100 + number, "where": "defedb", "tries": 2, "next_try": NOW + 600, "status": "", "remote_mta": "",
    }  # fmt: skip
    return {**base, **facts}


def test_an_empty_queue_says_so():
    assert list(mailq.listing([], NOW)) == ["the queues are empty"]


def test_each_message_has_a_line_and_each_recipient_one():
    lines = list(mailq.listing([row(1, 1, status="450 4.2.1 busy"), row(1, 0), row(2, 0, where="aq ready", tries=0)], NOW))
    stamp = time.strftime("%a %b %e %H:%M:%S", time.localtime(NOW - 99))
    assert lines[:4] == [
        f"S1       1234  {stamp}  <s@from.example>",
        "    <r0@to.example>  next try in 10m, 2 tries",
        "    <r1@to.example>  next try in 10m, 2 tries",
        "        450 4.2.1 busy",
    ]
    assert lines[5] == "    <r0@to.example>  aq ready, 0 tries"
    assert lines[-1] == "-- 3 recipients in 2 messages"


def test_the_oldest_message_comes_first_and_a_bounce_stands_beside_it():
    lines = list(mailq.listing([row(2), row(1, 1, mail=""), row(1, 0)], NOW))
    assert [line.split()[0] + line.split()[-1] for line in lines if line.startswith("S")] == [
        "S1<>",
        "S1<s@from.example>",
        "S2<s@from.example>",
    ]


def test_what_a_sender_wrote_is_shown_in_printable_characters():
    text = "\n".join(mailq.listing([row(1, rcpt="\x1b[2J@x", mail="\udcff@y", status="\x07")], NOW))
    assert "\\x1B[2J@x" in text
    assert "\\xFF@y" in text
    assert text.isascii()
    assert "\x07" not in text


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_the_program_asks_qmgr_and_prints_the_list(tmp_path, capsys, options):
    conf = tmp_path / "meta1.conf"
    conf.write_text(f'queue_directory = "{tmp_path}";\n')

    def handle(conn, request_id, msg):
        more = "next" if msg.words == ("queue",) else ""
        rows = [row(1)] if more else [row(2)]
        conn.send(CommandResult(exit_code=0, text=json.dumps(rows), more=more), request_id)

    with RcbServer(tmp_path / paths.QMGR_CONTROL_SOCKET, PROTOCOL, handle):
        assert mailq.main(["-f", str(conf), *options]) == 0
    out = capsys.readouterr().out
    if options:
        assert json.loads(out) == [row(1), row(2)]
    else:
        assert out.endswith("-- 2 recipients in 2 messages\n")
