import subprocess
import sys

import pytest

from meta1g.db.mapfile import MapFile
from meta1g.tools.createmap import read_map

SOURCE = """\
# comment
Postmaster:\troot
list: a@x.example,
   b@y.example
[127.0.0.1]   lmtp:
cltaddr:10.1  reject
bare
"""


def createmap(*arguments, text):
    return subprocess.run(
        [sys.executable, "-c", "from meta1g.tools.createmap import run; run()", *map(str, arguments)],
        input=text if isinstance(text, bytes) else text.encode(), capture_output=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("options", [[], ["-t", "btree"]])
def test_text_becomes_a_map_with_lower_case_keys(tmp_path, options):
    path = tmp_path / "a.db"
    result = createmap(*options, path, text=SOURCE)
    assert (result.returncode, result.stderr) == (0, b"")
    opened = MapFile.open(path)
    found = {key: opened.get(key) for key in (b"postmaster", b"list", b"[127.0.0.1]", b"cltaddr:10.1", b"bare", b"Postmaster")}
    opened.close()
    assert found == {
        b"postmaster": b"root", b"list": b"a@x.example, b@y.example", b"[127.0.0.1]": b"lmtp:",
        b"cltaddr:10.1": b"reject", b"bare": b"", b"Postmaster": None,
    }  # fmt: skip


def test_every_duplicate_and_bad_line_is_reported_and_nothing_replaced(tmp_path):
    path = tmp_path / "a.db"
    createmap(path, text="a 1\n")
    before = path.read_bytes()
    result = createmap(path, text="a 1\nb 2\nA 3\n\n# x\nc 4\0\nb: 5\n")
    assert result.returncode == 65
    assert result.stderr.decode().splitlines() == [
        "createmap: standard input:3: key A: is already at standard input:1; remove one",
        "createmap: standard input:6: key c: has a character that is not seen, U+0000; remove it",
        "createmap: standard input:7: key b: is already at standard input:2; remove one",
        f"createmap: {path} is left as it was: mend the lines above",
    ]
    assert path.read_bytes() == before


def test_input_has_to_be_utf8(tmp_path):
    result = createmap(tmp_path / "a.db", text=b"a \xff\n")
    assert (result.returncode, list(tmp_path.iterdir())) == (65, [])
    assert b"standard input:1: key a: byte 0xff is no UTF-8; save the file as UTF-8" in result.stderr


def test_utf8_is_kept():
    assert read_map("jürgen@x.example ok é\n".encode())[0] == {"jürgen@x.example".encode(): "ok é".encode()}


def test_a_directory_that_is_not_there_is_named(tmp_path):
    result = createmap(tmp_path / "no" / "a.db", text="a b\n")
    assert result.returncode == 78
    assert b"cannot write map" in result.stderr


def test_help_and_wrong_options_end_as_they_should(tmp_path):
    assert createmap("--help", text="").returncode == 0
    assert createmap("-t", "cidr", tmp_path / "a.db", text="").returncode == 64
    assert createmap(text="").returncode == 64


def test_an_empty_source_does_not_replace_a_full_map_unless_it_is_asked_for(tmp_path):
    path = tmp_path / "a.db"
    assert createmap(path, text="").returncode == 0
    assert createmap(path, text="# nothing\n").returncode == 0
    createmap(path, text="a 1\n")
    before = path.read_bytes()
    result = createmap(path, text="# a 1\n\n")
    assert (result.returncode, path.read_bytes()) == (65, before)
    assert b"it has entries and the source has none; use --empty-ok" in result.stderr
    assert createmap("--empty-ok", path, text="").returncode == 0
    opened = MapFile.open(path)
    assert list(opened.items()) == []
    opened.close()
    path.write_bytes(b"damaged" * 1000)
    assert createmap(path, text="").returncode == 65


def test_the_source_is_named_and_its_entries_are_checked_by_the_name_of_the_map(tmp_path):
    source = tmp_path / "rows"
    source.write_text("from:x rejct\nbare reject\n")
    with source.open("rb") as file:
        command = [sys.executable, "-c", "from meta1g.tools.createmap import run; run()", tmp_path / "access.db"]
        result = subprocess.run(command, stdin=file, capture_output=True, text=True, timeout=60, check=False)
    assert result.stderr.splitlines() == [
        f"createmap: {source}:1: key from:x: unknown value rejct; did you mean reject?",
        f"createmap: {source}:2: key bare: has no tag; write cltname:bare",
        f"createmap: {tmp_path}/access.db is left as it was: mend the lines above",
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("\ufeffa 1\n".encode(), "standard input:1: begins with a byte order mark; save it as UTF-8 without"),
        ("a 1\n".encode("utf-16"), "standard input:1: is UTF-16; save it as UTF-8"),
        (b"a 1\rb 2\r", "a line end of CR alone; end lines with LF"),
        (b"key. 1\n", "write key"),
    ],
)
def test_sources_that_are_no_plain_text(data, message):
    entries, (text,) = read_map(data)
    assert entries == {}
    assert message in text


def test_line_ends_of_other_systems_are_line_ends():
    assert read_map(b"a 1\r\n  2\r\n\r\nb: 3\r\n") == ({b"a": b"1 2", b"b": b"3"}, [])
