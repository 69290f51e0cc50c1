import subprocess
import sys

import pytest


def metaconf(*arguments):
    command = [sys.executable, "-c", "from meta1g.tools.metaconf import run; run()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def files(tmp_path):
    def write(user, example):
        (tmp_path / "user").write_text(user)
        (tmp_path / "new").write_text(example)
        return tmp_path / "user", tmp_path / "new"

    return write


def test_the_merged_text_goes_to_standard_output_and_the_changes_to_standard_error(files):
    user, new = files("log_level = 12;\n", "log_level = 9;\nhostname = mx.example;\n")
    result = metaconf(user, new)
    assert (result.returncode, result.stdout) == (0, "log_level = 12;\nhostname = mx.example;\n")
    assert result.stderr.splitlines() == [
        f"{user}:1: outside of all sections: kept log_level = 12; the example has log_level = 9;",
        f"{new}:2: outside of all sections: added hostname = mx.example;",
    ]
    assert user.read_text() == "log_level = 12;\n"


def test_only_the_changes(files):
    result = metaconf("-n", *files("", "hostname = mx.example;\n"))
    assert (result.returncode, result.stdout) == (0, "")
    assert "added hostname" in result.stderr


def test_the_merged_text_goes_to_a_new_file_only(files, tmp_path):
    user, new = files("", "hostname = mx.example;\n")
    assert metaconf("-o", tmp_path / "out", user, new).returncode == 0
    assert (tmp_path / "out").read_text() == "hostname = mx.example;\n"
    result = metaconf("-o", user, user, new)
    assert (result.returncode, user.read_text()) == (73, "")
    assert "exists; name a new file by -o" in result.stderr


def test_a_result_that_is_wrong_is_told(files):
    result = metaconf(*files("old_option = 1;\n", "hostname = mx.example;\n"))
    assert (result.returncode, result.stdout) == (78, "old_option = 1;\nhostname = mx.example;\n")
    assert "needs your hand" in result.stderr
    assert "unknown option old_option" in result.stderr


def test_a_wrong_example_is_refused(files):
    assert metaconf(*files("", "hostnam = x;\n")).returncode == 78
