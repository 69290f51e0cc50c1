"""A report is made so that the server of the sender takes it, and every label follows what is labelled."""

import email
import email.policy
from itertools import product

import pytest

from meta1g.rcb.smtpc_qmgr import Deliver, DeliverRcpt, DsnPart
from meta1g.smtp.esmtp import Extensions
from meta1g.smtpc import report
from meta1g.smtpc.limits import RETURNED_HEADER_BYTES
from meta1g.smtpc.report import Original, shape

HEADER = b"Received: from a by b\r\nFrom: s@from.example\r\nSubject: hello\r\n"
RAW_HEADER = b"Received: from a by b\r\nFrom: s@from.example\r\nSubject: caf\xe9\r\n"
UTF8_HEADER = "Received: from a by b\r\nFrom: sü@from.example\r\nSubject: café\r\n".encode()
PLAIN = HEADER + b"\r\nHello.\r\n"
ALL = {"8BITMIME": "", "SMTPUTF8": "", "SIZE": ""}
MIME8 = {"8BITMIME": ""}
TEXT = DsnPart(mime_type="text/plain", about="Notification", data=b"It failed.\r\n")
STATUS = DsnPart(
    mime_type="message/delivery-status",
    about="Delivery report",
    data=b"Reporting-MTA: dns; mx.example\r\n\r\nFinal-Recipient: rfc822; r@to.example\r\nAction: failed\r\nStatus: 5.1.1\r\n",
)


def job(*, full=True, smtputf8=False, parts=(TEXT, STATUS), head=b"To: <s@from.example>\r\nMIME-Version: 1.0\r\n") -> Deliver:
    return Deliver(
        session_id="C1", new_session=True, keep_open=False, da=0, server=(), da_ta_id="C2", ta_id="S1", cdb_id="S1", mail="",
        size_bytes=100, smtputf8=smtputf8, dsn_head=head, dsn_parts=parts, dsn_full=full,
        rcpts=(DeliverRcpt(rcpt_idx=1, rcpt="s@from.example"),),
    )  # fmt: skip


def read(content: bytes, piece_bytes: int = 1 << 20) -> Original:
    original = Original()
    for first in range(0, len(content), piece_bytes):
        original.feed(content[first : first + piece_bytes])
    return original


class Made:
    """A report as its reader sees it."""

    def __init__(self, content: bytes, extensions: dict[str, str], **facts) -> None:
        self.shape = shape(job(**facts), read(content), Extensions(extensions))
        self.whole = self.shape.head + (content if self.shape.full else b"") + self.shape.tail
        self.mail = email.message_from_bytes(self.whole, policy=email.policy.SMTP)
        assert not self.mail.defects
        self.parts = self.mail.get_payload()
        assert not any(part.defects for part in self.parts)

    @property
    def types(self) -> list[str]:
        return [part.get_content_type() for part in self.parts]

    @property
    def returned(self) -> str:
        return self.parts[2].get_content_type()

    def encoding(self, index: int = 2) -> str | None:
        return self.parts[index]["Content-Transfer-Encoding"]

    def returned_bytes(self) -> bytes:
        """What stands in the last part, decoded."""
        block = self.whole.rpartition(b"Content-Description: ")[2].partition(b"\r\n\r\n")[2]
        block = block[: -len(self.shape.tail)]
        if self.encoding() != "quoted-printable":
            assert self.encoding() in (None, "8bit")
            return block
        coded = email.message_from_bytes(b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + block)
        return coded.get_payload(decode=True)


