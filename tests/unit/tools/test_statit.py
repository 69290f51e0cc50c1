"""statit: facts of files as the system has them, compared with what the test made."""

import json
import os
import struct

import pytest

from meta1g.base import sysexits
from meta1g.base.cli import CliError
from meta1g.tools import statit
from meta1g.tools.layout import group_name, user_name

ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry)
    for entry in [(1, 6, 2**32 - 1), (2, 4, 65534), (4, 4, 2**32 - 1), (16, 4, 2**32 - 1), (32, 0, 2**32 - 1)]
)
ACL_TEXT = "user::rw-,user:nobody:r--,group::r--,mask::r--,other::---"


def facts(path):
    return statit.facts_of(path)


def test_a_file_is_told_as_it_is(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 42)
    path.chmod(0o2640)
    os.utime(path, (0, 1_700_000_000))
    found = facts(path)
    assert {name: found[name] for name in ("type", "uid", "gid", "user", "group", "mode", "size", "links", "modified")} == {
        "type": "file", "uid": os.getuid(), "gid": path.stat().st_gid, "user": user_name(os.getuid()),
        "group": group_name(path.stat().st_gid), "mode": "2640", "size": 42, "links": 1, "modified": "2023-11-14T22:13:20Z",
    }  # fmt: skip
    assert found["free_bytes"] > 0
    assert 0 <= found["free_percent"] <= 100
    assert set(found) == set(statit.FIELDS)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda path: path.mkdir(), "directory"),
        (os.mkfifo, "fifo"),
        (lambda path: path.symlink_to("/nowhere"), "link"),
    ],
)
def test_every_kind_has_its_word_and_a_link_is_not_followed(tmp_path, make, kind):
    make(tmp_path / "it")
    found = facts(tmp_path / "it")
    assert found["type"] == kind
    assert found["target"] == ("/nowhere" if kind == "link" else None)


def test_an_access_control_list_is_told_in_the_words_of_acl(tmp_path):
    assert statit.parse_acl(ACL) == ACL_TEXT
    path = tmp_path / "file"
    path.touch()
    try:
        os.setxattr(path, "system.posix_acl_access", ACL)
    except OSError:
        pytest.skip("no access control lists on this file system")
    assert facts(path)["acl"] == ACL_TEXT


@pytest.mark.parametrize("data", [b"", b"\1\0\0\0", ACL[:-1], struct.pack("<IHHI", 2, 99, 0, 0)])
def test_a_list_of_another_form_is_an_error(data):
    with pytest.raises(ValueError, match="access control list"):
        statit.parse_acl(data)


def test_json_and_single_fields(tmp_path, capsys):
    assert statit.main(["--json", str(tmp_path), str(tmp_path)]) == sysexits.EX_OK
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    changing = ("free_bytes", "free_files")  # others write to the file system
    assert {k: v for k, v in first.items() if k not in changing} == {k: v for k, v in second.items() if k not in changing}
    assert all(first[name] > 0 for name in changing)
    assert (first["path"], first["type"]) == (str(tmp_path), "directory")
    assert statit.main(["--field", "type", "--field", "target", str(tmp_path)]) == sysexits.EX_OK
    assert capsys.readouterr().out == "directory\n\n"


def test_what_is_expected_is_compared(tmp_path, capsys):
    (tmp_path / "file").touch(mode=0o600)
    path = str(tmp_path / "file")
    assert statit.main(["--expect", "mode=0600", "--expect", "acl=", path]) == sysexits.EX_OK
    assert capsys.readouterr().out == ""
    assert statit.main(["--expect", "mode=0640", "--expect", "type=file", "--expect", "target=x", path]) == sysexits.EX_DATAERR
    assert capsys.readouterr().out == f"{path}: mode is 0600, not 0640\n{path}: target is none, not x\n"
    with pytest.raises(CliError, match="--expect colour=red: write FIELD=VALUE"):
        statit.main(["--expect", "colour=red", path])


def test_a_path_that_is_not_there_is_an_error_that_names_what_is_missing(tmp_path):
    with pytest.raises(CliError, match="no such file") as caught:
        facts(tmp_path / "none")
    assert caught.value.exit_code == sysexits.EX_NOINPUT
    with pytest.raises(CliError, match=r"directory .*/none is missing"):
        facts(tmp_path / "none" / "file")


def test_names_that_are_no_text_are_printed_in_ascii(tmp_path, capsys):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n")
    open(path, "w").close()
    assert statit.main([path]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("/\\xFF\\x0A:")
