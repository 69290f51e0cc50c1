import errno
import os

import pytest

from meta1g.base import startup
from meta1g.base.cli import CliError
from meta1g.base.errors import Module, PermError, TempError
from meta1g.base.selfcheck import Findings


def raise_(error):
    raise error


def test_everything_that_is_wrong_is_told_and_the_first_problem_gives_the_code(capsys):
    found = Findings("smar")
    found.look(raise_, PermError(Module.MAP, "first"))
    found.look(raise_, CliError("second", 77))
    found.look(raise_, OSError(errno.ENOSPC, "full", "/a/b"))
    found.look(raise_, TempError(Module.MAP, "later"))
    found.look(raise_, ZeroDivisionError("a bug"))
    found.look(raise_, PermError(Module.MAP, "first"))
    assert found.finish() == 78
    assert capsys.readouterr().err.splitlines() == [
        "smar: first",
        "smar: second",
        "smar: /a/b: full",
        "smar: later",
        "smar: ZeroDivisionError: a bug",
    ]


def test_nothing_wrong_is_silent(capsys):
    found = Findings("smar")
    found.look(int, "1")
    found.libraries("json")
    assert (found.finish(), capsys.readouterr().err) == (0, "")


def test_one_missing_directory_above_many_paths_is_told_once(tmp_path):
    found = Findings("qmgr")
    found.directories([tmp_path / "x" / str(number) for number in range(5)], os.W_OK, "write there")
    assert found.lines == [f"{tmp_path}/x/0: out of reach: directory {tmp_path}/x is missing; make it"]


def test_a_missing_library_is_told():
    found = Findings("smar")
    found.libraries("no_such_library_of_anybody")
    assert found.lines[0].startswith("library no_such_library_of_anybody is missing or out of reach of ")


class Section:
    """A section with the options of a log."""

    def __init__(self, file=""):
        self.file = file

    def get(self, option):
        return self.file if option == "file" else None

    def given(self, option):
        return option == "file" and bool(self.file)

    def sub(self, keyword):
        return self


def test_the_check_of_a_log_makes_no_file_and_names_what_is_in_the_way(tmp_path, monkeypatch):
    startup.check_log("smar", Section(), Section("smar.log"), tmp_path)
    assert list(tmp_path.iterdir()) == []
    for name, text in (("nowhere/x.log", "out of reach: directory .*nowhere is missing"), (".", "Is a directory; mend it")):
        with pytest.raises(CliError, match=text) as caught:
            startup.check_log("smar", Section(), Section(name), tmp_path)
        assert caught.value.exit_code == 73
        with pytest.raises(CliError, match=text):
            startup.open_log("smar", Section(), Section(name), tmp_path)


def test_a_fifo_without_a_reader_is_no_log_that_a_process_waits_for_ever_on(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(CliError, match="No such device or address"):
        startup.open_log("smar", Section(), Section("fifo"), tmp_path)
