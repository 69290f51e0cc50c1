"""Lists of the registries: whose address is whose, and what is no such list."""

import pytest

from meta1g.base.errors import PermError
from meta1g_filters.regex.countries import read_countries
from tests.unit.filters.regex.test_filter import Client

RIPE = """2|ripencc|1700000000|3|19830705|20231114|+0100
ripencc|*|ipv4|*|2|summary
ripencc|DE|ipv4|192.0.2.0|64|20120404|allocated|00000000-0000
ripencc|FR|ipv4|192.0.2.64|32|20120404|assigned
ripencc|FR|ipv6|2001:db8::|32|20040902|allocated
ripencc|FR|asn|64496|1|20040902|allocated
ripencc||ipv4|198.51.100.0|256||available
"""
APNIC = "apnic|JP|ipv4|203.0.113.0|256|20040902|allocated\napnic|JP|ipv6|2001:db9:1::|48|20040902|assigned\n"


@pytest.fixture
def lists(tmp_path):
    for name, text in (("ripe", RIPE), ("apnic", APNIC)):
        (tmp_path / name).write_text(text)
    return tmp_path / "ripe", tmp_path / "apnic"


@pytest.mark.parametrize(
    ("address", "country"),
    [
        ("192.0.2.0", "DE"),
        ("192.0.2.63", "DE"),
        ("192.0.2.64", "FR"),
        ("192.0.2.95", "FR"),
        ("192.0.2.96", ""),
        ("192.0.1.255", ""),
        ("198.51.100.1", ""),
        ("203.0.113.255", "JP"),
        ("::ffff:192.0.2.1", "DE"),
        ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "FR"),
        ("2001:db9::", ""),
        ("2001:db9:1:ffff::1", "JP"),
        ("2001:db9:2::1", ""),
        ("::", ""),
        ("255.255.255.255", ""),
        ("", ""),
    ],
)
def test_an_address_has_the_country_that_it_was_given_to(lists, address, country):
    assert read_countries(lists).country(address) == country


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no list of a registry"),
        ("<html>not found</html>\n", "no list of a registry"),
        ("ripencc|DE|ipv4|192.0.2|64|20120404|allocated\n", ":1: Expected 4 octets"),
        ("ripencc|DE|ipv4|255.255.255.0|257|20120404|allocated\n", ":1: 255.255.255.0 is not followed by 257 addresses"),
        ("\nripencc|DE|ipv6|2001:db8::|65|20120404|allocated\n", ":2: 65 is no length of a prefix"),
    ],
)
def test_what_is_no_list_is_told(tmp_path, text, told):
    path = tmp_path / "list"
    path.write_text(text)
    with pytest.raises(PermError) as raised:
        read_countries([path])
    assert f"{path}" in raised.value.cause
    assert told in raised.value.cause


def test_rules_may_ask_for_the_country(lists, tmp_path):
    rules = 'ipv4file "ripe" ipv6file "apnic"\nreject "not from there" country /^(DE|JP)$/e and envfrom /@x\\.example/\n'
    said = [Client(tmp_path, rules, address=one).greeted().mail("<a@x.example>") for one in ("192.0.2.1", "192.0.2.64")]
    assert said == ["554 5.7.1 not from there", "ACCEPT"]
    unknown = 'ipv4file "ripe"\ntempfail "unknown" country /^$/\n'
    assert Client(tmp_path, unknown, address="192.0.2.200").connect() == "451 4.7.1 unknown"


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ("accept country /DE/", "rules:1:8: country needs lists of the registries; name them by ipv4file and ipv6file"),
        ('ipv4file "nothing"\naccept country /DE/', "nothing: cannot read the list: no such file or directory"),
    ],
)
def test_without_lists_rules_about_countries_are_refused(tmp_path, rules, told):
    with pytest.raises(PermError) as raised:
        Client(tmp_path, rules)
    assert told in raised.value.cause
