import sys
from pathlib import Path

import pytest

from meta1g.base.cli import CliError
from meta1g.mcp.program import program_of
from meta1g.mcp.service import Service

CONF = Path("/etc/meta1/meta1.conf")


def service(path="", arguments="", **facts) -> Service:
    return Service(label="smtps", kind="smtps", where="meta1.conf:7", path=path, arguments=tuple(arguments.split()), **facts)


def words(*args, **facts) -> list[str]:
    """Arguments of the bundled program."""
    found = program_of(service(*args, **facts), CONF)
    assert found.executable == found.argv[0] == sys.executable
    assert found.bundled == "smtps"
    assert found.argv[1:3] == ("-m", "meta1g.smtps.main")
    return list(found.argv[3:])


@pytest.mark.parametrize("path", ["", "smtps", "/nonexistent/libexec/smtps", "libexec/smtps"])
def test_one_of_the_five_that_is_not_there_is_the_bundled_one(path):
    assert words(path) == ["-f", str(CONF)]


def test_a_configuration_that_does_not_exist_is_replaced_by_the_running_one(tmp_path):
    assert words("smtps", "smtps -f /nonexistent/smx.conf -x") == ["-f", str(CONF), "-x"]
    other = tmp_path / "other.conf"
    other.touch()
    assert words("smtps", f"smtps -f {other}") == ["-f", str(other)]


def test_name_and_index_are_added_unless_they_are_given():
    assert words("smtps", "", name="MSA", index=3) == ["-f", str(CONF), "-n", "MSA", "-i", "3"]
    assert words("smtps", "smtps -n X", name="MSA") == ["-f", str(CONF), "-n", "X"]


def test_a_program_of_somebody_else_gets_its_arguments_unchanged(tmp_path):
    path = tmp_path / "smtps"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    found = program_of(service(str(path), "smtps -f x", index=2), CONF)
    assert (found.executable, found.argv, found.bundled) == (str(path), ("smtps", "-f", "x"), None)


def test_a_console_script_of_this_package_gets_name_and_index(tmp_path):
    path = tmp_path / "smtps"
    path.write_text("#!/usr/bin/python3\nfrom meta1g.smtps.main import run\n")
    path.chmod(0o755)
    found = program_of(service(str(path), "smtps", index=2), CONF)
    assert found.argv == ("smtps", "-f", str(CONF), "-i", "2")
    assert found.bundled == "smtps"


def test_what_cannot_be_executed_is_told(tmp_path):
    path = tmp_path / "smtps"
    path.touch()
    with pytest.raises(CliError, match=r"meta1.conf:7: .*/smtps is not a program that can be executed; mend its mode"):
        program_of(service(str(path)), CONF)


@pytest.mark.parametrize(("path", "reason"), [("/nonexistent/x", "no such program"), ("x", "must be absolute")])
def test_an_unknown_program_is_told(path, reason):
    with pytest.raises(CliError, match=f"meta1.conf:7: path of smtps: {path}: .*{reason}"):
        program_of(service(path), CONF)
