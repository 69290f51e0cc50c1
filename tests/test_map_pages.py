"""The tables of the pages on maps say what the programs do: each row is tried."""

import contextlib
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

from contrib.lib.gateway import wait_until
from meta1g.base.errors import PermError
from meta1g.conf.access import DNSBL, TAGS, Action, check_rhs, parse_decision
from meta1g.maps.base import MapStatus
from meta1g.maps.lookup import access_keys, address_keys, client_keys, domain_keys, user_keys
from meta1g.maps.regexmap import RegexMap
from meta1g.maps.registry import TYPES
from meta1g.maps.rhs import address_macros
from meta1g.maps.sockmap import STATUS_WORDS, SocketMap
from meta1g.maps.static import StaticMap
from meta1g.rcb.common import DeliveryAgent
from meta1g.rcb.qmgr_smar import Members, Unresolved
from meta1g.rcb.smtps_smar import ClientResolve
from meta1g.smar import tlsmap
from meta1g.smar.access import RESOLVE_KEYS, AccessMap
from meta1g.smar.alias import Aliases
from meta1g.smar.localuser import may_write
from meta1g.smar.relay import RelayRules
from meta1g.smar.route import RouteDefaults, Routes, parse_value
from meta1g.smtp.address import parse_path
from meta1g.smtp.esmtp import Ext, parse_mail_params
from meta1g.smtp.verp import sender_for
from tests.tables import DOCS, code, codes, rows

DEFAULTS = RouteDefaults(port=25, lmtp_socket="lmtpsock", queue_directory=Path("/var/spool/meta1"))
MAILTABLE, ACCESS, ALIASES, MAPS = "man/mailertable.5.md", "man/access.5.md", "man/aliases.5.md", "maps.md"
POLICIES = "man/tls_policy.5.md"


def shown(target):
    """Gives a server as the page of the mailertable writes it."""
    if target.is_address:
        return f"`{target.host}:{target.port}`" if target.port else f"`{target.host}`"
    return f"{'MX hosts' if target.use_mx else 'addresses'} of `{target.host}`, port {target.port}"


@pytest.mark.parametrize(
    ("value", "protocol", "servers"), [row for row in rows(MAILTABLE, "right-hand side") if len(row) == 3], ids=str
)
def test_a_right_hand_side_of_the_mailertable(value, protocol, servers):
    agent, targets = parse_value(code(value), DEFAULTS)
    assert protocol == ("LMTP" if agent is DeliveryAgent.LMTP else "SMTP")
    assert ", ".join(shown(target) for target in targets) == servers


@pytest.mark.parametrize(("value", "reason"), [row for row in rows(MAILTABLE, "right-hand side") if len(row) == 2], ids=str)
def test_a_wrong_right_hand_side_of_the_mailertable(value, reason):
    with pytest.raises(PermError, match=re.escape(reason)):
        parse_value(code(value), DEFAULTS)


ORDERS = rows(MAPS, "question") + rows(ACCESS, "asked for")[:4] + rows(POLICIES, "mail goes to")


def test_the_levels_of_the_page_are_those_that_there_are():
    levels = [codes(row[0])[0] for row in rows(POLICIES, "level")]
    assert sorted(levels) == sorted(tlsmap.LEVELS)


@pytest.mark.parametrize(("attribute", "levels"), [row[:2] for row in rows(POLICIES, "attribute")], ids=str)
def test_an_attribute_goes_with_its_levels(attribute, levels):
    named = levels.split(", ")
    for level in sorted({*tlsmap.LEVELS} - ({"verify", "secure"} if levels == "fingerprint" else set())):  # a sum may be a name
        text = f"{level} {code(attribute)}" + ("" if level != "fingerprint" or "match" in attribute else f" match={'ab' * 32}")
        right = level in named if levels != "all but none" else level != "none"
        with contextlib.nullcontext() if right else pytest.raises(ValueError, match=r"attributes|no names|no SHA"):
            tlsmap.read_entry(text)


