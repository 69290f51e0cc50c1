import pwd
import subprocess
import sys

from meta1g.maps.base import MapResult, MapStatus
from meta1g.maps.passwd import PasswdMap


def test_accounts_of_the_system_are_found():
    root = pwd.getpwuid(0)
    assert PasswdMap("p").lookup(root.pw_name) == MapResult(MapStatus.OK, root.pw_dir)


def test_others_are_not_found():
    for key in ("no-such-user-here", "", "root\0x", "../etc"):
        assert PasswdMap("p").lookup(key).status is MapStatus.NOTFOUND


def test_it_blocks_since_the_name_service_may():
    assert PasswdMap("p").blocking


FIRST_LOOK_UP = """
from meta1g.maps.passwd import PasswdMap
from tests.fakes.shortage import no_descriptors

with no_descriptors():
    found = PasswdMap("p").lookup("root")
print(found.status.name, PasswdMap("p").lookup("root").status.name)
"""


def test_a_shortage_is_no_unknown_user():
    command = [sys.executable, "-c", FIRST_LOOK_UP]  # the C library keeps the file open after the first look-up
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.split() == ["TEMP", "OK"]


def test_every_account_is_the_same_as_for_the_module():
    for entry in pwd.getpwall():
        assert PasswdMap("p").lookup(entry.pw_name) == MapResult(MapStatus.OK, pwd.getpwnam(entry.pw_name).pw_dir)
