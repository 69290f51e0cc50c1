import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.smtp import xtext


@given(st.text())
def test_any_text_reads_back(text):
    encoded = xtext.encode(text)
    assert xtext.is_xtext(encoded)
    assert xtext.decode(encoded) == text


def test_plus_equals_and_blanks_are_quoted():
    assert xtext.encode("a+b=c d") == "a+2Bb+3Dc+20d"


@pytest.mark.parametrize("text", ["a b", "a=b", "a+2", "a+2b", "\u00e9", "a\r\n"])
def test_what_is_not_xtext_is_refused(text):
    assert not xtext.is_xtext(text)
    with pytest.raises(ValueError, match="not xtext"):
        xtext.decode(text)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_address_reads_back_from_its_ascii_form(address):
    embedded = xtext.embed(address)
    assert embedded.isascii()
    assert xtext.is_xtext(embedded)
    assert xtext.address_of(f"utf-8;{embedded}") == ("utf-8", address) or not address


@pytest.mark.parametrize(
    ("orcpt", "address"),
    [
        ("rfc822;a+2Bb@c", ("rfc822", "a+b@c")),
        ("utf-8;\\x{E4}\\x{2B}b@c", ("utf-8", "ä+b@c")),
        ("UTF-8;ä\\x{2B}b@c", ("UTF-8", "ä+b@c")),
        ("utf-8;+C3+A4@c", ("utf-8", "ä@c")),
        ("utf-8;\\x{D800}@c", ("utf-8", "\\x{D800}@c")),
        ("rfc822;\\x{E4}@c", ("rfc822", "\\x{E4}@c")),
        ("rfc822;a+b@c", ("rfc822", "a+b@c")),
        ("nothing", ("nothing", "")),
    ],
)
def test_the_address_behind_an_original_recipient(orcpt, address):
    assert xtext.address_of(orcpt) == address


@pytest.mark.parametrize(("address", "orcpt"), [("a+b@c", "rfc822;a+2Bb@c"), ("ä+b@c", "utf-8;\\x{E4}\\x{2B}b@c")])
def test_an_original_recipient_is_written_in_ascii(address, orcpt):
    assert xtext.orcpt_of(address) == orcpt