@pytest.mark.parametrize(("value", "reason"), rows(POLICIES, "right-hand side"), ids=str)
def test_a_wrong_right_hand_side_of_the_policies(value, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        tlsmap.read_entry(code(value))


def keys_of(question):
    """Gives the keys that are asked for, by the words of the pages."""
    asked = codes(question)[0]
    local, _, domain = asked.rpartition("@")
    if "mailertable" in question:
        return [*domain_keys(asked), "."]
    if "TLS policy" in question:
        return list(tlsmap.keys_of(tlsmap.target_of(asked)))
    if "local user" in question:
        return [*address_keys(local, domain), *user_keys(local)]
    if "alias" in question:
        return [*address_keys(local, domain), *user_keys(local), f"@{domain}"]
    if "client" in question:
        return list(client_keys(asked))
    return list(access_keys(local, domain)) if "address" in question else list(domain_keys(asked))


@pytest.mark.parametrize(("question", "keys"), ORDERS, ids=str)
def test_an_order_of_keys(question, keys):
    assert codes(keys) == keys_of(question)


def test_the_key_of_the_null_sender():
    assert codes(rows(ACCESS, "asked for")[4][1]) == list(access_keys("", ""))


def test_the_keys_of_an_alias_are_asked_for_in_this_order():
    asked = []

    class Asked(StaticMap):
        def lookup(self, key):
            asked.append(key)
            return super().lookup(key)

    relay = RelayRules((), (), ["example.org"], Routes(None, None))
    table = Aliases(Asked("a", {}), localpart=True, local_domains=True, delimiter="+", relay=relay, hostname="gw.example")
    assert table.expand(parse_path("jane+news@example.org")) is None
    assert asked == list(chain.from_iterable(codes(row[0]) for row in rows(ALIASES, "keys, in this order")))


ACTIONS = {
    "reject": Action.REFUSE,
    "error:CODE TEXT": Action.REFUSE,
    "error:CODE D.S.N TEXT": Action.REFUSE,
    "discard": Action.DISCARD,
    "ok": Action.OK,
    "cont": Action.CONT,
    "relay": Action.RELAY,
}


def test_the_right_hand_sides_of_the_access_map():
    values = [code(row[0]) for row in rows(ACCESS, "right-hand side")]
    assert values == list(ACTIONS)
    for value in values:
        written = value.replace("CODE", "450").replace("D.S.N", "4.1.2").replace("TEXT", "later")
        for prefix in ("", "quick:"):
            decision = parse_decision(TAGS["to"], prefix + written)
            assert (decision.action, decision.quick) == (ACTIONS[value], bool(prefix))


def test_all_tags_are_on_the_page():
    listed = [code(row[0]).removesuffix(":") for row in rows(ACCESS, "tag")]
    assert sorted(listed) == sorted([*TAGS, f"{DNSBL.tag}N"])


@pytest.mark.parametrize("tag", ["ehlo", "cltresolve"])
def test_what_the_page_says_is_refused_is_refused(tag):
    with pytest.raises(ValueError, match=tag):
        check_rhs(TAGS[tag], "relay", tag)


def test_the_four_keys_of_cltresolve():
    row = next(row for row in rows(ACCESS, "tag") if code(row[0]) == "cltresolve:")
    assert set(codes(row[1])) == set(RESOLVE_KEYS.values())
    assert RESOLVE_KEYS[ClientResolve.FORGED] == "forged"


@pytest.mark.parametrize(
    ("allowed", "sender", "client"),
    [
        ("boss@example.org", "boss@example.org", "203.0.113.1"),
        ("example.org", "any@example.org", "203.0.113.1"),
        (".example.org", "any@a.example.org", "203.0.113.1"),
        ("10.0.0.0/8", "any@far.example", "10.1.2.3"),
        ("example.org 192.0.2.7", "any@far.example", "192.0.2.7"),
    ],
)
def test_who_may_write_to_a_protected_recipient(allowed, sender, client):
    assert f"`{allowed}`" in [row[0] for row in rows(ACCESS, "list")]
    assert may_write(allowed, parse_path(sender), client)
    assert not may_write(allowed, parse_path("other@far.example"), "203.0.113.1")


def expand(entries):
    relay = RelayRules((), (), ["example.org"], Routes(None, None))
    table = StaticMap("a", entries)
    made = Aliases(table, localpart=True, local_domains=True, delimiter="+", relay=relay, hostname="gw.example")
    return made.expand(parse_path("list@example.org"))


@pytest.mark.parametrize(("value", "members"), rows(ALIASES, "right-hand side of `list@example.org`"), ids=str)
def test_members_of_an_alias(value, members):
    assert expand({"list": code(value)}) == Members(members=tuple(codes(members)))


@pytest.mark.parametrize(("value", "reply"), rows(ALIASES, "member"), ids=str)
def test_what_is_no_member_of_an_alias(value, reply):
    found = expand({"list": code(value)})
    assert isinstance(found, Unresolved)
    assert f"{found.reply.code} {found.reply.ecode}" == reply


@pytest.mark.parametrize(("entry", "sender"), rows(ALIASES, "aliases of example.org"), ids=str)
def test_owners(entry, sender):
    owner = {codes(entry)[0]: codes(entry)[1]} if codes(entry) else {}
    found = expand({"list": "joe", **owner})
    assert found.owner == (code(sender) if "`" in sender else None)


def test_macros_of_aliases_and_of_regular_expressions(tmp_path):
    named = {name: row[1] for row in rows(MAPS, "macro") for name in codes(row[0])}
    aliases = {f"${{{name}}}" for name in address_macros("jane+news", "example.org")}
    assert {name for name, where in named.items() if where == "aliases"} == aliases
    (tmp_path / "rules").write_text("/b(c)(d)/  " + ",".join(name for name, where in named.items() if where == "regex"))
    assert RegexMap("r", tmp_path / "rules").lookup("abcde").value == "bcd,c,d"


def test_all_types_are_on_the_page_and_no_other_ones():
    assert {code(row[0]) for row in rows(MAPS, "type")} == {*TYPES, "sequence"}


def test_all_words_of_map_servers_are_on_the_page():
    words = {text.split()[0] for row in rows(MAPS, "answer") for text in codes(row[0])}
    assert words == set(STATUS_WORDS)


@pytest.fixture
def server(tmp_path):
    """The map server of the page, as a process."""
    text = (DOCS / MAPS).read_text()
    program = tmp_path / "server.py"
    program.write_text(re.split(r"```python.*\n", text)[1].partition("```")[0])
    with subprocess.Popen([sys.executable, str(program), str(tmp_path / "socket")]) as process:
        try:
            wait_until((tmp_path / "socket").exists, 30, "the map server")
            yield tmp_path / "socket"
        finally:
            process.terminate()


def test_the_map_server_of_the_page_answers(server):
    table = SocketMap("m", str(server), "aliases")
    try:
        wait_until(lambda: table.lookup("news").status is MapStatus.OK, 30, "an answer")
        assert [table.lookup(key).value for key in ("news", "staff")] == ["root@domain.net", "jane <joe@example.net>"]
        assert table.lookup("nobody").status is MapStatus.NOTFOUND
    finally:
        table.close()


@pytest.mark.parametrize(("sender", "rcpt", "made"), rows("verp.md", "sender"), ids=str)
def test_senders_of_verp(sender, rcpt, made):
    assert sender_for(code(sender), code(rcpt)) == code(made)


@pytest.mark.parametrize(("command", "delimiters"), rows("verp.md", "command"), ids=str)
def test_how_a_client_asks_for_verp(command, delimiters):
    offered = frozenset({Ext.XVERP})
    params = parse_mail_params(code(command).partition("> ")[2], offered)
    assert params.verp == code(delimiters)


def test_an_entry_of_an_access_map_counts_as_the_page_says():
    table = AccessMap(StaticMap("a", {"cltaddr:192.0.2": "relay", "from:jane@": "ok", "to:.example.org": "discard"}), "+")
    assert table.client("192.0.2.7", "", ClientResolve.OK).action is Action.RELAY
    assert table.sender(parse_path("jane+x@far.example")).action is Action.OK
    assert table.recipient(parse_path("x@a.example.org")).action is Action.DISCARD
