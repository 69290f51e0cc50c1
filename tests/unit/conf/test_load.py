import os
import subprocess
import sys
from pathlib import Path

import pytest

from meta1g.base import cli, sysexits
from meta1g.base.errors import Module, PermError
from meta1g.conf import load
from meta1g.conf.load import ConfigError, load_file

ROOT = Path(__file__).parents[3]


def write(tmp_path, data):
    path = tmp_path / "meta1.conf"
    path.write_bytes(data)
    return path


def test_a_file_is_loaded(tmp_path):
    path = write(tmp_path, b"hostname = mx.example;")
    config = load_file(path)
    assert (config.path, config.hostname, config.warnings) == (path, "mx.example", [])
    assert config.configuration_directory == tmp_path


def test_a_byte_order_mark_and_dos_lines_are_fine(tmp_path):
    assert load_file(write(tmp_path, b"\xef\xbb\xbf# x\r\nhostname = mx.example;\r\n")).hostname == "mx.example"


def test_the_error_is_permanent_and_says_file_line_and_column(tmp_path):
    path = write(tmp_path, b"\nlog_level = x;\n")
    with pytest.raises(PermError) as caught:
        load_file(path)
    assert caught.value.module is Module.CONF
    assert caught.value.cause == f"{path}:2:13: log_level: x is not a number\n    log_level = x;\n                ^"


@pytest.mark.parametrize(("name", "reason"), [("missing.conf", "no such file or directory"), (".", "is a directory")])
def test_a_file_that_is_not_there_gives_one_line(tmp_path, name, reason):
    with pytest.raises(ConfigError) as caught:
        load_file(tmp_path / name)
    assert (
        caught.value.cause == f"{tmp_path / name}: cannot read the configuration: {reason}; name the configuration file by -f"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_gives_one_line(tmp_path):
    path = write(tmp_path, b"")
    path.chmod(0)
    with pytest.raises(ConfigError, match="permission denied; let the account of this program read it"):
        load_file(path)


def test_a_path_with_nul_gives_the_same_error():
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load_file(Path("a\0b"))


def test_a_huge_file_is_not_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(load, "FILE_MAX_BYTES", 1 << 20)
    with pytest.raises(ConfigError, match="is larger than 1 MB"):
        load_file(Path("/dev/zero"))


def test_a_program_prints_all_errors_and_exits_78(tmp_path, monkeypatch, capsys):
    path = write(tmp_path, b"log_level = x;\nfoo = 1;\n")
    monkeypatch.setattr(sys, "argv", ["smtps"])
    assert cli.run_program("smtps", lambda argv: load_file(path) and 0) == sysexits.EX_CONFIG
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"smtps: {path}:1:13: log_level: x is not a number"
    assert lines[3].startswith(f"{path}:2:1: unknown option foo outside of all sections; ")


def test_ten_thousand_lines_with_two_thousand_sections_are_loaded(tmp_path):
    """A quick parser is part of the bargain; the limit is generous, a slow algorithm would need minutes."""
    maps = "".join(f"map m{i} {{\n  type = hash;\n  file =\n m{i}.db;\n}}\n" for i in range(2000))
    path = write(tmp_path, f"smar {{\n{maps}}}\n".encode())
    code = (
        "from pathlib import Path; from meta1g.conf.load import load_file; "
        f"print(len(load_file(Path({str(path)!r})).section('smar').subs('map')))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout == "2000\n"


def test_content_that_was_read_already_is_not_read_again(tmp_path):
    path = tmp_path / "meta1.conf"
    path.write_text("nonsense")
    config = load_file(path, data=b"log_level = 3;\n")
    assert (config.glob.get("log_level"), config.text, config.path) == (3, "log_level = 3;\n", path)
