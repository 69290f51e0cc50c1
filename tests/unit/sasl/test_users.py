"""The password file: its lines, and what an unknown user meets."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from meta1g.sasl.stored import make_stored
from meta1g.sasl.users import read_lines, read_users

SECRET = ":a-secret-of-the-file"


def entry(kind="SCRAM-SHA-256", iterations=4096, salt=b"0123456789abcdef"):
    return str(make_stored(kind, "pencil", salt, iterations))


def users(*lines):
    read, wrong = read_users("\n".join(lines), "users")
    assert wrong == []
    return read


def test_lines_of_all_forms():
    read = users(
        "# comment",
        "",
        f"Ann@Example.ORG:{entry()} {entry('SCRAM-SHA-1')}",
        f"joe:{entry()}:1000:1000::/home/joe:/bin/sh",
        "door:{EXTERNAL}",
        SECRET,
    )
    assert read.names() == ["ann@example.org", "joe", "door"]
    assert [one.kind for one in read.of("ann@example.org")] == ["SCRAM-SHA-256", "SCRAM-SHA-1"]
    assert read.verifier("ann@example.org", "SCRAM-SHA-1").iterations == 4096
    assert read.verifier("joe", "SCRAM-SHA-1") is None
    assert read.password("door") is None
    assert read.has_certificate("door")
    assert not read.has_certificate("joe")
    assert read.of("nobody") == ()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("joe", "no colon"),
        ("joe:", "has no password"),
        ("joe:*", "locked"),
        ("joe:!", "locked"),
        ("joe:x", "none of yescrypt"),
        (f"a b:{entry()}", "no blank"),
        (f"*joe:{entry()}", "no blank"),
        (f"{'x' * 321}:{entry()}", "320 characters"),
        (f"joe:{entry()} {entry()}", "two passwords of one kind"),
        (f"joe:{entry()}{' ' * 5000}", "4096 characters"),
        (":short", "too short"),
        (f"joe\0:{entry()}", "no blank"),
    ],
)
def test_a_wrong_line_is_named_and_the_others_are_read(line, told):
    read, wrong = read_users(f"# c\n{line}\nann:{entry()}\n", "users")
    assert read.names() == ["ann"]
    assert len(wrong) == 1
    assert wrong[0].startswith("users:2: ")
    assert told in wrong[0]


def test_a_user_stands_once():
    _, wrong = read_users(f"joe:{entry()}\nJOE:{entry()}\n", "users")
    assert wrong == ["users:2: the user stands twice; remove one"]


def test_a_file_full_of_errors_tells_the_first_ones_only():
    assert len(read_users("x\n" * 1000, "users")[1]) == 20


def test_an_unknown_user_has_work_and_iterations_like_the_others_and_always_the_same_salt():
    read = users(SECRET, f"a:{entry(iterations=5000)}", f"b:{entry(iterations=6000, salt=b'12345678')}")
    made = {name: read.unknown(name, "SCRAM-SHA-256") for name in map(str, range(40))}
    assert {(one.iterations, len(one.salt)) for one in made.values()} == {(5000, 16), (6000, 8)}
    assert len({one.salt for one in made.values()}) == 40
    again = users(SECRET, f"a:{entry(iterations=5000)}", f"b:{entry(iterations=6000, salt=b'12345678')}")
    assert {name: again.unknown(name, "SCRAM-SHA-256") for name in made} == made, "another process says the same"
    other = users(":another-secret-of-the-file", f"a:{entry()}")
    assert other.unknown("1", "SCRAM-SHA-256").salt != made["1"].salt
    assert read.nobody in (read.password("a"), read.password("b"))


def test_the_work_for_an_unknown_user_is_that_of_most():
    read = users(f"a:{entry('SCRAM-SHA-1')}", f"b:{entry()}", f"c:{entry()}", "d:{EXTERNAL}")
    assert read.nobody.kind == "SCRAM-SHA-256"
    assert users("d:{EXTERNAL}").nobody is None


def test_what_everybody_has():
    read = users(f"a:{entry('SCRAM-SHA-1')} {entry()}", f"b:{entry()}", "d:{EXTERNAL}")
    assert read.all_have("SCRAM-SHA-256")
    assert not read.all_have("SCRAM-SHA-1")
    assert read.some_have("SCRAM-SHA-1")
    assert not users("d:{EXTERNAL}").all_have("SCRAM-SHA-256")
    assert not users().some_have("SCRAM-SHA-256")


def test_lines_keep_what_they_are():
    text = f"# a:b\n\nJoe:{entry()}\n{SECRET}\n"
    lines = read_lines(text)
    assert [line.user for line in lines] == ["", "", "joe", ""]
    assert "".join(f"{line.text}\n" for line in lines) == text


@given(some.text(max_size=200))
def test_whatever_stands_there_is_read_or_named(text):
    read, wrong = read_users(text, "users")
    assert len(read) + len(wrong) <= text.count("\n") + 1
