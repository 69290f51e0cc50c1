import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.conf import values
from meta1g.conf.mailaddress import MailAddress
from meta1g.conf.port import Port
from meta1g.conf.values import (
    AbsolutePath,
    Bool,
    Choice,
    Domain,
    Flag,
    Flags,
    Int,
    IpAddress,
    ListOf,
    Mode,
    Network,
    Size,
    Text,
    Time,
    quote,
    suggest,
)

FLAGS = Flags((Flag("on", True, "x"), Flag("off", False, "x"), Flag("8bit", True, "x"), Flag("no_one", False, "x")))


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Text(), "a b", "a b"),
        (Text(may_be_empty=True), "", ""),
        (AbsolutePath(), "/var/spool", "/var/spool"),
        (Int(), "10", 10),
        (Int(), "0", 0),
        (Int(), "010", 8),
        (Int(), "0x10", 16),
        (Mode(), "0660", 0o660),
        (Mode(), "660", 0o660),
        (Bool(), "Yes", True),
        (Bool(), "false", False),
        (Time(), "5m3s", 303),
        (Time(), "6m", 360),
        (Time(), "6", 6),
        (Time(), "1w", 604800),
        (Size(), "10KB", 10240),
        (Size(), "7", 7),
        (Choice(("inet", "unix")), "INET", "inet"),
        (IpAddress(), "127.0.0.1", "127.0.0.1"),
        (IpAddress(), "2001:DB8:0::1", "2001:db8::1"),
        (Network(), "192.0.2.0/24", "192.0.2.0/24"),
        (Network(), "192.0.2.7", "192.0.2.7"),
        (Network(), "192.0.2.7/32", "192.0.2.7"),
        (Network(), "2001:db8::/32", "2001:db8::/32"),
        (Port(listen=True), "0", 0),
        (Port(), "1", 1),
        (Domain(), "MX.Example.", "mx.example"),
        (Domain(dotted=True), ".example", ".example"),
        (Domain(dotted=True, root=True), ".", "."),
        (MailAddress(), "Copies.1+x@Example.org", "Copies.1+x@Example.org"),
    ],
)
def test_values_are_read(kind, text, value):
    assert kind.combine([kind.parse(text)]) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Text(), ""),
        (Text(), "a\nb"),
        (Text(blanks=False), "a b"),
        (Text(max_chars=2), "abc"),
        (AbsolutePath(), "var/spool"),
        (Int(), "1.5"),
        (Int(), "+1"),
        (Int(), "\u0661"),
        (Int(), "08"),
        (Int(1, 3), "4"),
        (Mode(), "0888"),
        (Mode(), "01777"),
        (Bool(), "maybe"),
        (Time(), "5 m"),
        (Time(), "m"),
        (Time(60, 120), "59"),
        (Size(), "1TB"),
        (Choice(("inet", "unix")), "tcp"),
        (IpAddress(), "127.1"),
        (IpAddress(), "127.0.0.1/8"),
        (Network(), "192.0.2.7/24"),
        (Network(), "192.0.2.0/255"),
        (Port(), "65536"),
        (Port(), "0"),
        (Port(listen=True), "-1"),
        (Domain(), ".example"),
        (Domain(), "a..b"),
        (Domain(), "."),
        (Domain(dotted=True), "."),
        (MailAddress(), "postmaster"),
        (MailAddress(), "@example.org"),
        (MailAddress(), "a@"),
        (MailAddress(), "a b@example.org"),
        (MailAddress(), "a..b@example.org"),
        (MailAddress(), "<a@example.org>"),
        (MailAddress(), "a@.example.org"),
        (MailAddress(), "a@b@example.org"),
        (Domain(host=True), "1.2.3.4"),
        (Domain(host=True), "gw_1.example.org"),
        (Domain(host=True), "-a.b"),
        (Domain(host=True), "m\u00fcller.de"),
        (Domain(), "x" * 64),
        (Domain(), ("x" * 60 + ".") * 5),
    ],
)
def test_wrong_values_are_refused(kind, text):
    with pytest.raises(ValueError, match=r"."):
        kind.parse(text)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((), {"on", "8bit"}),
        (("off",), {"on", "off", "8bit"}),
        (("dont_on",), {"8bit"}),
        (("no_on",), {"8bit"}),
        (("!ON",), {"8bit"}),
        (("dont_8bit", "dont_on"), set()),
        (("no_one",), {"on", "8bit", "no_one"}),
        (("dont_no_one",), {"on", "8bit"}),
    ],
)
def test_flags_start_from_their_defaults(texts, expected):
    assert FLAGS.combine([FLAGS.parse(text) for text in texts]) == expected


def test_a_flag_that_is_set_and_cleared_is_refused():
    with pytest.raises(ValueError, match="flag on is both set and cleared"):
        FLAGS.combine([("on", True), ("on", False)])


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Int(), 5),
        (Mode(), 0o70),
        (Bool(), False),
        (Time(), 303),
        (Time(), 0),
        (Size(), 3 << 20),
        (Size(), 0),
        (ListOf(Domain()), ("a.example", "b.example")),
        (ListOf(Int()), ()),
        (FLAGS, frozenset({"off", "8bit"})),
        (FLAGS, frozenset({"on", "8bit"})),
    ],
)
def test_what_is_written_is_read_back(kind, value):
    assert kind.combine([kind.parse(word) for word in kind.words(value)]) == value


@given(st.integers(0, 10**9))
def test_every_time_is_written_and_read_back(seconds):
    kind = Time(0, 10**9)
    assert kind.parse(kind.words(seconds)[0]) == seconds


@given(st.text())
def test_any_text_gives_a_value_or_a_value_error(text):
    for kind in (
        *(
            Text(),
            AbsolutePath(),
            Int(),
            Mode(),
            Bool(),
            Time(),
            Size(),
            Choice(("a", "b")),
            IpAddress(),
            Network(),
            Port(),
            Domain(),
        ),
        FLAGS,
    ):
        message = ""
        try:
            kind.combine([kind.parse(text)])
        except ValueError as error:
            message = str(error)
        assert message.isprintable()


@pytest.mark.parametrize(
    ("text", "expected"), [("a/b", "a/b"), ("a b", '"a b"'), ("", '""'), ('a"b\\', '"a\\"b\\\\"'), ("a;b", '"a;b"')]
)
def test_values_are_quoted_where_they_must_be(text, expected):
    assert quote(text) == expected


@pytest.mark.parametrize(
    ("word", "names", "advice"),
    [
        ("max_recipient", ["max_recipients", "max_hops"], "did you mean max_recipients?"),
        ("AQ_MAX_ENTRIE", ["AQ_max_entries"], "did you mean AQ_max_entries?"),
        ("zzz", ["a", "b"], "possible are a, b"),
        ("zzz", ["a"], "only a is possible"),
        ("zzz", [], "nothing is possible here"),
        ("zzz", [f"name{i}" for i in range(12)], "possible are " + ", ".join(f"name{i}" for i in range(10)) + ", 2 others"),
    ],
)
def test_the_nearest_known_name_is_proposed(word, names, advice):
    assert suggest(word, names) == advice


def test_every_kind_describes_itself():
    kinds = [
        one
        for one in vars(values).values()
        if isinstance(one, type) and hasattr(one, "describe") and one is not values.ValueKind
    ]
    assert len(kinds) >= 14
