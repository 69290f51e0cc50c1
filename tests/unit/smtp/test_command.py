import pytest

from meta1g.smtp import replies
from meta1g.smtp.command import COMMANDS, Command, Verb, parse_command


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"EHLO host", Command(Verb.EHLO, "host")),
        (b"ehlo host", Command(Verb.EHLO, "host")),
        (b"MAIL FROM:<a@b> SIZE=1", Command(Verb.MAIL, "<a@b> SIZE=1")),
        (b"mail from: <a@b>", Command(Verb.MAIL, "<a@b>")),
        (b"RCPT TO:<a@b>", Command(Verb.RCPT, "<a@b>")),
        (b"DATA", Command(Verb.DATA, "")),
        (b"DATA ", Command(Verb.DATA, "")),
        (b"DATA\t ", Command(Verb.DATA, "")),
        (b"MAIL FROM:<a@b>\tSIZE=1\t", Command(Verb.MAIL, "<a@b> SIZE=1")),
        (b'MAIL FROM:<"a b"@b>\t', Command(Verb.MAIL, '<"a b"@b>')),
        (b"EHLO b\xfcro", Command(Verb.EHLO, "b\udcfcro")),
        (b"HELO my pc", Command(Verb.HELO, "my pc")),
        (b"NOOP anything", Command(Verb.NOOP, "anything")),
        (b"HELP", Command(Verb.HELP, "")),
        (b"VRFY a", Command(Verb.VRFY, "a")),
    ],
)
def test_commands_are_read(line, command):
    assert parse_command(line) == command


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"", replies.UNKNOWN_COMMAND),
        (b"XYZZY", replies.UNKNOWN_COMMAND),
        (b"DATA\nRSET", replies.UNKNOWN_COMMAND),
        (b"GET / HTTP/1.1", replies.UNKNOWN_COMMAND),
        (b"EHLO", replies.ARGUMENT_WANTED),
        (b"DATA now", replies.NO_ARGUMENT_WANTED),
        (b"MAIL a@b", replies.BAD_MAIL_SYNTAX),
        (b"AUTH", replies.ARGUMENT_WANTED),
        (b"AUTH PLAIN " + b"x" * 12276, replies.LINE_TOO_LONG),
        (b"etrn x", replies.NOT_IMPLEMENTED),
        (b"BDAT", replies.ARGUMENT_WANTED),
        (b"BDAT 5\x0b LAST", replies.BAD_CHARACTERS),
        (b"BDATX 5", replies.UNKNOWN_COMMAND),
        (b"MAIL", replies.BAD_MAIL_SYNTAX),
        (b"MAIL FROM :<a@b>", replies.BAD_MAIL_SYNTAX),
        (b'NOOP "a\tb"', replies.BAD_CHARACTERS),
        (b"EHLO a\x7fb", replies.BAD_CHARACTERS),
        (b"MAIL FROM:<\xff@b>", replies.BAD_CHARACTERS),
        (b"RCPT FROM:<a@b>", replies.BAD_RCPT_SYNTAX),
        (b"NOOP a\nb", replies.BAD_CHARACTERS),
        (b"NOOP a\rb", replies.BAD_CHARACTERS),
        (b"MAIL FROM:<a\0@b>", replies.BAD_CHARACTERS),
        (b"NOOP \xff", replies.BAD_CHARACTERS),
        (b"NOOP " + b"x" * 506, replies.LINE_TOO_LONG),
        (b"RCPT TO:<" + b"x" * 2048, replies.LINE_TOO_LONG),
    ],
)
def test_wrong_lines_are_refused(line, reply):
    assert parse_command(line) == reply


def test_a_line_of_exactly_the_limit_is_read():
    assert parse_command(b"NOOP " + b"x" * 505) == Command(Verb.NOOP, "x" * 505)


def test_every_verb_has_one_row():
    assert {row.verb for row in COMMANDS.values()} == set(Verb)
    assert all(row.verb.name.encode() == name for name, row in COMMANDS.items())
