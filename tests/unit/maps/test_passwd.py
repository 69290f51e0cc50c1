import pwd

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
