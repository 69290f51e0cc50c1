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
