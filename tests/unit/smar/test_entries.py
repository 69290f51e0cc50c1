"""Entries that are right and those that are not; what is said about them stands in tests/vectors/checkers."""

import pytest

from meta1g.smar.entries import (
    ACCESS,
    ALIASES,
    DESTINATIONS,
    MAILERTABLE,
    SERVER_NAMES,
    USERS,
    EntryRules,
    MapEntry,
    check_entries,
)
from meta1g.smar.mapcheck import check_map

RIGHT = {
    ACCESS: [
        ("cltaddr:192.0.2.1", "relay"),
        ("cltaddr:192.0", "ok"),
        ("cltaddr:2001:db8:0:0", "ok"),
        ("cltaddr:2001:db8::1", "ok"),
        ("cltname:.example.org", "ok"),
        ("cltresolve:forged", "reject"),
        ("cltresolve:temp", "error:451 4.7.1 later"),
        ("from:<>", "ok"),
        ("from:user@example.org", "quick:reject"),
        ("from:user+*@example.org", "reject"),
        ("from:jürgen@example.org", "reject"),
        ("from:localhost", "cont"),
        ("TO:user@", "reject"),
        ("to:.example.org", "error: 550"),
        ("to:user@[192.0.2.1]", "discard"),
        ("protectedrcpt:list@example.org", "example.org, .example.net 192.0.2.0/24 2001:db8::/32 a@b.org 192.0.2.1"),
        ("dnsbl0:127.0.0.2", "reject"),
        ("ehlo:.example.org", "reject"),
        ("ehlo:[192.0.2.1]", "error:554 no"),
        ("smtps_session_conf:192.0.2", "max_recipients = 5;"),
        ("smtpc_session_conf:mx.example.org", "flags = { dont_pipelining };"),
        ("smtpc_session_conf:unix:/run/lmtp", "dot_timeout = 1m;"),
        ("dnsbl12:127", "Error:554 5.7.1 listed"),
    ],
    MAILERTABLE: [
        (".", "lmtp:"),
        ("example.org", "[192.0.2.1] 26^[mx.example.org] 27^host esmtp:mx.example.org."),
        (".example.org", "lmtp:/run/dovecot/lmtp"),
        ("[192.0.2.1]", "lmtp:24^[192.0.2.2]"),
        ("[ipv6:2001:db8::1]", "[IPv6:2001:db8::2]"),
        ("_x.example.org", "smtp:h_1.example.org"),
        ("bücher.example", "mx"),
    ],
    ALIASES: [
        ("postmaster", "root"),
        ("list", "a@x.org, <b@x.org> c"),
        ("@example.org", "${user}+x@example.net"),
        ("user+*@example.org", 'user "a b"@x.org'),
        ("list+detail", "${key}"),
        ("self", "self other"),
    ],
    DESTINATIONS: [("mx.example.org", "max_connections = 2;"), ("192.0.2", "min_retry_delay = 1h; max_retry_delay = 2h;")],
    USERS: [("joe", ""), ("joe@example.org", "x"), ("joe+*", "any text")],
}


@pytest.mark.parametrize(("use", "key", "value"), [(use, *row) for use, rows in RIGHT.items() for row in rows])
def test_right_entries(use, key, value):
    assert check_map([MapEntry("f:1", key, value)], [EntryRules(use=use)]) == []
    assert check_map([MapEntry("f:1", key, value)], [EntryRules()]) == []


