import pytest

from meta1g.smtp.address import parse_path
from meta1g.smtp.verp import are_delimiters, sender_for


@pytest.mark.parametrize(
    ("sender", "rcpt", "delimiters", "expected"),
    [
        ("list@from.example", "user@to.example", "+=", "list+user=to.example@from.example"),
        ("list@from.example", "user+x=y@to.example", "-=", "list-user+x=y=to.example@from.example"),
        ("list+7@from.example", "user@[192.0.2.1]", "+=", '"list+7+user=[192.0.2.1]"@from.example'),
        ("list@from.example", '"a b"@to.example', "+=", '"list+a b=to.example"@from.example'),
        ("list@from.example", '"a\\"b"@to.example', "+=", '"list+a\\"b=to.example"@from.example'),
        ('"my list"@from.example', "user@to.example", "+=", '"my list+user=to.example"@from.example'),
        ("list@from.example", "jürgen@büro.example", "+=", "list+jürgen=büro.example@from.example"),
        ("list@from.example", "postmaster", "+=", "list+postmaster@from.example"),
        ("", "user@to.example", "+=", ""),
        ("postmaster", "user@to.example", "+=", "postmaster"),
    ],
)
def test_the_sender_carries_the_recipient(sender, rcpt, delimiters, expected):
    assert sender_for(sender, rcpt, delimiters) == expected
    assert parse_path(expected, null_ok=True, utf8=True).text == expected


@pytest.mark.parametrize(
    ("text", "right"), [("+=", True), ("--", True), ("=-", True), ("+", False), ("+=-", False), ("+#", False)]
)
def test_delimiters_are_two_of_three_characters(text, right):
    assert are_delimiters(text) is right
