import pytest

from meta1g.maps.base import NOMORE, MapStatus, temp
from meta1g.maps.static import StaticMap
from meta1g.smar.localuser import LocalUsers, may_write
from meta1g.smtp.address import NULL, parse_path


def users(entries, *, localpart=True):
    return LocalUsers(StaticMap("u", entries), localpart, local_domains=True, delimiter="+")


@pytest.mark.parametrize("address", ["joe@x.org", "JOE@X.ORG", "joe+detail@x.org"])
def test_a_user_is_found_by_full_address_or_local_part(address):
    assert users({"joe@x.org": ""}).find(parse_path(address)) is MapStatus.OK
    assert users({"joe": ""}).find(parse_path(address)) is MapStatus.OK


def test_the_local_part_alone_is_a_key_only_with_its_flag():
    assert users({"joe": ""}, localpart=False).find(parse_path("joe@x.org")) is MapStatus.NOTFOUND
    assert users({"joe@x.org": ""}).find(parse_path("joe@y.org")) is MapStatus.NOTFOUND


@pytest.mark.parametrize("result", [NOMORE, temp("away")])
def test_an_answer_that_ends_the_search_ends_it(result):
    class One:
        name, blocking = "o", True
        asked = 0

        def lookup(self, key):
            self.asked += 1
            return result

    table = One()
    assert LocalUsers(table, localpart=True, local_domains=True, delimiter="+").find(parse_path("a+b@x.org")) is result.status
    assert table.asked == 1


@pytest.mark.parametrize(
    ("allowed", "sender", "client", "may"),
    [
        ("boss@x.org", "boss@x.org", "192.0.2.1", True),
        ("Boss@X.org", "boss@x.ORG", "192.0.2.1", True),
        ("boss@x.org", "other@x.org", "192.0.2.1", False),
        ("x.org", "any@x.org", "192.0.2.1", True),
        ("x.org", "any@a.x.org", "192.0.2.1", False),
        (".x.org", "any@a.x.org", "192.0.2.1", True),
        ("a.org, 192.0.2.0/24", "any@y.org", "192.0.2.1", True),
        ("192.0.2.1 2001:db8::/32", "any@y.org", "2001:db8::1", True),
        ("192.0.2.0/24", "any@y.org", "203.0.113.1", False),
        ("", "any@y.org", "203.0.113.1", False),
        ("1.not.an.address 9/9", "any@y.org", "unix:/x", False),
    ],
)
def test_protected_recipients(allowed, sender, client, may):
    assert may_write(allowed, parse_path(sender), client) is may


def test_the_null_sender_is_let_in_by_its_client_only():
    assert not may_write("x.org", NULL, "203.0.113.1")
    assert may_write("203.0.113.1", NULL, "203.0.113.1")
