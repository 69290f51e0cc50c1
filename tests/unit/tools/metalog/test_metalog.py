"""metalog as a program on files: what is asked for is found by every way, in every format, packed and rotated."""

import bz2
import contextlib
import gzip
import json
import lzma
import os
import re
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from contrib.lib.gateway import ROOT
from meta1g.base import sysexits
from meta1g.base.cli import CliError
from meta1g.tools import rcvrenvfromlog
from meta1g.tools.metalog import main, stories
from tests.jsonshapes import Shapes
from tests.unit.tools.metalog.logs import START, written

SESS, TA1, TA2 = "S00064E96F6D5C5F000", "S00064E96F6D5C5F100", "S00064E96F6D5C5F200"
SESS2, TA3 = "S00064E96F6D5C5F300", "S00064E96F6D5C5F400"
SESS3 = "S00064E96F6D5C5F500"
DA = "C00064E96F6D5C5F600"
WHO = {"ss_sess": SESS, "client": "192.0.2.1", "client_name": "mail.client.example"}
WHO2 = {"ss_sess": SESS2, "client": "2001:db8::7"}


def message(after, who, ta_id, mail, rcpt, **keys):
    """The lines of a message until it is in the queue."""
    facts = {"ss_ta": ta_id, "mail": mail, "size": 9, "rcpts": 1}
    return [
        (after, "smtps.rcpt", "ok", {"ss_ta": ta_id, "rcpt_idx": 0, "rcpt": rcpt}),
        (
            after + 0.1,
            "smtps.message",
            "ok",
            {**who, **facts, "reply": 250, **keys},
        ),
        (after + 0.2, "qmgr.accept", "ok", facts),
    ]


def delivered(after, ta_id, mail, rcpt, relay):
    facts = {"ss_ta": ta_id, "rcpt_idx": 0, "mail": mail, "rcpt": rcpt, "relay": relay, "reply": 250, "ecode": "2.0.0"}
    return (after, "qmgr.delivered", "kept", {**facts, "delay_ms": 1000.0, "tries": 0})


EVENTS = [
    (0, "smtps.connect", "ok", WHO),
    *message(1, WHO, TA1, "one@a.example", "r@b.example", msgid="<42@a.example>"),
    delivered(2, TA1, "one@a.example", "r@b.example", "mx.b.example[203.0.113.5]"),
    *message(3, WHO, TA2, "two@a.example", "other@b.example"),
    (4, "smtpc.deliver", "kept",
     {"ss_ta": TA2, "da_sess": DA, "da_ta": TA2, "rcpt": "other@b.example", "server": "203.0.113.6"}),
    (4.5, "smtpc.session", "closed", {"da_sess": DA, "server": "203.0.113.6"}),
    (5, "smtps.connect", "ok", WHO2),
    *message(6, WHO2, TA3, "one@a.example", "x@c.example"),
    (7, "smtps.connect_refused", "554 5.7.1 go away", {"ss_sess": SESS3, "client": "198.51.100.9", "reply": 554}),
]  # fmt: skip


@pytest.fixture(params=["classic", "json"])
def log(request, tmp_path):
    path = tmp_path / "meta1g.log"
    path.write_text("\n".join(written(EVENTS, request.param)) + "\n")
    os.utime(path, (START + 10, START + 10))
    return path


