import pytest

from meta1g.db.mapfile import MapFile
from tests.called import call_program


def mapchk(*arguments):
    return call_program("mapchk", *arguments)


TEXT = "# rules\ncltaddr:192.0.2 relay\nsmtps_session_conf:mx.example.org max_recipients =\n   5;\n"


@pytest.fixture(params=["text", "db"])
def access(tmp_path, request):
    if request.param == "text":
        path = tmp_path / "access"
        path.write_text(TEXT)
    else:
        path = tmp_path / "access.db"
        rows = [(b"cltaddr:192.0.2", b"relay"), (b"smtps_session_conf:mx.example.org", b"max_recipients = 5;")]
        MapFile.build(path, rows)
    return path


def test_a_right_map_gives_no_output(access):
    result = mapchk("-a", access)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_key_is_looked_up(access):
    assert mapchk("-k", "CLTADDR:192.0.2", access).stdout == "relay\n"
    assert mapchk("-k", "smtps_session_conf:mx.example.org", access).stdout == "max_recipients = 5;\n"
    assert mapchk("-k", "nothing", access).returncode == 1


def test_every_wrong_line_is_told(tmp_path):
    path = tmp_path / "access"
    path.write_text("cltaddr:x reject\nok:1 x\ncltaddr:10 ok\nCltAddr:10 reject\n")
    result = mapchk("-a", path)
    assert result.returncode == 65
    lines = result.stderr.splitlines()
    assert lines[0].startswith(f"mapchk: {path}:1: key cltaddr:x: x is not an IP address")
    assert lines[1].startswith(f"mapchk: {path}:2: key ok:1: unknown tag ok:;")
    assert lines[2] == f"mapchk: {path}:4: key CltAddr:10: is already at {path}:3; remove one"


def test_other_maps_have_no_tags(tmp_path):
    path = tmp_path / "aliases"
    path.write_text("postmaster: root\nroot: a@example.org\n")
    assert mapchk(path).returncode == 0


def test_a_map_that_is_missing(tmp_path):
    for name in ("x", "x.db"):
        result = mapchk(tmp_path / name)
        assert (result.returncode, result.stderr.count("\n")) == (78, 1)


def test_a_map_file_that_is_none(tmp_path):
    path = tmp_path / "x.db"
    path.write_bytes(b"x" * 5000)
    assert mapchk(path).returncode == 78


def test_an_expression_that_needs_backtracking_or_is_wrong_is_told_with_its_line(tmp_path):
    (tmp_path / "rules").write_text("/^(a+)+@x$/ ok\n/(a)\\1/ x\n/(/ x\n/a\\/b/ fine\n")
    result = mapchk(tmp_path / "rules")
    assert result.returncode == 65
    lines = result.stderr.splitlines()
    assert [line.partition("rules:")[2][:2] for line in lines] == ["2:", "3:"]
    assert "without look-around and references back" in lines[0]


def test_a_damaged_map_file_is_told(tmp_path):
    MapFile.build(tmp_path / "m.db", [(b"k%d" % number, b"v" * 50) for number in range(3000)])
    data = (tmp_path / "m.db").read_bytes()
    (tmp_path / "m.db").write_bytes(data[:8192] + bytes(8192) + data[16384:])
    result = mapchk(tmp_path / "m.db")
    assert result.returncode == 78
    assert "damaged" in result.stderr