CONTENTS = {
    "plain": PLAIN,
    "8bit body": HEADER + b"\r\nH\xe4llo\r\n",
    "8bit header": RAW_HEADER + b"\r\nHello\r\n",
    "utf-8 header": UTF8_HEADER + b"\r\nHello\r\n",
    "both": UTF8_HEADER + "\r\nHällo\r\n".encode(),
    "no body": HEADER,
    "no header": b"Received: from a by b\r\nHello\r\n\r\nm\xf6re\r\n",
    "empty": b"",
    "NUL": HEADER + b"\r\n\0\r\n",
    "long line": HEADER + b"\r\n" + b"x" * 2000 + b"\r\n",
    "long field": HEADER + b"X-Long: " + b"y" * 5000 + b"\r\n\r\nHello\r\n",
    "trailing blanks": HEADER + b"X-Blank: caf\xc3\xa9 \t\r\n \r\nX-Dot: x\r\n\r\n.\r\n..\r\n",
    "large body": HEADER + b"\r\n" + b"line of text\r\n" * 3000,
    "large header": HEADER + b"".join(b"X-%d: %b\r\n" % (n, b"z" * 60) for n in range(800)) + b"\r\nHello\r\n",
    "large 8bit header": RAW_HEADER + b"".join(b"X-%d: %b\r\n" % (n, b"\xfc" * 60) for n in range(400)) + b"\r\nHello\r\n",
}
SERVERS = {
    f"{'8BITMIME' if mime8 else ''} {'SMTPUTF8' if utf8 else ''} {size}": {
        **({"8BITMIME": ""} if mime8 else {}), **({"SMTPUTF8": ""} if utf8 else {}), **({"SIZE": size} if size else {}),
    }
    for mime8, utf8, size in product((True, False), (True, False), ("", "3000"))
}  # fmt: skip


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("smtputf8", [True, False])
def test_whatever_the_message_is_each_server_gets_what_it_takes_and_labels_that_are_true(content, smtputf8):
    for name, extensions in SERVERS.items():
        for full in (True, False):
            made = Made(CONTENTS[content], extensions, full=full, smtputf8=smtputf8)
            size = int(extensions.get("SIZE") or 0)
            assert not size or len(made.whole) <= size, (name, full)
            eightbit = not made.whole.isascii()
            assert made.shape.eightbit is eightbit, (name, full)
            assert "8BITMIME" in extensions or not eightbit, (name, full)
            assert "SMTPUTF8" in extensions or not made.shape.smtputf8, (name, full)
            assert made.mail["Content-Transfer-Encoding"] == ("8bit" if eightbit else None), (name, full)
            assert b"\0" not in made.whole
            assert max(map(len, made.whole.split(b"\r\n"))) <= 998, (name, full)
            assert made.types[:2] == ["text/plain", "message/delivery-status"]
            assert made.mail.get_param("report-type") == "delivery-status"
            if made.shape.full:
                assert full
                assert made.returned_bytes() == CONTENTS[content]


@pytest.mark.parametrize(
    ("content", "extensions", "full"),
    [("plain", {}, True), ("plain", ALL, True), ("8bit body", {}, False), ("8bit body", MIME8, True), ("NUL", ALL, False),
     ("8bit header", {}, False), ("8bit header", MIME8, True), ("long line", ALL, False), ("large body", ALL, True),
     ("large body", {"SIZE": "20000"}, False), ("large body", {"SIZE": "50000"}, True), ("large body", {"SIZE": "x"}, True),
     ("plain", {"SIZE": "9" * 5000}, True)],
)  # fmt: skip
def test_the_whole_message_comes_back_where_its_bytes_may_go(content, extensions, full):
    made = Made(CONTENTS[content], extensions)
    assert made.shape.full is full
    assert made.returned == ("message/rfc822" if full else "text/rfc822-headers")


def test_a_header_comes_back_alone_if_that_is_what_the_sender_wants():
    made = Made(PLAIN, ALL, full=False)
    assert (made.returned, made.encoding(), made.returned_bytes()) == ("text/rfc822-headers", None, HEADER)


@pytest.mark.parametrize("extensions", [{}, MIME8, ALL])
def test_a_header_that_is_not_ascii_is_encoded(extensions):
    made = Made(CONTENTS["8bit header"], extensions, full=False)
    assert (made.returned, made.encoding(), made.returned_bytes()) == ("text/rfc822-headers", "quoted-printable", RAW_HEADER)


@pytest.mark.parametrize(
    ("extensions", "encoding"), [(ALL, "8bit"), (MIME8, "quoted-printable"), ({"SMTPUTF8": ""}, "quoted-printable")]
)
def test_an_internationalized_header_goes_as_it_is_only_where_that_is_spoken(extensions, encoding):
    made = Made(CONTENTS["utf-8 header"], extensions, full=False, smtputf8=True)
    assert (made.returned, made.encoding(), made.returned_bytes()) == ("message/global-headers", encoding, UTF8_HEADER)
    assert made.shape.smtputf8 is (encoding == "8bit")


def test_an_internationalized_message_comes_back_whole_only_where_that_is_spoken():
    made = Made(CONTENTS["both"], ALL, smtputf8=True)
    assert (made.returned, made.encoding(), made.shape.smtputf8) == ("message/global", "8bit", True)
    assert Made(CONTENTS["both"], MIME8, smtputf8=True).returned == "message/global-headers"


