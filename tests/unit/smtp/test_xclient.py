"""Attributes of XCLIENT and XFORWARD; the dialogues tests/dialogs/xclient.dlg and xforward.dlg have the commands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.smtp import replies, xtext
from meta1g.smtp.xclient import VALUE_MAX_CHARS, XCLIENT_ATTRIBUTES, XFORWARD_ATTRIBUTES, parse_attributes

RIGHT = {
    "NAME=Client.Example": {"NAME": "client.example"},
    "name=[unavailable]": {"NAME": ""},
    "NAME=[TEMPUNAVAIL] ADDR=192.0.2.9": {"NAME": "", "ADDR": "192.0.2.9"},
    "ADDR=IPV6:2001:DB8::1": {"ADDR": "2001:db8::1"},
    "ADDR=ipv6:::ffff:192.0.2.9": {"ADDR": "192.0.2.9"},
    "ADDR=2001:db8::1": {"ADDR": "2001:db8::1"},
    "PORT=0025 PROTO=esmtp": {"PORT": "25", "PROTO": "ESMTP"},
    "HELO=[192.0.2.9]  DESTPORT=25": {"HELO": "[192.0.2.9]", "DESTPORT": "25"},
    "LOGIN=ann+2Bx@example.org": {"LOGIN": "ann+x@example.org"},
    "HELO=two+20words(x)": {"HELO": "two?words?x?"},
}
WRONG = ["", "NAME", "=x", "NAME=", "NAME=a+b", "NAME=+00", "NAME=[192.0.2.9]", "ADDR=[192.0.2.9]", "ADDR=192.0.2", "PORT=-1",
         "ADDR=fe80::1+25x", "ADDR=192.0.2.9 ADDR=192.0.2.9", "PORT=65536", "PORT=+2B1", "PROTO=LMTP", "X=y", "IDENT=x",
         "NAME=a b", "NAME=a\tb", "HELO=[x+0D+0A", f"NAME={'a.' * 127}com", f"HELO={'x' * (VALUE_MAX_CHARS + 1)}"]  # fmt: skip


@pytest.mark.parametrize("argument", RIGHT)
def test_what_is_right_is_read_and_what_is_not_known_is_empty(argument):
    assert parse_attributes(argument, XCLIENT_ATTRIBUTES) == RIGHT[argument]


@pytest.mark.parametrize("argument", WRONG)
def test_what_is_wrong_is_refused(argument):
    assert parse_attributes(argument, XCLIENT_ATTRIBUTES) == replies.BAD_ATTRIBUTE


def test_each_command_has_attributes_of_its_own():
    assert parse_attributes("IDENT=47+2B11 SOURCE=local", XFORWARD_ATTRIBUTES) == {"IDENT": "47+11", "SOURCE": "LOCAL"}
    assert parse_attributes("DESTADDR=192.0.2.9", XFORWARD_ATTRIBUTES) == replies.BAD_ATTRIBUTE


@given(st.text(max_size=300), st.sampled_from([*XCLIENT_ATTRIBUTES, *XFORWARD_ATTRIBUTES]))
def test_no_value_breaks_a_line_or_is_longer_than_it_may_be(text, name):
    for table in (XCLIENT_ATTRIBUTES, XFORWARD_ATTRIBUTES):
        for argument in (f"{name}={xtext.encode(text)}", f"{name}={text}", text):
            values = parse_attributes(argument, table)
            if isinstance(values, dict):
                assert all(len(value) <= VALUE_MAX_CHARS and value.isprintable() for value in values.values())
