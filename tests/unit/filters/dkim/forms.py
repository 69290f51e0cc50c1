"""Forms of messages as they come: each is signed here and verified by others, and the other way round."""

import random

from meta1g_filters.dkim.canon import Canonicalization

HEAD = (
    b"Received: from a.example.net (a.example.net [192.0.2.1])\r\n\tby mx.example.org with ESMTP id 1;\r\n"
    b"\tFri, 27 Nov 2026 10:00:00 +0000\r\n"
    b"From: Ann <ann@example.org>\r\nTo: bob@example.net\r\nSubject: Dinner\r\n"
    b"Date: Fri, 27 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n"
)
TEXT = b"Hello Bob,\r\n\r\nare you hungry?\r\n\r\nAnn\r\n"
MIME = b"MIME-Version: 1.0\r\n"
NESTED = (
    HEAD + MIME + b'Content-Type: multipart/mixed; boundary="outer"\r\n\r\nThis is MIME.\r\n--outer\r\n'
    b'Content-Type: multipart/alternative;\r\n boundary="inner"\r\n\r\n--inner\r\nContent-Type: text/plain\r\n\r\nplain \r\n'
    b"--inner\r\nContent-Type: text/html\r\n\r\n<p>html</p>\r\n--inner--\r\n\r\n--outer\r\nContent-Type: message/rfc822\r\n\r\n"
    + HEAD
    + b"\r\ninside\r\n--outer--\r\n"
)
BASE64 = b"\r\n".join([b"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0"] * 300)


def field(line):
    """Gives a message with one more field, at the end of its header."""
    return HEAD + line + b"\r\n\r\n" + TEXT


def header(*lines):
    """Gives a message with another header."""
    return b"".join(line + b"\r\n" for line in lines) + b"\r\n" + TEXT


def body(data):
    """Gives a message with another body."""
    return HEAD + b"\r\n" + data


def noise(size_bytes, letters):
    rng = random.Random(size_bytes)
    return bytes(rng.choices(letters, k=size_bytes))


def lines(data, size):
    return b"\r\n".join(data[at : at + size] for at in range(0, len(data), size)) + b"\r\n"


FROM, TO, SUBJECT, DATE = b"From: ann@example.org", b"To: bob@example.net", b"Subject: x", b"Date: now"
FORMS = {
    "plain": body(TEXT),
    "no body, no empty line": HEAD,
    "empty body": body(b""),
    "one empty line": body(b"\r\n"),
    "many empty lines": body(b"\r\n" * 50),
    "trailing empty lines": body(TEXT + b"\r\n" * 20),
    "leading empty lines": body(b"\r\n\r\n\r\n" + TEXT),
    "no line end at the end": body(TEXT + b"the end"),
    "blanks at the end, no line end": body(TEXT + b"the end  \t"),
    "one blank, no line end": body(b" "),
    "only blanks": body(b" \t \r\n"),
    "lines of blanks at the end": body(TEXT + b"  \r\n\t\r\n \r\n"),
    "blanks at line ends": body(b"one \r\ntwo\t\r\nthree \t \r\n"),
    "runs of blanks": body(b"a  b\tc \t d\r\n   indented\r\n\ttab\r\n"),
    "dots": body(b".\r\n..\r\n.a\r\n...\r\na.\r\n"),
    "8-bit body": body("Grüße, 日本, \U0001f600\r\n".encode()),
    "latin-1 body": body(bytes(range(0xA0, 0x100)) + b"\r\n"),
    "control characters": body(b"a\x01b\x7f\x1b[0m\x0c\x0b\r\n"),
    "long lines": body(b"x" * 990 + b"\r\n" + b"y z " * 245 + b"\r\n"),
    "very long line": body(b"x" * 20_000 + b"\r\n"),
    "format flowed": body(b"soft \r\nbreak \r\n-- \r\nsignature\r\n"),
    "quoted-printable": HEAD + MIME + b"Content-Transfer-Encoding: quoted-printable\r\n\r\na=20=\r\nb=3D\r\n",
    "base64": HEAD + MIME + b"Content-Transfer-Encoding: base64\r\n\r\n" + BASE64 + b"\r\n",
    "nested MIME": NESTED,
    "1 MB of text": body(lines(noise(1_000_000, b"abcdefgh    \t."), 76)),
    "1 MB of octets": body(lines(noise(1_000_000, bytes({*range(1, 256)} - {10, 13})), 900)),
    "folded with blanks": field(b"Cc: a@example.net,\r\n b@example.net,\r\n\tc@example.net"),
    "folded after the colon": field(b"References:\r\n <1@example.net>\r\n <2@example.net>"),
    "folded with a blank at the line's end": field(b"Cc: a@example.net, \r\n b@example.net"),
    "runs of blanks in the header": field(b"Cc:   a@example.net ,\t\t b@example.net  "),
    "no blank after the colon": header(b"From:ann@example.org", b"To:bob@example.net", b"Subject:x", DATE),
    "tab after the colon": header(FROM, TO, b"Subject:\tx", DATE),
    "names in other cases": header(b"FROM: ann@example.org", b"tO: bob@example.net", b"SUBJECT: x", b"date: now"),
    "empty field": header(FROM, TO, b"Subject:", DATE),
    "empty field with a blank": header(FROM, TO, b"Subject: ", DATE),
    "only From": header(FROM),
    "no To, no Subject": header(FROM, DATE),
    "two Subject": header(FROM, TO, SUBJECT, b"Subject: y", DATE),
    "many To": header(FROM, *[b"To: %d@example.net" % number for number in range(30)], SUBJECT, DATE),
    "Resent fields twice": header(b"Resent-From: c@example.net", b"Resent-To: d", b"Resent-From: e", FROM, TO, DATE),
    "UTF-8 header": field("Cc: Jürgen <jürgen@bücher.example>".encode()),
    "UTF-8 subject": header(FROM, TO, "Subject: Grüße 日本".encode(), DATE),
    "encoded words": field(b"Cc: =?utf-8?q?J=C3=BCrgen?= <j@example.net>,\r\n =?utf-8?b?w6Q=?= <k@example.net>"),
    "long field": field(b"References: " + b"\r\n ".join(b"<%d@example.net>" % number for number in range(100))),
    "very long line in the header": field(b"X-Long: " + b"x" * 900),
    "list fields": field(b"List-Id: <x.example.net>\r\nList-Unsubscribe: <mailto:a@b.example>\r\nList-Post: NO"),
    "semicolons and colons": field(b"Cc: a:b;c=d; (com;ment) e@example.net;"),
    "another signature": field(
        b"DKIM-Signature: v=1; a=rsa-sha256; d=example.net; s=x; h=from;\r\n bh=YWJj; b=YWJj"
    ),
    "Authentication-Results": field(b"Authentication-Results: mx.example.net; spf=pass smtp.mailfrom=example.net"),
    "many fields": header(FROM, TO, SUBJECT, DATE, *[b"X-%d: %d" % (number, number) for number in range(200)]),
    "from in body": body(b"From: eve@example.net\r\n\r\nFrom here on\r\n>From there\r\n"),
}  # fmt: skip
#: A line end that is missing is added on the way, after which blanks before it count for nothing; dkimpy keeps one of them.
DIFFERENT = {(form, Canonicalization.RELAXED) for form in ("blanks at the end, no line end", "one blank, no line end")}