WRONG = {
    SERVER_NAMES: [
        ("a..example", "cert key", "is not a domain"),
        ("a.example", "cert key more", "has 3 words; write CERT_FILE KEY_FILE"),
    ],
    ACCESS: [
        ("192.0.2.1", "relay", "has no tag; write cltaddr:192.0.2.1"),
        ("2001:db8::1", "relay", "has no tag; write cltaddr:2001:db8::1"),
        ("a@b.org", "ok", "has no tag; write from:a@b.org"),
        ("cltadr:192.0.2.1", "relay", "unknown tag cltadr:; did you mean cltaddr?"),
        ("cltaddr:192.0.2.300", "relay", "192.0.2.300 is not an IP address"),
        ("cltaddr:192.000.002", "relay", "write 192.0.2"),
        ("cltaddr:2001:0db8", "relay", "write 2001:db8"),
        ("cltaddr:2001:db8:0::1", "relay", "write 2001:db8::1"),
        ("cltaddr:2001:db8:0:0:0:0:0:1", "relay", "write 2001:db8::1"),
        ("cltaddr:::ffff:192.0.2.1", "relay", "write 192.0.2.1"),
        ("cltaddr:[192.0.2.1]", "relay", "no brackets here; write 192.0.2.1"),
        ("cltaddr:192.0.2.0/24", "relay", "networks stand in a map of type cidr"),
        ("cltaddr:192.0.2.", "relay", "ends with a dot and is never asked for; write cltaddr:192.0.2"),
        ("cltaddr:example.org", "relay", "example.org is not an IP address"),
        ("cltaddr:", "relay", "there is nothing behind the tag"),
        ("cltname:192.0.2.1", "ok", "ends in a number"),
        ("cltname:*.example.org", "ok", "write .example.org"),
        ("cltname:a b", "relay", "a b is not a domain"),
        ("cltresolve:forge", "reject", "did you mean forged?"),
        ("cltresolve:ok", "relay", "does not take relay"),
        ("ehlo:example.org", "quick:relay", "does not take relay"),
        ("certsubject:client.example", "relay", "write cn=client.example, or what else the log has"),
        ("certissuer:/C=US/CN=ca", "relay", "is no distinguished name"),
        ("certissuer:cn=our+gca", "relay", "has +; write +2b for it"),
        ("certissuer:cn=<ca>", "relay", "has <; write +3c for it"),
        ("certissuer:cn=our+20ca", "really", "unknown value really"),
        ("from:<>", "relay", "open relay"),
        ("smtps_session_conf:192.0.2.1", "max_recipient = 5;", "did you mean max_recipients?"),
        ("smtps_session_conf:a..b", "max_recipients = 5;", "is not a domain"),
        ("from:a@b@c", "reject", "a@b@c is no address"),
        ("from:<a@b.org>", "reject", "write a@b.org"),
        ("from:@b.org", "reject", "write b.org for all addresses of a domain"),
        ("from:*@b.org", "reject", "only"),
        ("from:a@.b.org", "reject", "no parents"),
        ('from:"a"@b.org', "reject", "without quotation marks"),
        ("to:<>", "reject", "only a sender (from:) can be empty"),
        ("to:b.org.", "reject", "write to:b.org"),
        ("to:*", "reject", "name domains"),
        ("to:.", "reject", "is never asked for; name domains"),
        ("from:..", "reject", "is never asked for; name domains"),
        ("to:b..org.", "reject", "b..org is not a domain"),
        ("to:user@", "  ", "has no value; write relay, ok, cont, reject, discard"),
        ("to:user@", "quick:", "possible are relay"),
        ("to:user@", "rejct", "did you mean reject?"),
        ("to:user@", "DENY", "write reject"),
        ("to:user@", "550 5.7.1 no", "write error:550 5.7.1 no"),
        ("to:user@", "error:250 fine", "code from 400 to 559"),
        ("to:user@", "error:599 odd", "code from 400 to 559"),
        ("to:user@", "error:5501 odd", "code from 400 to 559"),
        ("to:user@", "error:550 4.1.1 mixed", "write 5.1.1"),
        ("to:user@", "error:550 5.1.1 für", "beyond ASCII"),
        ("protectedrcpt:l@b.org", "reject, 192.0.2.1/24", "192.0.2.1/24 is no address"),
        ("protectedrcpt:l@b.org", "a@b..org", "is no address"),
        ("protectedrcpt:l@b.org", "x " * 300_000, "too long"),
    ],
    MAILERTABLE: [
        ("*", "lmtp:", "write . for everything else"),
        ("*.example.org", "lmtp:", "write .example.org"),
        ("@example.org", "lmtp:", "write example.org"),
        ("a@example.org", "lmtp:", "domains, not addresses; write example.org"),
        ("192.0.2.1", "lmtp:", "write [192.0.2.1]"),
        ("[192.0.2]", "lmtp:", "is no address literal"),
        ("example.org.", "lmtp:", "write example.org"),
        ("..", "lmtp:", "is never asked for; name domains"),
        ("example.org", "", "is empty"),
        ("example.org", "99999^[1.2.3.4]", "port is not 1 to 65535"),
        ("example.org", "0^[1.2.3.4]", "port is not 1 to 65535"),
        ("example.org", "lmtp:host", "write lmtp:PATH with a slash, or lmtp:PORT^[ADDRESS]"),
        ("example.org", "lmtp:unix:/run/x", "write lmtp:/run/x"),
        ("example.org", "lmtp:../x", "without ~ and .."),
        ("example.org", "[mx]:25", "write 25^[mx]"),
        ("example.org", "smtp:mx:25", "write 25^mx"),
        ("example.org", "1.2.3.400", "no host name and no IP address"),
        ("example.org", "[1.2.3]", "no host name and no IP address"),
        ("example.org", "error:5.7.1", "no host name"),
        ("example.org", "mx, mx2", "no host name"),
        ("example.org", "lmtp: [1.2.3.4]", "mixes lmtp:"),
    ],
    ALIASES: [
        ("list", "", "has no members"),
        ("list", "|/bin/prog", "there are no programs, files and list files here"),
        ("list", ":include:/etc/list", "there are no programs, files and list files here"),
        ("list", "/var/mail/x", "there are no programs, files and list files here"),
        ("list", "a@@b.org", "member a@@b.org"),
        ("list", "a@b..org", "member a@b..org"),
        ("list", "${usr}@b.org", "did you mean user?"),
        ("list@", "a", "write list for the user in local domains"),
        ("*@b.org", "a", "it stands for a detail only"),
        ("@.b.org", "a", "parents of a domain are not asked for"),
        ("a.", "b", "write a"),
    ],
    USERS: [
        ("joe", "reject", "remove the entry"),
        ("joe", "error:550 gone", "remove the entry"),
        ("@example.org", "", "name each user"),
        ("joe@", "", "write joe"),
    ],
}