def found(capsys, *arguments) -> set[str]:
    """The ids that are found."""
    code = main.main(["--short", *map(str, arguments)])
    ids = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert code == (sysexits.EX_OK if ids else main.NOTHING_FOUND)
    return ids


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([TA1], {TA1}), ([TA1.lower()], {TA1}), ([f"{TA1}-0000"], {TA1}), (["--id", f"{TA2}-0000"], {TA2}),
        ([SESS], {TA1, TA2}), (["--session", SESS2], {TA3}), (["--session", DA], {TA2}), (["--session", TA1], set()),
        (["42@a.example"], {TA1}), (["<42@a.example>"], {TA1}), (["--msgid", "<42@a.example>"], {TA1}),
        (["one@a.example"], {TA1, TA3}), (["ONE@A.Example"], {TA1, TA3}), (["<one@a.example>"], {TA1, TA3}),
        (["--rcpt", "one@a.example"], set()), (["--rcpt", "r@b.example"], {TA1}), (["--rcpt", "@b.example"], {TA1, TA2}),
        (["--sender", "@a.example"], {TA1, TA2, TA3}), (["--sender", "a.example"], set()),
        (["192.0.2.1"], {TA1, TA2}), (["[192.0.2.1]"], {TA1, TA2}), (["--client", "192.0.2.1"], {TA1, TA2}),
        (["192.0.2.11"], set()), (["2001:DB8:0::7"], {TA3}), (["mail.client.example"], {TA1, TA2}),
        (["198.51.100.9"], {SESS3}), (["--dest", "198.51.100.9"], set()),
        (["203.0.113.5"], {TA1}), (["--dest", "mx.b.example"], {TA1}), (["--dest", "203.0.113.6"], {TA2}),
        (["--dest", "b.example"], {TA1, TA2}), (["b.example"], {TA1, TA2}), (["c.example"], {TA3}),
        (["one@a.example", "b.example"], {TA1}), (["--sender", "one@a.example", "--client", "2001:db8::7"], {TA3}),
        (["--rcpt", "r@b.example", "--rcpt", "other@b.example"], set()), (["nobody@nowhere.example"], set()),
    ],
)  # fmt: skip
def test_what_is_asked_for_is_found(capsys, log, asked, expected):
    assert found(capsys, "--log", log, *asked) == expected


@pytest.mark.parametrize("pattern", [".*", "a.example|b", "*@b.example", "one@a_example", "\\", "a\\x2Cb", '"', "<>"])
def test_what_is_asked_for_is_a_text_and_no_pattern(capsys, log, pattern):
    assert found(capsys, "--log", log, pattern) == set()


def test_an_address_with_any_characters_is_found(capsys, tmp_path):
    for number, address in enumerate(['"a,b\\"c"@x.example', "gr\u00fc\u00dfe@x.example", 'x\\"\\y@x.example']):
        for format_name in ("classic", "json"):
            path = tmp_path / f"{number}{format_name}"
            path.write_text("\n".join(written(message(0, WHO, TA1, "s@y", address), format_name)))
            assert found(capsys, "--log", path, address) == {TA1}


def test_the_text_has_heading_verdict_and_timeline(capsys, log):
    assert main.main(["--log", str(log), TA1]) == sysexits.EX_OK
    heading, verdict, *rows = capsys.readouterr().out.splitlines()
    assert heading == (
        f"{TA1}, 9 bytes, from <one@a.example>, by mail.client.example [192.0.2.1], Message-ID <42@a.example>, session {SESS}"
    )
    assert verdict == "  delivered to mx.b.example[203.0.113.5] after 1 try in 1.000 s: 250 2.0.0 kept"
    assert [[*row.split()[1:3], next(word for word in row.split()[3:] if "." in word)] for row in rows] == [
        ["+0.000", "s", "smtps.connect"], ["+1.000", "s", "smtps.rcpt"], ["+1.100", "s", "smtps.message"],
        ["+1.200", "s", "qmgr.accept"], ["+2.000", "s", "qmgr.delivered"],
    ]  # fmt: skip
    assert rows[0].startswith("    2026-11-27T04:55:45.000000Z ")
    assert rows[-1].endswith("delay_ms=1000.000 tries=0: kept")


