import os
import subprocess
import sys
from pathlib import Path

import pytest

from meta1g.base import reach
from meta1g.base.cli import CliError
from meta1g.base.sysexits import EX_CONFIG, EX_NOPERM

#: Asks as another account, since nothing is closed to root.
AS_NOBODY = """
import os, sys
from pathlib import Path
from meta1g.base import reach
from meta1g.base.cli import CliError
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
path = Path(sys.argv[1])
print(reach.obstacle(path))
try:
    reach.need_file(path, os.R_OK, "read it")
except CliError as error:
    print(error, error.exit_code)
try:
    open(path)
except OSError as error:
    print(reach.explain(error))
"""


@pytest.fixture
def place(open_directory) -> Path:
    directory = open_directory / "a" / "b"
    directory.mkdir(parents=True)
    (directory / "file").write_text("x")
    (directory / "file").chmod(0o644)
    return directory / "file"


@pytest.fixture
def open_directory():
    import tempfile

    with tempfile.TemporaryDirectory(prefix="meta1g-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def asked(path: Path) -> list[str]:
    result = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    return result.stdout.splitlines()


def test_nothing_is_in_the_way_to_an_open_file(place):
    assert asked(place) == [""]


def test_the_topmost_closed_directory_is_named(place):
    for closed in (place.parent, place.parents[1]):
        closed.chmod(0)
        text, wanted, explained = asked(place)
        assert text.startswith(f"directory {closed} is closed to ")
        assert wanted == f"{place}: out of reach: {text} {EX_NOPERM}"
        assert explained == f"{place}: out of reach: {text}"
    for closed in (place.parents[1], place.parent):
        closed.chmod(0o755)


def test_a_closed_directory_behind_a_link_is_named(place, open_directory):
    link = open_directory / "link"
    link.symlink_to("a/b/file")
    second = open_directory / "second"
    second.symlink_to(link)
    place.parent.chmod(0o600)
    assert asked(second)[0].startswith(f"directory {place.parent} is closed to ")
    place.parent.chmod(0o755)


def test_a_link_to_itself_and_a_file_as_directory_are_no_endless_search(open_directory):
    loop = open_directory / "loop"
    loop.symlink_to("loop")
    assert reach.obstacle(loop) == ""
    assert "symbolic links" in reach.obstacle(loop / "file")
    (open_directory / "plain").write_text("x")
    assert reach.obstacle(open_directory / "plain" / "file") == f"{open_directory}/plain is no directory"


def test_the_first_missing_directory_is_named(open_directory):
    assert reach.obstacle(open_directory / "x" / "y" / "z") == f"directory {open_directory}/x is missing; make it"
    with pytest.raises(CliError, match=r"out of reach: directory .*/x is missing") as caught:
        reach.need_directory(open_directory / "x" / "y", os.W_OK, "write there")
    assert caught.value.exit_code == EX_CONFIG


def test_a_file_without_read_permission_is_named(place):
    place.chmod(0o600 if os.geteuid() == 0 else 0)
    _, wanted, explained = asked(place)
    assert " cannot read it; mend its owner or mode" in wanted
    assert explained.startswith(f"{place}: permission denied; ")


def test_a_directory_that_is_none_and_one_that_is_missing_are_told(open_directory):
    (open_directory / "plain").write_text("x")
    with pytest.raises(CliError, match="is no directory"):
        reach.need_directory(open_directory / "plain", os.X_OK, "pass")
    with pytest.raises(CliError, match=r"no such directory; run sm\.setup"):
        reach.need_directory(open_directory / "none", os.X_OK, "pass")
    with pytest.raises(CliError, match="no such file"):
        reach.need_file(open_directory / "none", os.R_OK, "read it")