@pytest.mark.parametrize(("use", "key", "value", "message"), [(use, *row) for use, rows in WRONG.items() for row in rows])
def test_wrong_entries(use, key, value, message):
    (text,) = check_entries([MapEntry("f:1", key, value)], [EntryRules(use=use)])
    assert text.startswith("f:1: key ")
    assert message in text


@pytest.mark.parametrize(
    "text", ["a\0b", "a\x1b[1m", "a\x7f", "a\x85b", "zero\u200bwidth", "soft\u00adhyphen", "\ufeffa", "\u202ea", "\udcff"]
)
def test_characters_that_nobody_sees_are_told(text):
    assert len(list(check_entries([MapEntry("f:1", text, "v"), MapEntry("f:2", "k", text)], [EntryRules()]))) == 2


def test_a_wrong_key_and_a_wrong_value_are_told_together():
    (text,) = check_entries([MapEntry("f:1", "to:@b.org", "rejct")], [EntryRules(use=ACCESS)])
    assert text == (
        "f:1: key to:@b.org: @b.org is never asked for; write b.org for all addresses of a domain; "
        "also unknown value rejct; did you mean reject?"
    )


def test_a_key_that_comes_twice_is_told_wherever_it_stands():
    rows = [MapEntry("f:1", "a", "x"), MapEntry("f:1", "A", "y"), MapEntry("f:2", "b", "x"), MapEntry("f:3", "b", "x")]
    assert list(check_entries(rows, [EntryRules()])) == [
        "f:1: key A: is already at f:1; remove one",
        "f:3: key b: is already at f:2; remove one",
    ]


def test_an_entry_of_a_map_for_several_uses_is_right_for_one_of_them():
    uses = [EntryRules(use=ALIASES), EntryRules(use=ACCESS)]
    rows = [MapEntry("f:1", "to:a@b.org", "reject"), MapEntry("f:2", "root", "a@b.org"), MapEntry("f:3", "to:b@b.org", "rejct")]
    assert [text[:3] for text in check_entries(rows, uses)] == ["f:3"]


