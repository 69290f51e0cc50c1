"""Domains with other letters than ASCII."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.base.idn import address_in_ascii, forms, to_ascii


@pytest.mark.parametrize(
    ("domain", "ascii_form"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.Example", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),  # not fass.example
        ("_x.ü.example", "_x.xn--tda.example"),
        ("例え。jp", "xn--r8jz45g.jp"),
        ("Plain.Example", "Plain.Example"),
    ],
)
def test_a_name_has_one_form_in_the_dns(domain, ascii_form):
    assert to_ascii(domain) == ascii_form


@pytest.mark.parametrize(
    "domain",
    ["☃.example", "ü" * 64 + ".example", "\u200d.example", "a＠b.example", "b.ü＞\u3000SIZE＝1", "a℀.example", "。a.example"],
)
def test_what_is_no_name_has_none(domain):
    with pytest.raises(ValueError, match=r"\S"):
        to_ascii(domain)
    assert forms(domain) == (domain,)


@pytest.mark.parametrize(
    ("domain", "written"),
    [
        ("bücher.example", ("bücher.example", "xn--bcher-kva.example")),
        ("xn--bcher-kva.example", ("xn--bcher-kva.example", "bücher.example")),
        ("plain.example", ("plain.example",)),
        ("xn--zzzz.example", ("xn--zzzz.example",)),
        ("axn--b.example", ("axn--b.example",)),
    ],
)
def test_a_domain_is_written_in_all_ways(domain, written):
    assert forms(domain) == written


@given(st.text(max_size=80))
def test_any_text_has_a_form(text):
    assert forms(text)[0] == text


@given(st.text(st.sampled_from("aü.＠＞＂　；\u2024\ufe52℀①\uff0e\xad"), max_size=12))
def test_a_look_alike_never_becomes_syntax(domain):
    for form in [*forms(domain)[1:], address_in_ascii(f"u@{domain}")]:
        assert set(form.rpartition("@")[2] if form.isascii() else "") <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.")
        assert form.count("@") <= 1