def test_a_session_with_a_server_has_its_lines_in_the_story(capsys, log):
    assert main.main(["--log", str(log), "--json", TA2]) == sysexits.EX_OK
    (story,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert [row["event"] for row in story["timeline"]] == [
        "smtps.connect", "smtps.rcpt", "smtps.message", "qmgr.accept", "smtpc.deliver", "smtpc.session",
    ]  # fmt: skip


def test_json_has_everything(capsys, log):
    assert main.main(["--log", str(log), "--json", TA1]) == sysexits.EX_OK
    story = json.loads(capsys.readouterr().out)
    Shapes.of_page().check("story", story)
    timeline = story.pop("timeline")
    assert story == {
        "id": TA1, "session": SESS, "over": True, "sender": "one@a.example", "msgid": "<42@a.example>", "size": 9,
        "verdict": "delivered to mx.b.example[203.0.113.5] after 1 try in 1.000 s: 250 2.0.0 kept",
        "client": "mail.client.example [192.0.2.1]",
        "recipients": [{
            "rcpt": "r@b.example", "fate": "delivered", "text": "delivered to mx.b.example[203.0.113.5]: 250 2.0.0 kept",
            "tries": 1, "delay_ms": 1000.0, "report": False, "alias": None,
        }],
    }  # fmt: skip
    assert [round(row["after_ms"]) for row in timeline] == [0, 1000, 1100, 1200, 2000]
    assert timeline[1].items() >= {"process": "smtps", "event": "smtps.rcpt", "rcpt": "r@b.example", "stat": "ok"}.items()


@pytest.mark.parametrize(
    ("span", "asked", "expected"),
    [
        (["--since", "2026-11-27T04:55:50Z"], "one@a.example", {TA3}),
        (["--until", "2026-11-27T04:55:47Z"], "one@a.example", {TA1}),
        (["--since", "2026-11-27T04:55:48.5Z", "--until", "2026-11-27T04:55:49.1Z"], "203.0.113.6", {TA2}),
        (["--since", "2026-11-27T04:55:47.5Z"], "192.0.2.1", {TA2}), (["--since", "2026-11-28T00:00:00Z"], "192.0.2.1", set()),
    ],
)  # fmt: skip
def test_what_was_seen_in_a_time_is_told_of_as_a_whole(capsys, log, span, asked, expected):
    assert found(capsys, "--log", log, *span, asked) == expected
    main.main(["--log", str(log), *span, "--json", asked])
    for story in map(json.loads, capsys.readouterr().out.splitlines()):
        Shapes.of_page().check("story", story)
        assert story["timeline"][0]["event"] == "smtps.connect"


def configuration(directory, logs='log { file = "../log/all.log"; }'):
    """A configuration whose queue is in a directory."""
    for name in ("queue", "log"):
        (directory / name).mkdir()
    conf = directory / "meta1.conf"
    conf.write_text(f'queue_directory = "{directory}/queue";\n{logs}\n')
    return conf


def test_the_files_of_the_configuration_are_read_with_what_rotation_made_of_them(capsys, tmp_path):
    conf = configuration(tmp_path)
    logs = tmp_path / "log"
    classic, json_lines = (list(written(EVENTS, name)) for name in ("classic", "json"))
    names = {
        "all.log": ("".join(f"{line}\n" for line in json_lines[12:]).encode(), 0),
        "all.log.1": ("".join(f"{line}\n" for line in classic[9:12]).encode(), 100),
        "all.log.2.gz": (gzip.compress("".join(f"{line}\n" for line in json_lines[6:9]).encode()), 200),
        "all.log-20261125.xz": (lzma.compress("".join(f"{line}\n" for line in classic[3:6]).encode()), 300),
        "all.log-20261124-1.bz2": (bz2.compress("".join(f"{line}\n" for line in classic[:3]).encode()), 400),
        "all.log.bak": ("".join(f"{line}\n" for line in classic).replace(TA1, TA3).encode(), 500),
        "all.logs": (b"\n", 500),
    }
    for name, (data, age) in names.items():
        (logs / name).write_bytes(data)
        os.utime(logs / name, (START - age, START - age))
    arguments = ["-f", str(conf)]
    assert found(capsys, *arguments, "--client", "192.0.2.1") == {TA1, TA2}
    assert main.main([*arguments, "--json", TA1]) == 0
    events = [row["event"] for row in json.loads(capsys.readouterr().out)["timeline"]]
    assert events == ["smtps.connect", "smtps.rcpt", "smtps.message", "qmgr.accept", "qmgr.delivered"]
    assert found(capsys, *arguments, "--since", "2026-11-27T04:55:46Z", TA3) == set(), (
        "a file that was written last before is not read"
    )


def test_each_process_may_have_a_file_and_standard_error_is_read_too(capsys, tmp_path):
    conf = configuration(tmp_path, 'smtps { log { file = "../log/in.log"; } }\nqmgr { log { file = "../log/q.log"; } }')
    lines = written(EVENTS)
    for name, part in (("log/in.log", "smtps["), ("log/q.log", "qmgr["), ("queue/smtpc.log", "smtpc[")):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines if part in line))
    assert found(capsys, "-f", conf, "example.net") == set()
    for asked, expected in ((TA1, {TA1}), ("203.0.113.6", {TA2}), (SESS, {TA1, TA2})):
        assert found(capsys, "-f", conf, asked) == expected
    main.main(["-f", str(conf), "--json", TA1])
    assert json.loads(capsys.readouterr().out)["verdict"].startswith("delivered to mx.b.example[203.0.113.5]")


