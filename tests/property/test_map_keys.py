"""Whatever a look-up asks for is a key that the checkers let pass, and no entry makes them fail."""

from hypothesis import given, settings
from hypothesis import strategies as st

from meta1g.maps.lookup import access_keys, address_keys, client_keys, domain_keys, user_keys
from meta1g.smar.entries import KEYS, EntryRules, MapEntry
from meta1g.smar.keys import address_problem, client_problem, domain_problem, mailbox_problem, route_problem
from meta1g.smar.mapcheck import check_map

LABEL = st.from_regex(r"[a-z0-9_](?:[a-z0-9_-]{0,8}[a-z0-9_])?", fullmatch=True)
TOP = st.from_regex(r"[a-z][a-z0-9-]{0,4}[a-z]", fullmatch=True)
DOMAIN = st.builds(lambda labels, top: ".".join([*labels, top]), st.lists(LABEL, max_size=3), TOP)
ATOM = st.from_regex(r"[a-z0-9!#$%&'/=?^_`{|}~-]{1,6}", fullmatch=True)
LOCAL = st.builds(
    lambda atoms, detail: ".".join(atoms) + "".join(f"+{one}" for one in detail),
    st.lists(ATOM, min_size=1, max_size=3),
    st.lists(ATOM, max_size=2),
)


@given(LOCAL, DOMAIN)
def test_keys_of_addresses_are_right(local, domain):
    for key in access_keys(local, domain):
        assert address_problem(key) == ""
    for key in (*address_keys(local, domain), *user_keys(local)):
        assert mailbox_problem(key, catch_all=False) == ""
    assert mailbox_problem(f"@{domain}", catch_all=True) == ""


@given(DOMAIN)
def test_keys_of_domains_are_right(domain):
    for key in (*domain_keys(domain), "."):
        assert route_problem(key) == ""
    for key in domain_keys(domain):
        assert domain_problem(key) == ""


@given(st.ip_addresses())
def test_keys_of_clients_are_right(address):
    if getattr(address, "ipv4_mapped", None) is None:
        for key in client_keys(str(address)):
            assert client_problem(key) == ""


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.text(min_size=1), st.text()), max_size=3),
    st.sampled_from(["", *KEYS]),
    st.sampled_from(["text", "regex", "cidr", "hash"]),
)
def test_no_entry_makes_the_check_fail(rows, use, kind):
    found = check_map([MapEntry("f:1", *row) for row in rows], [EntryRules(use=use, kind=kind)])
    assert all(text.startswith("f:1: key ") and "\n" not in text for text in found)