def test_keys_that_no_flag_lets_anybody_ask_for():
    rows = [MapEntry("f:1", "root", "a@b.org"), MapEntry("f:2", "root@b.org", "a@b.org")]
    (text,) = check_entries(rows, [EntryRules(use=ALIASES, localpart=False)])
    assert text == (
        "f:1: key root: a local part alone is not asked for; write root@DOMAIN, or set flags = { localpart } in aliases"
    )


def test_another_delimiter_has_other_details():
    rules = [EntryRules(use=ALIASES, delimiter="-")]
    assert check_map([MapEntry("f:1", "user-*", "a@b.org")], rules) == []
    assert len(check_map([MapEntry("f:1", "user+*", "a@b.org")], rules)) == 1


def test_a_list_that_no_section_names():
    rows = [MapEntry("f:1", f"dnsbl{number}:127.0.0.2", "reject") for number in (0, 1)]
    (text,) = check_entries(rows, [EntryRules(use=ACCESS, lists=1)])
    assert "there is no DNS list 1" in text


def test_aliases_that_lead_only_to_each_other_are_told_and_others_are_not():
    rows = {"a": "b", "b": "c, c", "c": "a b", "d": "d", "e": "f x@y.org", "f": "e", "g": "a", "h": "h a"}
    found = check_map([MapEntry("f:1", key, value) for key, value in rows.items()], [EntryRules(use=ALIASES)])
    assert sorted(text.partition("key ")[2][0] for text in found) == ["a", "b", "c", "g"]


@pytest.mark.parametrize(
    ("use", "key", "value", "message"),
    [
        (ACCESS, "/^from:.*@x\\.org$/", "rejct", "did you mean reject?"),
        (ACCESS, "/^fron:.*/", "reject", "unknown tag fron:"),
        (ACCESS, "/(/", "reject", "wrong expression"),
        (ACCESS, "from:x", "reject", "write /expression/"),
        (ACCESS, "/@x\\.org$/", "ok", "write /^from:.../"),
        (ACCESS, "/(?:a|b)@x\\.org$/", "error:550 5.7.1 ${0}", "write /^from:.../"),
        (ACCESS, "/^(from|to):spam@/", "rejct", "did you mean reject?"),
        (ACCESS, "/^(fron|to):x/", "reject", "unknown tag fron:"),
        (ACCESS, "/^(cltresolve|ehlo):/", "relay", "ehlo: does not take relay"),
        (ACCESS, "/^(certissuer|certsubject):/", "relay", "open relay"),
        (ACCESS, "/^cert(?:issuer|subject):/", "rejct", "did you mean reject?"),
        (ACCESS, "/^(?:from:a|(?i:tu):b)/", "ok", "unknown tag tu:"),
        (ACCESS, "/^from:a|^too:b/", "ok", "unknown tag too:"),
        (ACCESS, "/^from:a|b:?/", "ok", "begins with no tag that can be told"),
        (ACCESS, "/^(from|to)?:x/", "ok", "begins with no tag that can be told"),
        (ACCESS, "/^[a-z]+:x/", "relay", "begins with no tag that can be told"),
        (ACCESS, "/^.*from:x/", "relay", "begins with no tag that can be told"),
        ("", "/^(from|to):spam@/", "rejct", "did you mean reject?"),
        (ACCESS, "/^from:(.*)$/", "error:550 ${2}", "there is no group ${2}, the expression has 1"),
        (MAILERTABLE, "/^(.*)\\.example\\.org$/", "${2}.inside", "there is no group ${2}, the expression has 1"),
        (ALIASES, "/^.*-owner@x\\.org$/", "${1}@y.org", "there is no group ${1}, the expression has 0"),
        (ALIASES, "/^(.*)-owner@x\\.org$/", "${1}@y..org", "member x@y..org"),
        (MAILERTABLE, "/\\.x\\.org$/", "99999^[1.2.3.4]", "port is not"),
    ],
)
def test_wrong_entries_of_a_map_of_expressions(use, key, value, message):
    (text,) = check_entries([MapEntry("f:1", key, value)], [EntryRules(use=use, kind="regex")])
    assert message in text