def test_a_file_that_has_two_names_is_read_once(capsys, tmp_path):
    conf = configuration(tmp_path, 'log { file = "../log/all.log"; } smtps { log { file = "../queue/../log/all.log"; } }')
    (tmp_path / "log/all.log").write_text("".join(f"{line}\n" for line in written(EVENTS)))
    assert main.main(["-f", str(conf), "--json", TA1]) == 0
    events = [row["event"] for row in json.loads(capsys.readouterr().out)["timeline"]]
    assert len(events) == len(set(events)) == 5


def test_no_file_and_a_file_out_of_reach_are_said(tmp_path):
    conf = configuration(tmp_path)
    with pytest.raises(CliError, match=r"no log file is there; looked for .*all\.log") as caught:
        main.main(["-f", str(conf), "x"])
    assert caught.value.exit_code == sysexits.EX_NOINPUT
    with pytest.raises(CliError, match="none: no such file"):
        main.main(["--log", str(tmp_path / "none"), "x"])


def test_a_packing_that_is_not_built_in_is_said_and_the_other_files_are_read(capsys, tmp_path):
    conf = configuration(tmp_path)
    (tmp_path / "log/all.log.2.zst").write_bytes(b"(\xb5/\xfd")
    (tmp_path / "log/all.log").write_text("".join(f"{line}\n" for line in written(EVENTS)))
    assert main.main(["-f", str(conf), "--short", TA1]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{TA1} delivered")
    assert "all.log.2.zst: passed over: its packing is not built in; unpack it and pipe it in" in said.err


def test_what_is_damaged_or_of_others_is_counted_and_nothing_else_is_lost(capsys, log):
    lines = log.read_text().splitlines()
    torn = [line[: len(line) // 2] for line in lines if "sevr" in line[: len(line) // 2]]
    foreign = ["Nov 27 04:55:45 mx1 sshd[1]: x", "\0" * 500, "Traceback"]
    log.write_bytes("\n".join([*foreign, *lines, *torn, "y" * 200_000]).encode() + b"\n\xff\xfe\n" + torn[0].encode())
    assert main.main(["--log", str(log), "--short", SESS, "r@b.example"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{TA1} delivered to")
    assert re.search(r"passed over: \d+ lines of other programs", said.err)
    assert f"passed over: {len(torn) + 1} damaged lines" in said.err


LINES = [line for name in ("classic", "json") for line in written(EVENTS, name)]
DAMAGE = some.lists(
    some.tuples(some.integers(0, 10**6), some.sampled_from([b"", b"\0", b"9" * 30, b"\xff", b", ", b'"', b"=", b"-"])),
    min_size=1,
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DAMAGE, some.sampled_from([TA1, "one@a.example", SESS, "203.0.113.6"]))
def test_no_damage_stops_it(tmp_path, capsys, damage, asked):
    data = bytearray("\n".join(LINES).encode())
    for place, other in damage:
        data[place % len(data) : place % len(data) + 1] = other
    (tmp_path / "log").write_bytes(data)
    arguments = ["--log", str(tmp_path / "log")]
    assert main.main([*arguments, asked]) in (sysexits.EX_OK, main.NOTHING_FOUND)
    assert main.main([*arguments, "--json", asked]) in (sysexits.EX_OK, main.NOTHING_FOUND)
    assert rcvrenvfromlog.main(arguments) == rcvrenvfromlog.main([*arguments, "--list"]) == sysexits.EX_OK
    assert capsys.readouterr().out.isascii()


@pytest.mark.parametrize("key", ["rcpt_idx", "size", "delay_ms", "tries", "count", "reply", "next_try"])
@pytest.mark.parametrize("value", ["", "-1", "9" * 900, "1e5", "x", "\u0663", "0x1"])
def test_a_number_that_is_none_stops_nothing(tmp_path, capsys, key, value):
    lines = [re.sub(f"{key}=[^,]*", f"{key}={value}", line) for line in written(EVENTS)]
    (tmp_path / "log").write_text("\n".join(lines))
    assert main.main(["--log", str(tmp_path / "log"), TA1]) == sysexits.EX_OK
    assert main.main(["--log", str(tmp_path / "log"), "--json", TA1]) == sysexits.EX_OK
    assert rcvrenvfromlog.main(["--log", str(tmp_path / "log")]) == sysexits.EX_OK


def test_a_packed_file_that_ends_too_early_gives_what_is_in_it(capsys, tmp_path):
    text = "".join(f"{line}\n" for line in written(EVENTS) * 50).encode()
    (tmp_path / "log.gz").write_bytes(gzip.compress(text)[:-40])
    assert found(capsys, "--log", tmp_path / "log.gz", TA1) == {TA1}
    main.main(["--log", str(tmp_path / "log.gz"), TA1])
    assert "log.gz: cannot be read to its end" in capsys.readouterr().err


def test_memory_is_bounded_and_what_is_left_out_is_counted(capsys, log, monkeypatch):
    monkeypatch.setattr(stories, "LINES_MAX", 3)
    main.main(["--log", str(log), SESS])
    assert "passed over: 6 lines of messages beyond those that fit into memory" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setattr(stories, "STORIES_MAX", 1)
    assert main.main(["--log", str(log), "--short", "--sender", "one@a.example"]) == 0
    said = capsys.readouterr()
    assert said.out.split()[0] == TA3
    assert "passed over: 1 further messages, older" in said.err


@contextlib.contextmanager
def run(*arguments, **how):
    command = [sys.executable, "-c", "from meta1g.tools.metalog.main import run; run()", *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, **how) as process:
        try:
            yield process
        finally:
            process.terminate()


def test_standard_input_is_read_as_often_as_it_is_needed(log):
    with log.open() as file, run("--log", "-", "--short", "--rcpt", "r@b.example", stdin=file) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.startswith(f"{TA1} delivered")


def test_following_tells_what_comes_through_rotation_and_truncation(tmp_path):
    path = tmp_path / "log"
    lines = written(EVENTS)
    path.write_text("".join(f"{line}\n" for line in lines[:3]))
    with run("--log", path, "--short", "--follow", TA1, TA1) as process, open(tmp_path / "seen", "w") as seen:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first == f"{TA1} in the queue, not tried yet\n"
        seen.write(first)
        path.rename(tmp_path / "log.1")
        with (tmp_path / "log.1").open("a") as old:
            old.write(f"{lines[3]}\n")
        path.write_text("foreign\n")
        assert "qmgr.accept" in process.stdout.readline()
        with path.open("a") as new:
            new.write(lines[4][:50])
            new.flush()
            new.write(lines[4][50:] + "\n" + lines[7] + "\n")
        assert "qmgr.delivered" in process.stdout.readline()
        assert process.stdout.readline().startswith(f"{TA1} delivered to mx.b.example[203.0.113.5] after 1 try")
        process.terminate()
        assert process.wait(60) != 0


@pytest.mark.parametrize(
    "arguments", [[], ["--since", "yesterday", "x"], ["--follow", "--json", "x"], ["--since", "25:00", "x"]]
)
def test_a_wrong_command_line_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main.main(arguments)
    assert caught.value.code == sysexits.EX_USAGE
    assert capsys.readouterr().err.startswith("metalog: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-27T04:55:45Z", START), ("1795755345", START), ("2h", START - 7200), ("1d2h", START - 93600),
        ("2026-11-27", START - 17745), ("2026-11-27 04:55", START - 45), ("04:30", START - 1545), ("04:30:10", START - 1535),
    ],
)  # fmt: skip
def test_times_as_people_write_them(monkeypatch, text, expected):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        assert main.parse_when(text, START) == expected
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_large_log_is_read_without_keeping_it(tmp_path):
    path = tmp_path / "log"
    lines = written(EVENTS)
    other = "".join(f"{line}\n" for line in lines).replace(TA1, "S00064E96F6D5C5FA00")
    with path.open("w") as file:
        for _ in range(4000):
            file.write(other)
        file.write("".join(f"{line}\n" for line in lines))
    program = f"{sys.executable} -c 'from meta1g.tools.metalog.main import run; run()'"
    limited = f"ulimit -v 400000; exec {program} --log {path} --short {TA1}"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-c", limited], capture_output=True, text=True, env=env, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{TA1} delivered to")
