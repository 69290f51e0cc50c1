import pytest

from meta1g.maps.rhs import address_macros, replace


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("plain $ { }", "plain $ { }"),
        ("${user}@new.example", "joe@new.example"),
        ("${user}+${detail}@${domain}", "joe+x@old.example"),
        ("<${key}>", "<joe+x@old.example>"),
        ("${unknown} ${1}", "${unknown} ${1}"),
        ("${", "${"),
    ],
)
def test_macros_of_an_address_are_replaced_and_others_stay(value, result):
    assert replace(value, address_macros("joe+x", "old.example")) == result


def test_what_is_put_in_is_not_replaced_again():
    assert replace("${user}", {"user": "${domain}", "domain": "x"}) == "${domain}"


def test_an_address_without_domain_and_without_delimiter():
    assert address_macros("a+b", "", "") == {"user": "a+b", "detail": "", "domain": "", "key": "a+b"}
