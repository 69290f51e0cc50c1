"""fsperf1: it does what it measures, says it, stays within its bounds, and leaves nothing behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from contrib.lib.gateway import ROOT
from meta1g.base import cli, sysexits
from meta1g.db.files import FILES
from meta1g.tools import fsperf1


def fsperf(*arguments):
    command = [sys.executable, "-c", "from meta1g.tools.fsperf1 import run; run()", *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=60)


def test_each_process_does_as_many_files_as_it_may_and_all_are_removed(tmp_path):
    done = fsperf("-p", 3, "-n", 30, "-t", "60s", "-s", "40KB", "--rename", "--json", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert {step: row["count"] for step, row in found.items()} == dict.fromkeys(
        ("create", "write", "fsync", "rename", "dirsync", "unlink", "files"), 90
    )
    assert all(row["p50_ms"] <= row["p99_ms"] <= row["max_ms"] for step, row in found.items() if step != "files")
    assert list(tmp_path.iterdir()) == []


def test_the_table_for_people_has_a_row_for_each_step(tmp_path):
    done = fsperf("-p", 1, "-n", 5, "--no-sync", tmp_path)
    lines = done.stdout.splitlines()
    assert lines[0] == f"{tmp_path}: 1 processes, files of 4KB, not flushed"
    assert [line.split()[:2] for line in lines[2:-1]] == [["create", "5"], ["write", "5"], ["unlink", "5"]]
    assert lines[-1].startswith("5 files in ")


@pytest.mark.parametrize("sync", [True, False])
def test_a_file_has_its_size_under_its_last_name_and_is_flushed_if_it_shall_be(tmp_path, monkeypatch, sync):
    seen = []
    for name in ("write", "sync", "rename", "sync_directory", "unlink"):
        plain = getattr(type(FILES), name)

        def spy(self, *arguments, name=name, plain=plain):
            seen.append((name, Path(arguments[0]).stat().st_size if name == "unlink" else None))
            return plain(self, *arguments)

        monkeypatch.setattr(type(FILES), name, spy)
    work = fsperf1.FileWork(100_000, 60, 1, sync=sync, rename=True)
    times = fsperf1.one_process(tmp_path, work)
    flushed = ["sync"] if sync else []
    assert [name for name, _ in seen] == ["write", *flushed, "rename", *(["sync_directory"] if sync else []), "unlink"]
    assert seen[-1] == ("unlink", 100_000)
    assert {step: len(values) for step, values in times.items()} == dict.fromkeys(work.steps, 1)


def test_time_is_a_bound_too(tmp_path):
    assert len(fsperf1.one_process(tmp_path, fsperf1.FileWork(1, 0, 1000, sync=False, rename=False))["create"]) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["-p", "0"],
        ["-p", "257"],
        ["-n", "0"],
        ["-n", "200001"],
        ["-t", "0"],
        ["-t", "11m"],
        ["-s", "65MB"],
        ["-s", "x"],
        ["-t", "x"],
    ],
)
def test_bounds_are_kept(arguments, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        fsperf1.main([*arguments, str(tmp_path)])
    assert caught.value.code == sysexits.EX_USAGE
    assert "fsperf1: " in capsys.readouterr().err


def test_a_directory_that_cannot_be_used_is_named(tmp_path):
    with pytest.raises(cli.CliError, match=r"none: cannot make a directory there: No such file") as caught:
        fsperf1.main([str(tmp_path / "none")])
    assert caught.value.exit_code == sysexits.EX_NOINPUT


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    def full(self, fd, pieces):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(FILES), "write", full)
    with pytest.raises(cli.CliError, match="cannot make files: No space left on device") as caught:
        fsperf1.main(["-p", "2", str(tmp_path)])
    assert caught.value.exit_code == sysexits.EX_IOERR
    assert list(tmp_path.iterdir()) == []


def test_summary_counts_what_was_measured():
    found = fsperf1.summary({"create": [1000, 3000, 2000], "unlink": [500] * 3}, 1.5)
    assert found["create"] == {"count": 3, "mean_ms": 2.0, "p50_ms": 2.0, "p99_ms": 3.0, "max_ms": 3.0}
    assert found["files"] == {"count": 3, "seconds": 1.5, "per_second": 2.0}
