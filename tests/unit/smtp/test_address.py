import pytest

from meta1g.smtp.address import (
    NULL,
    Address,
    AddressError,
    Leniency,
    ehlo_text,
    is_host,
    parse_path,
    parse_sender,
    split_path,
)

ODD = Leniency(odd_dots=True)
BARE = Leniency(bare=True)
LOCAL = Leniency(sender_domain="gw.example")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("user@example.org", Address("user", "example.org", "user@example.org")),
        ("<user@example.org>", Address("user", "example.org", "user@example.org")),
        ("a.b+c=d@x-y.example", Address("a.b+c=d", "x-y.example", "a.b+c=d@x-y.example")),
        ('"a b"@example.org', Address("a b", "example.org", '"a b"@example.org')),
        (r'"a\"b>"@example.org', Address('a"b>', "example.org", r'"a\"b>"@example.org')),
        ("@relay.example,@other.example:u@example.org", Address("u", "example.org", "u@example.org")),
        ("u@[192.0.2.1]", Address("u", "[192.0.2.1]", "u@[192.0.2.1]")),
        ("u@[IPv6:2001:db8::1]", Address("u", "[IPv6:2001:db8::1]", "u@[IPv6:2001:db8::1]")),
        ("Postmaster", Address("Postmaster", "", "Postmaster")),
        ("u@under_score.example", Address("u", "under_score.example", "u@under_score.example")),
    ],
)
def test_paths_are_read(text, address):
    assert parse_path(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "user",
        "@example.org",
        "user@",
        "a..b@example.org",
        ".a@example.org",
        "a b@example.org",
        "a@b@c",
        "a@-b.example",
        "a@b-.example",
        "a@b..example",
        "a@b.",
        "a@[1.2.3]",
        "a@[IPv6:x]",
        "a@[]",
        '"a@example.org',
        "a\r\nb@example.org",
        "a\0@example.org",
        "\u00e9@example.org",
        "a@\u00fc.example",
        "x" * 257 + "@example.org",
        "a@[IPv6:::1%1]",
        "a@[IPv6:fe80::1%(x]",
        "a@[1.2.3.4%x]",
        "a@" + "x" * 64 + ".example",
        "a@" + ".".join(["x" * 50] * 6),
    ],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(AddressError):
        parse_path(text)


@pytest.mark.parametrize("local", ["x" * 65, "x" * 256, "bounces+SRS=aBcDe=" + "a" * 100 + "=example.org=user"])
def test_a_long_local_part_is_read(local):
    """VERP, SRS and BATV make longer ones than the 64 bytes that everybody has to take."""
    assert parse_path(f"{local}@example.org").local == local


def test_the_null_path_is_read_where_it_is_allowed():
    assert parse_path("<>", null_ok=True) is NULL
    assert parse_path("", null_ok=True).is_null


def test_with_smtputf8_other_characters_are_allowed():
    assert parse_path("\u00e9@b\u00fc.example", utf8=True).local == "\u00e9"


def test_the_key_is_lower_case_and_without_quotes():
    assert parse_path('"Joe"@EXAMPLE.org').key == "joe@example.org"
    assert parse_path("POSTMASTER").key == "postmaster"


@pytest.mark.parametrize(
    ("argument", "parts"),
    [
        ("<a@b> SIZE=1", ("a@b", "SIZE=1")),
        ("<>", ("", "")),
        ('<"a> b"@c> X', ('"a> b"@c', "X")),
        ("<a@b>  BODY=7BIT  X", ("a@b", "BODY=7BIT  X")),
    ],
)
def test_path_and_parameters_are_parted(argument, parts):
    assert split_path(argument) == parts


@pytest.mark.parametrize("argument", ["a@b", "<a@b", "<a@b>X", "<a<b>", "", "<a@b>>"])
def test_an_argument_without_a_path_in_brackets_is_refused(argument):
    with pytest.raises(AddressError):
        split_path(argument)


@pytest.mark.parametrize("text", ["host", "a.b.example", "[192.0.2.1]", "[IPv6:::1]", "192.0.2.1", "a_b.example"])
def test_host_names_and_literals_are_hosts(text):
    assert is_host(text)


@pytest.mark.parametrize("text", ["", "a b", "-a", "a..b", "[x]", "a\r\n", "(a)", "x" * 256, "\u00e9.example"])
def test_other_texts_are_no_hosts(text):
    assert not is_host(text)


@pytest.mark.parametrize(
    ("text", "local", "made"),
    [
        ("a..b@x.example", "a..b", '"a..b"@x.example'),
        (".a@x.example", ".a", '".a"@x.example'),
        ("a.@x.example", "a.", '"a."@x.example'),
        ("...@x.example", "...", '"..."@x.example'),
        ("a..b@x.example.", "a..b", '"a..b"@x.example'),
        ("a.b@x.example.", "a.b", "a.b@x.example"),
        ("a.b@x.example", "a.b", "a.b@x.example"),
        ("@relay.example:a..b@x.example", "a..b", '"a..b"@x.example'),
    ],
)
def test_odd_dots_go_on_in_the_form_of_the_rfc(text, local, made):
    address = parse_path(text, ODD)
    assert (address.local, address.domain, address.text) == (local, "x.example", made)
    assert parse_path(address.text) == address