@pytest.mark.parametrize("value", ["relay", "quick:relay", " Relay"])
@pytest.mark.parametrize(
    "key",
    [
        "/^from:/",
        "/^from:<>$/",
        "/from:.?/",
        "/^cltaddr:/",
        "/^cltaddr:[0-9]/",
        "/^cltaddr:1/",
        "/^cltaddr:2[0-9a-f]+:/",
        "/^cltname:/",
        "/^cltname:.*[.]/",
        "/^to:/",
        "/^to:.*@/",
        "/^(to|protectedrcpt):/",
        "/^clt(?:addr|name):/",
        "/^from:a@b.org$|^to:/",
        "/^To:\\S/",
        "/^from:[a-m].*@/",
        "/^from:[n-z].*@/",
        "/^cltname:.*\\.com$/",
        "/^cltname:mail\\./",
        "/^cltaddr:.*[02468]$/",
        "/^cltaddr:.*[13579]$/",
        "/^cltaddr:[^1]/",
        "/^cltaddr:\\d+$/",
        "/\\Afrom:\\D/",
    ],
)
def test_an_expression_that_lets_strangers_send_anywhere(key, value):
    (text,) = check_entries([MapEntry("f:1", key, value)], [EntryRules(use=ACCESS, kind="regex")])
    assert "would let everybody send anywhere (open relay)" in text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("/^cltaddr:10\\./", "relay"),
        ("/^cltaddr:(192\\.168|172\\.16)\\./", "quick:relay"),
        ("/^cltaddr:2001:db8:/", "relay"),
        ("/^cltname:.*\\.example\\.(org|net|com)$/", "relay"),
        ("/^to:(.*@)?(.*\\.)?example\\.org$/", "relay"),
        ("/^from:postmaster@/", "relay"),
        ("/^(from|to):/", "ok"),
        ("/^cltaddr:/", "cont"),
        ("/^dnsbl\\d:/", "reject"),
        ("/^dnsbl[0-9]+:127/", "reject"),
        ("/^(?i)(?:protectedrcp|pro(?:tected)rcp)t:/", "example.org"),
        ("/^((from|to)):x/", "reject"),
    ],
)
def test_right_entries_of_a_map_of_expressions(key, value):
    assert list(check_entries([MapEntry("f:1", key, value)], [EntryRules(use=ACCESS, kind="regex")])) == []


@pytest.mark.parametrize("key", ["/" + "(a|a)" * 40 + ":x/", "/" + "(" * 60 + "from" + ")" * 60 + ":/"])
def test_an_expression_of_very_many_tags_takes_no_long_time(key):
    (text,) = check_entries([MapEntry("f:1", key, "ok")], [EntryRules(use=ACCESS, kind="regex")])
    assert "begins with no tag that can be told" in text


@pytest.mark.parametrize(
    ("use", "key", "value", "message"),
    [
        (ACCESS, "cltaddr:0.0.0.0/0", "relay", "open relay"),
        (ACCESS, "cltaddr:::/0", "quick:relay", "open relay"),
        (ACCESS, "cltaddr:192.0.2.1/24", "ok", "host bits set"),
        (ACCESS, "cltaddr:192.0.2.0/24", "rejct", "did you mean reject?"),
        (ACCESS, "from:192.0.2.0/24", "ok", "answers for cltaddr:, smtps_session_conf:"),
        (ACCESS, "192.0.2.0/24", "ok", "answers for cltaddr:, smtps_session_conf:"),
        (MAILERTABLE, "192.0.2.0/24", "lmtp:", "answers for cltaddr:, smtps_session_conf:"),
    ],
)
def test_wrong_entries_of_a_map_of_networks(use, key, value, message):
    (text,) = check_entries([MapEntry("f:1", key, value)], [EntryRules(use=use, kind="cidr")])
    assert message in text


def test_right_entries_of_other_kinds():
    rows = [MapEntry("f:1", "cltaddr:0.0.0.0/0", "reject"), MapEntry("f:2", "dnsbl0:127.0.0.0/8", "reject")]
    assert check_map(rows, [EntryRules(use=ACCESS, kind="cidr")]) == []
    rows = [MapEntry("f:1", "/^cltaddr:10\\.(.*)$/", "error:550 5.7.1 go, ${1}"), MapEntry("f:2", "/^(from|to):x/", "reject")]
    assert check_map(rows, [EntryRules(use=ACCESS, kind="regex")]) == []
