import pytest

from meta1g.maps.base import MapStatus, temp
from meta1g.maps.lookup import access_keys, address_keys, client_keys, domain_keys, search, user_keys
from meta1g.maps.static import StaticMap


@pytest.mark.parametrize(
    ("local", "delimiter", "keys"),
    [
        ("user", "+", ["user"]),
        ("user+detail", "+", ["user+detail", "user+*", "user"]),
        ("user+a+b", "+", ["user+a+b", "user+*", "user"]),
        ("+odd", "+", ["+odd"]),
        ("user+detail", "", ["user+detail"]),
        ("user-detail", "-", ["user-detail", "user-*", "user"]),
    ],
)
def test_local_parts_from_most_to_least_specific(local, delimiter, keys):
    assert list(user_keys(local, delimiter)) == keys


def test_domains_and_parents():
    assert list(domain_keys("a.b.c")) == ["a.b.c", ".b.c", ".c"]
    assert list(domain_keys("localhost")) == ["localhost"]


def test_addresses():
    assert list(address_keys("u+d", "x.org")) == ["u+d@x.org", "u+*@x.org", "u@x.org"]


def test_keys_of_the_access_map():
    assert list(access_keys("u+d", "a.x.org")) == [
        "u+d@a.x.org",
        "u+*@a.x.org",
        "u@a.x.org",
        "u+d@",
        "u+*@",
        "u@",
        "a.x.org",
        ".x.org",
        ".org",
    ]
    assert list(access_keys("", "")) == ["<>"]
    assert list(access_keys("postmaster", "")) == ["postmaster@"]


@pytest.mark.parametrize(
    ("address", "keys"),
    [
        ("192.0.2.1", ["192.0.2.1", "192.0.2", "192.0", "192"]),
        (
            "2001:db8::1",
            [
                "2001:db8::1",
                "2001:db8:0:0:0:0:0",
                "2001:db8:0:0:0:0",
                "2001:db8:0:0:0",
                "2001:db8:0:0",
                "2001:db8:0",
                "2001:db8",
                "2001",
            ],
        ),
        ("unix:/a.b/c", ["unix:/a.b/c"]),
        ("", [""]),
    ],
)
def test_clients(address, keys):
    assert list(client_keys(address)) == keys


class Steps:
    """A map that notes what it is asked."""

    name, blocking = "steps", False

    def __init__(self, **answers):
        self.answers, self.asked = answers, []

    def lookup(self, key):
        self.asked.append(key)
        return self.answers.get(key) or StaticMap("s", {}).lookup(key)


def test_a_search_ends_at_the_first_answer():
    table = StaticMap("s", {"to:u@": "v"})
    key, result = search(table, access_keys("u", "x.org"), "to:")
    assert (key, result.value) == ("u@", "v")
    assert search(table, ["none"])[1].status is MapStatus.NOTFOUND


def test_a_temporary_error_ends_a_search():
    table = Steps(a=temp("away"))
    assert search(table, ["a", "b"])[1].status is MapStatus.TEMP
    assert table.asked == ["a"]


def test_a_domain_with_other_letters_is_asked_for_in_both_forms():
    both = ["mx.bücher.example", "mx.xn--bcher-kva.example", ".bücher.example", ".xn--bcher-kva.example", ".example"]
    assert list(domain_keys("mx.bücher.example")) == both
    assert set(domain_keys("mx.xn--bcher-kva.example")) == set(both)
    assert next(domain_keys("mx.xn--bcher-kva.example")) == "mx.xn--bcher-kva.example"
    assert list(address_keys("ü", "ü.example")) == ["ü@ü.example", "ü@xn--tda.example"]
    assert list(access_keys("ü", "ü.example")) == [
        "ü@ü.example",
        "ü@xn--tda.example",
        "ü@",
        "ü.example",
        "xn--tda.example",
        ".example",
    ]


def test_what_is_no_name_is_asked_for_as_it_is():
    assert list(domain_keys("☃.example")) == ["☃.example", ".example"]
    assert list(domain_keys("xn--zzzz.example")) == ["xn--zzzz.example", ".example"]