def test_a_header_that_is_not_utf8_is_not_called_internationalized():
    assert Made(CONTENTS["8bit header"], ALL, full=False, smtputf8=True).returned == "text/rfc822-headers"


@pytest.mark.parametrize("size", [20_000, 3000, 1200])
def test_of_a_header_that_is_too_large_the_fields_come_back_that_tell_most(size):
    made = Made(CONTENTS["large header"], {"SIZE": str(size)})
    assert made.returned_bytes().endswith(b"\r\n")
    assert b"From: s@from.example\r\nSubject: hello\r\n" in made.returned_bytes()
    assert made.parts[2]["Content-Description"] == "Header of the message, shortened"
    assert len(made.whole) > min(size - 300, 1000)


def test_nothing_comes_back_if_there_is_no_room_at_all_and_the_report_is_complete_without_it():
    made = Made(PLAIN, {"SIZE": "100"})
    assert made.types == ["text/plain", "message/delivery-status"]
    assert len(made.whole) > 100


def test_a_header_without_end_takes_bounded_memory():
    original = read(HEADER + b"X: y\r\n" * 100_000, 64 << 10)
    assert len(original.header()) <= RETURNED_HEADER_BYTES
    assert original.header().endswith(b"X: y\r\n")
    assert read(HEADER + b"X: " + b"y" * 300_000 + b"\r\n").header() == HEADER


@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("content", ["plain", "8bit header", "long line", "NUL", "no header", "trailing blanks"])
def test_it_does_not_matter_where_the_pieces_of_a_message_end(content, piece_bytes):
    whole, pieces = read(CONTENTS[content]), read(CONTENTS[content], piece_bytes)
    for name in ("size_bytes", "plain", "sendable"):
        assert getattr(whole, name) == getattr(pieces, name)
    assert whole.header() == pieces.header()


@pytest.mark.parametrize(("length", "sendable"), [(998, True), (999, False)])
def test_a_line_may_have_998_bytes(length, sendable):
    for piece_bytes in (1, 500, 999, 5000):
        assert read(b"x" * length + b"\r\n", piece_bytes).sendable is sendable


def test_texts_that_are_not_ascii_are_labelled_and_encoded_as_the_server_needs_it():
    text = DsnPart(mime_type="text/plain", about="Notification", data="Zurück =20 \t\r\n.\r\nFrom x\r\n".encode())
    for extensions, encoding in ((MIME8, "8bit"), ({}, "quoted-printable")):
        made = Made(PLAIN, extensions, parts=(text, STATUS))
        assert made.encoding(0) == encoding
        assert made.parts[0].get_param("charset") == "utf-8"
        assert made.parts[0].get_payload(decode=True).rstrip(b"\r\n") == text.data.rstrip(b"\r\n")
        assert made.shape.smtputf8 is False


def test_an_internationalized_status_is_encoded_for_a_server_of_the_old_kind():
    status = DsnPart(
        mime_type="message/global-delivery-status", about="Delivery report", data="Final-Recipient: utf-8; ü@x\r\n".encode()
    )
    made = Made(PLAIN, {}, parts=(TEXT, status))
    assert made.mail.get_param("report-type") == "global-delivery-status"
    assert made.encoding(1) == "quoted-printable"
    assert b"=C3=BC@x" in made.whole
    assert Made(PLAIN, ALL, parts=(TEXT, status)).shape.smtputf8 is True


def test_an_address_that_is_not_ascii_in_the_header_of_the_report_needs_smtputf8():
    made = shape(job(head="To: <sü@from.example>\r\n".encode()), read(PLAIN), Extensions(ALL))
    assert made.smtputf8 is True


def test_no_two_reports_have_the_same_boundary():
    one, two = (Made(PLAIN, ALL).mail.get_boundary() for _ in range(2))
    assert one != two


def test_what_is_encoded_reads_back_line_by_line():
    data = b"a\xff=b \r\n\r\n" + bytes(range(256)) * 3 + b"\r\n" + b"x" * 500 + b"\t\r\n"
    encoded = report._quoted_printable(data)
    assert encoded.isascii()
    assert max(map(len, encoded.split(b"\r\n"))) <= 76
    message = email.message_from_bytes(b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + encoded)
    assert message.get_payload(decode=True) == data
