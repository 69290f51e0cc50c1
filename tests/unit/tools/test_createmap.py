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
[127.0.0.1]   relay
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
        b"postmaster": b"root", b"list": b"a@x.example, b@y.example", b"[127.0.0.1]": b"relay",
        b"cltaddr:10.1": b"reject", b"bare": b"", b"Postmaster": None,
    }  # fmt: skip


def test_every_duplicate_and_bad_line_is_reported_and_nothing_replaced(tmp_path):
    path = tmp_path / "a.db"
    createmap(path, text="a 1\n")
    before = path.read_bytes()
    result = createmap(path, text="a 1\nb 2\nA 3\n\n# x\nc 4\0\nb: 5\n")
    assert result.returncode == 65
    assert result.stderr.decode().splitlines() == [
        "createmap: line 3: key 'a' is already in line 1",
        "createmap: line 6: NUL character",
        "createmap: line 7: key 'b' is already in line 2",
        f"createmap: {path} is left as it was: mend the lines above",
    ]
    assert path.read_bytes() == before


def test_input_has_to_be_utf8(tmp_path):
    result = createmap(tmp_path / "a.db", text=b"a \xff\n")
    assert (result.returncode, list(tmp_path.iterdir())) == (65, [])
    assert b"not UTF-8 at byte 2" in result.stderr


def test_utf8_is_kept():
    assert read_map("jürgen@x.example ok é\n")[0] == {"jürgen@x.example".encode(): "ok é".encode()}


def test_a_directory_that_is_not_there_is_named(tmp_path):
    result = createmap(tmp_path / "no" / "a.db", text="a b\n")
    assert result.returncode == 78
    assert b"cannot write map" in result.stderr


def test_help_and_wrong_options_end_as_they_should(tmp_path):
    assert createmap("--help", text="").returncode == 0
    assert createmap("-t", "cidr", tmp_path / "a.db", text="").returncode == 64
    assert createmap(text="").returncode == 64