@pytest.mark.parametrize(
    "text", ["a b@x.example", "a..b@", "a@x..example", "a@x.example..", "a@b@x.example", '"a"..b@x.example', ""]
)
def test_dots_excuse_nothing_else(text):
    with pytest.raises(AddressError):
        parse_path(text, ODD)


def test_a_long_row_of_dots_costs_no_time():
    with pytest.raises(AddressError):
        parse_path("." * 500, ODD)


def test_odd_dots_and_other_characters_go_together():
    assert parse_path("\u00e9..b@b\u00fc.example", ODD, utf8=True).text == '"\u00e9..b"@b\u00fc.example'


@pytest.mark.parametrize(
    ("argument", "parts"),
    [
        ("a@b SIZE=1", ("a@b", "SIZE=1")),
        ('"a > b"@c X', ('"a > b"@c', "X")),
        ("< a@b > X", ("a@b", "X")),
        ("<>", ("", "")),
        ("<a@b>", ("a@b", "")),
    ],
)
def test_brackets_may_be_missing_where_that_is_allowed(argument, parts):
    assert split_path(argument, BARE) == parts


@pytest.mark.parametrize("argument", ["", "SIZE=1", "root", "<a@b", "a@b>", "a@b>X", '"Joe" <a@b>', "a@b@c", '"a@b'])
def test_what_is_no_address_needs_brackets_all_the_same(argument):
    with pytest.raises(AddressError):
        split_path(argument, BARE)


@pytest.mark.parametrize("text", ["MAILER-DAEMON", "root", "www-data", "a.b", "postmaster", '"joe smith"', '"a@b"'])
def test_a_sender_without_domain_gets_ours_where_that_is_allowed(text):
    assert parse_sender(text, LOCAL).text == f"{text}@gw.example"
    if text != "postmaster":
        with pytest.raises(AddressError):
            parse_sender(text)


def test_what_else_is_taken_of_addresses_is_taken_of_senders_without_domain():
    assert parse_sender("a..b", Leniency(sender_domain="gw.example", odd_dots=True)).text == '"a..b"@gw.example'
    assert parse_sender("\u00e9", LOCAL, utf8=True).text == "\u00e9@gw.example"


def test_other_senders_stay_as_they_are():
    assert parse_sender("", LOCAL) is NULL
    assert parse_sender("a@b.example", LOCAL).text == "a@b.example"
    for wrong in ("a b", "@x", "a@", "a..b"):
        with pytest.raises(AddressError):
            parse_sender(wrong, LOCAL)


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("host.example", "host.example"),
        ("host.example.", "host.example."),
        ("joe's-pc", "joe's-pc"),
        ("[2001:db8::5]", "[2001:db8::5]"),
        ("my pc (upstairs)", "my?pc??upstairs?"),
        ("b\u00fcro", "b?ro"),
        ("b\udcfcro", "b?ro"),
        ('"a";<b>,c@d\\e', "?a???b??c?d?e"),
        ("x" * 300, "x" * 255),
    ],
)
def test_the_argument_of_ehlo_cannot_do_harm_in_a_field(argument, text):
    assert ehlo_text(argument, strict=False) == text


@pytest.mark.parametrize("argument", ["[192.0.2.1]:587", "[192.0.2.1].local", "[192.0.2.1", "[]"])
def test_what_is_like_a_literal_does_no_harm_in_a_field(argument):
    assert ehlo_text(argument, strict=False) == argument
    assert ehlo_text(argument, strict=True) is None


@pytest.mark.parametrize("argument", ["[192.0.2.1]]", "[IPv6:::1%(x]", "[fe80::1%eth0]", "[a b]", "[a](b", "[\u00fc]"])
def test_what_begins_as_a_literal_is_one_of_names_and_addresses(argument):
    assert ehlo_text(argument, strict=False) is None


@pytest.mark.parametrize("argument", ["host.example.", "joe's-pc", "[2001:db8::5]", "my pc", "b\u00fcro"])
def test_with_strict_checks_only_hosts_are_taken(argument):
    assert ehlo_text(argument, strict=True) is None
    assert ehlo_text("[IPv6:2001:db8::5]", strict=True) == "[IPv6:2001:db8::5]"


@pytest.mark.parametrize(
    "text", ["\udcfc@x.example", '"\udcfc"@x.example', "a..\udcfc@x.example", "a@b\udcfccher.example", "a@\ud800"]
)
def test_what_stands_for_bytes_that_are_no_utf_8_is_in_no_address(text):
    with pytest.raises(AddressError, match="address has a wrong form"):
        parse_path(text, ODD, utf8=True)
