"""Stored passwords: each kind is made and checked, what is weak, locked or endless is refused."""

import contextlib
import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as some

from meta1g.sasl import stored as stored_module
from meta1g.sasl.stored import ARGON2ID, CRYPT, EXTERNAL, check_stored, make_stored, read_stored

SALT = bytes(range(16))


def made(kind="SCRAM-SHA-256"):
    return make_stored(kind, "pencil", SALT, 4096)


@pytest.mark.parametrize("kind", ["SCRAM-SHA-256", "SCRAM-SHA-1", ARGON2ID])
def test_what_is_made_can_be_read_and_is_right_for_its_password_only(kind):
    stored = read_stored(str(made(kind)))
    assert stored.kind == kind
    assert stored.checks_passwords
    assert check_stored(stored, "pencil")
    for wrong in ("pencils", "", "Pencil", "pen\0cil", "p" * 600):
        assert not check_stored(stored, wrong)


def crypted(setting):
    """A hash of `pencil` by the C library."""
    return stored_module._libcrypt()(b"pencil", setting.encode(), ctypes.create_string_buffer(256 << 10)).decode()


@pytest.mark.parametrize("setting", ["$6$saltsalt$", "$5$saltsalt$", "$y$j9T$saltsalt$", "$2y$05$abcdefghijklmnopqrstuu"])
@pytest.mark.parametrize("head", ["", "{CRYPT}", "{crypt}"])
def test_hashes_of_crypt_are_checked(setting, head):
    stored = read_stored(head + crypted(setting))
    assert stored.kind == CRYPT
    assert check_stored(stored, "pencil")
    assert not check_stored(stored, "pencils")


def test_the_names_that_dovecot_has_for_crypt_are_known():
    assert read_stored("{SHA512-CRYPT}" + crypted("$6$saltsalt$")).kind == CRYPT


def test_a_certificate_has_no_password():
    stored = make_stored(EXTERNAL, "", SALT)
    assert read_stored(str(stored)) == stored
    assert not stored.checks_passwords
    assert not check_stored(stored, "pencil")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "none of yescrypt"),
        ("*", "locked"),
        ("*0", "locked"),
        ("!$6$saltsalt$x", "locked"),
        ("{CRYPT}*1", "locked"),
        ("x", "none of yescrypt"),
        ("$1$salt$hashhash", "none of yescrypt"),
        ("ab1234567890x", "none of yescrypt"),
        ("{PLAIN}pencil", "{PLAIN} is no kind"),
        ("{MD5}x", "{MD5} is no kind"),
        ("$6$rounds=999999999$salt$x", "for ever"),
        ("$6$rounds=9999999999999$salt$x", "for ever"),
        ("$2y$31$abcdefghijklmnopqrstuu", "for ever"),
        ("$argon2id$v=19$m=9999999,t=1,p=1$c2FsdHNhbHQ$aGFzaA", "too large"),
        ("$argon2id$v=19$m=99,t=99,p=1$c2FsdHNhbHQ$aGFzaA", "too large"),
        ("$argon2id$v=16$m=99,t=9,p=1$c2FsdHNhbHQ$aGFzaA", "not of the form"),
        ("$argon2i$v=19$m=99,t=9,p=1$c2FsdHNhbHQ$aGFzaA", "none of yescrypt"),
        ("{SCRAM-SHA-256}1,YWJjZA==,YQ==,YQ==", "count from 4096"),
        ("{SCRAM-SHA-256}99999999,YWJjZA==,YQ==,YQ==", "count from 4096"),
        ("{SCRAM-SHA-256}4096,YWJjZA==,YQ==,YQ==", "wrong length"),
        ("{SCRAM-SHA-256}4096,YWJjZA==,!,YQ==", "no base64"),
        ("{SCRAM-SHA-256}4096,YWJjZA==", "COUNT,SALT"),
        ("{EXTERNAL}x", "{EXTERNAL} is no kind"),
        ("x" * 513, "512 characters"),
        ("$6$saltsalt$\0", "printable"),
        ("$6$saltsält$x", "printable"),
    ],
)
def test_what_cannot_be_used_is_refused_and_not_shown(text, told):
    with pytest.raises(ValueError, match=r"\w") as error:
        read_stored(text)
    assert told in str(error.value)
    assert "pencil" not in str(error.value)


@given(some.text(max_size=600))
def test_whatever_stands_there_is_read_or_refused(text):
    with contextlib.suppress(ValueError):
        assert read_stored(str(read_stored(text))) == read_stored(text)
