import pytest

from meta1g.smtp.address import NULL, Address, AddressError, is_host, parse_path, split_detail, split_path


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
    assert not parse_path("\u00e9@b\u00fc.example", utf8=True).is_ascii


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


@pytest.mark.parametrize(
    ("local", "parts"),
    [("u+d", ("u", "d")), ("u", ("u", None)), ("u+", ("u", "")), ("+u", ("+u", None)), ("u+d+e", ("u", "d+e"))],
)
def test_the_detail_is_parted_from_the_user(local, parts):
    assert split_detail(local) == parts


def test_without_a_delimiter_there_is_no_detail():
    assert split_detail("u+d", "") == ("u+d", None)


@pytest.mark.parametrize("text", ["host", "a.b.example", "[192.0.2.1]", "[IPv6:::1]", "192.0.2.1", "a_b.example"])
def test_host_names_and_literals_are_hosts(text):
    assert is_host(text)


@pytest.mark.parametrize("text", ["", "a b", "-a", "a..b", "[x]", "a\r\n", "(a)", "x" * 256, "\u00e9.example"])
def test_other_texts_are_no_hosts(text):
    assert not is_host(text)
