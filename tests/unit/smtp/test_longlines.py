import base64
import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.smtp.longlines import LINE_MAX_BYTES, LineBreaker, refuses_long_lines


def broken(content, size=0):
    breaker = LineBreaker()
    pieces = [content[at : at + size] for at in range(0, len(content), size)] if size else [content]
    made = b"".join([*(breaker.feed(piece) for piece in pieces), breaker.finish()])
    return made, breaker.found


def longest(content):
    return max(len(line) for line in content.split(b"\r\n"))


@pytest.mark.parametrize("size", [0, 1, 7, 1000])
@pytest.mark.parametrize("end", [b"", b"\r\n"])
def test_lines_up_to_the_limit_stay_as_they_are(size, end):
    content = b"Subject: x\r\n\r\n" + b"y" * LINE_MAX_BYTES + b"\r\n\r\n" + b"z" * LINE_MAX_BYTES + end
    assert broken(content, size) == (content, False)


@pytest.mark.parametrize("size", [0, 1, 7, 1000])
def test_one_more_octet_is_too_long(size):
    made, found = broken(b"\r\n" + b"y" * (LINE_MAX_BYTES + 1) + b"\r\nend\r\n", size)
    assert found
    assert made == b"\r\n" + b"y" * LINE_MAX_BYTES + b"\r\n y\r\nend\r\n"


def test_a_line_is_broken_before_its_last_blank_that_fits():
    made, _ = broken(b"a" * 900 + b" " + b"b" * 500 + b"\r\n")
    assert made == b"a" * 900 + b"\r\n " + b"b" * 500 + b"\r\n"


def test_a_field_stays_one_field_with_the_same_value():
    value = " ".join(f"<https://x.example/{number}{'y' * 150}>" for number in range(30))
    content = f"Subject: s\r\nReferences: {value}\r\nTo: a@b.example\r\n\r\nbody\r\n".encode()
    made, found = broken(content)
    assert found
    assert longest(made) <= LINE_MAX_BYTES
    before, after = (email.message_from_bytes(one, policy=email.policy.compat32) for one in (content, made))
    assert after.keys() == before.keys()
    assert after["References"].replace("\r\n", "") == value
    assert after.get_payload() == before.get_payload()


def test_a_field_without_a_blank_stays_in_its_field():
    made, _ = broken(b"X-Long: " + b"z" * 3000 + b"\r\nTo: a@b.example\r\n\r\nbody\r\n")
    message = email.message_from_bytes(made)
    assert message.keys() == ["X-Long", "To"]
    assert longest(made) <= LINE_MAX_BYTES


def test_a_line_of_blanks_only_is_not_made_a_blank_continuation():
    made, _ = broken(b"X: y\r\n" + b" " * 1500 + b"z\r\n")
    assert longest(made) <= LINE_MAX_BYTES
    assert made.replace(b"\r\n", b"").replace(b" ", b"") == b"X:yz"


def test_base64_in_one_line_means_the_same():
    data = bytes(range(256)) * 40
    made, _ = broken(base64.b64encode(data) + b"\r\n")
    assert base64.b64decode(made) == data
    assert longest(made) <= LINE_MAX_BYTES


@pytest.mark.parametrize("shift", range(4))
def test_no_character_is_cut(shift):
    made, _ = broken(b"x" * shift + "\u20ac".encode() * 1000 + b"\r\n")
    assert all(line.decode() for line in made.split(b"\r\n")[:-1])


def test_bytes_that_are_no_characters_are_cut_all_the_same():
    assert longest(broken(b"\x80" * 5000)[0]) <= LINE_MAX_BYTES


@given(
    st.lists(st.tuples(st.sampled_from([b"x", b" ", b"\t", b"\r\n", b"\xe2\x82\xac"]), st.integers(1, 2500)), max_size=8),
    st.integers(1, 3000),
)
def test_nothing_is_lost_and_pieces_do_not_matter(runs, size):
    content = b"".join(part * count for part, count in runs)
    made, found = broken(content, size)
    assert made == broken(content)[0]
    assert longest(made) <= LINE_MAX_BYTES
    assert found == (longest(content) > LINE_MAX_BYTES)
    assert found or made == content
    assert made.translate(None, b" \r\n") == content.translate(None, b" \r\n")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (550, "maximum allowed line length is 998 octets, got 1234"),
        (550, "Message has a line of more than 998 characters"),
        (500, "what?"),
        (554, "Line too long"),
        (552, "Message contains lines longer than 1000"),
        (550, "too long text line"),
        (521, "Data line length exceeds the limit"),
        (550, "long lines are not accepted here"),
    ],
)
def test_servers_that_complain_of_long_lines_are_understood(code, text):
    assert refuses_long_lines(code, text)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (550, "no such user"),
        (554, "spam"),
        (552, "message too large"),
        (450, "line too long"),
        (250, "ok"),
        (550, "online only"),
    ],
)
def test_other_refusals_are_others(code, text):
    assert not refuses_long_lines(code, text)
