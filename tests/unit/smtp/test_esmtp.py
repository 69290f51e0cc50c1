import pytest

from meta1g.base.reply import Reply
from meta1g.smtp import replies
from meta1g.smtp.esmtp import (
    Ext,
    Extensions,
    MailParams,
    RcptParams,
    ehlo_reply,
    format_mail_params,
    format_rcpt_params,
    offered_but,
    parse_ehlo,
    parse_mail_params,
    parse_rcpt_params,
)

ALL = frozenset(Ext)


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("", MailParams()),
        ("SIZE=100", MailParams(size_bytes=100)),
        ("size=100 body=8bitmime", MailParams(size_bytes=100, body="8BITMIME")),
        ("BODY=7BIT", MailParams(body="7BIT")),
        ("SIZE=100 BODY=8BITMIME size=0100 body=8bitmime", MailParams(size_bytes=100, body="8BITMIME")),
        ("SMTPUTF8", MailParams(smtputf8=True)),
        ("SMTPUTF8 SMTPUTF8", MailParams(smtputf8=True)),
        ("RET=hdrs  ENVID=QQ+2B1", MailParams(ret="HDRS", envid="QQ+2B1")),
        ("XVERP", MailParams(verp="+=")),
        ("xverp=-= RET=FULL", MailParams(verp="-=", ret="FULL")),
    ],
)
def test_parameters_of_mail_are_read(text, params):
    assert parse_mail_params(text, ALL) == params


@pytest.mark.parametrize(
    "text",
    [
        "SIZE",
        "SIZE=x",
        "SIZE=-1",
        "SIZE=" + "1" * 21,
        "SIZE=1 SIZE=2",
        "BODY=7BIT BODY=8BITMIME",
        "RET=FULL RET=FULL",
        "BODY=9BIT",
        "SMTPUTF8=1",
        "RET=SOME",
        "ENVID=",
        "ENVID=a+b",
        "ENVID=" + "x" * 101,
        "=x",
        "SIZE==1",
        "BODY=7BIT=",
        "RET==FULL",
        "ENVID=a=b",
        "SMTPUTF8==",
        "XVERP=+",
        "XVERP=+=+",
        "XVERP=#=",
        "SIZE=\u0661",
    ],
)
def test_wrong_values_are_refused(text):
    assert parse_mail_params(text, ALL) == replies.BAD_PARAMETER


def test_parameters_of_extensions_that_were_not_offered_are_unknown():
    assert parse_mail_params("SIZE=1", frozenset()) == replies.UNKNOWN_PARAMETER
    assert parse_mail_params("XYZ=1", ALL) == replies.UNKNOWN_PARAMETER
    assert parse_rcpt_params("SIZE=1", ALL) == replies.UNKNOWN_PARAMETER


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("", RcptParams()),
        ("NOTIFY=never", RcptParams(notify="NEVER")),
        ("NOTIFY=SUCCESS,failure,DELAY", RcptParams(notify="SUCCESS,FAILURE,DELAY")),
        ("ORCPT=rfc822;a+2Bb@c", RcptParams(orcpt="rfc822;a+2Bb@c")),
        ("ORCPT=utf-8;\\x{E4}@c", RcptParams(orcpt="utf-8;\\x{E4}@c")),
    ],
)
def test_parameters_of_rcpt_are_read(text, params):
    assert parse_rcpt_params(text, ALL) == params


@pytest.mark.parametrize(
    "text",
    [
        "NOTIFY=",
        "NOTIFY=NEVER,DELAY",
        "NOTIFY=DELAY,DELAY",
        "NOTIFY=X",
        "ORCPT=a@b",
        "ORCPT=;a",
        "ORCPT=rfc822;a+b",
        "ORCPT=rfc822;a=b",
        "NOTIFY==NEVER",
        "ORCPT=rfc822;" + "x" * 500,
    ],
)
def test_wrong_parameters_of_rcpt_are_refused(text):
    assert parse_rcpt_params(text, ALL) == replies.BAD_PARAMETER


def test_the_answer_to_ehlo_reads_back():
    offered = offered_but({Ext.STARTTLS}, {Ext.SIZE: "1000"})
    server = parse_ehlo(ehlo_reply("us.example", "[192.0.2.1]", offered))
    assert all(server.has(ext) for ext in offered)
    assert server.size_max_bytes == 1000
    assert not server.has(Ext.STARTTLS)


def test_nonsense_in_the_answer_to_ehlo_is_harmless():
    server = parse_ehlo(Reply(250, "", ("x", "SIZE lots", "", "size 5")))
    assert server.size_max_bytes == 0
    assert Extensions().size_max_bytes == 0


def test_an_extension_that_is_not_to_be_used_counts_as_not_offered():
    server = parse_ehlo(Reply(250, "", ("x", "PIPELINING", "DSN"))).without(Ext.PIPELINING)
    assert (server.has(Ext.PIPELINING), server.has(Ext.DSN)) == (False, True)


def test_a_size_that_is_not_known_is_not_sent():
    everything = Extensions({ext.value: "" for ext in Ext})
    assert format_mail_params(MailParams(0), everything) == format_mail_params(MailParams(), everything) == ""


def test_only_known_parameters_are_sent():
    params = MailParams(10, "8BITMIME", smtputf8=True, ret="FULL", envid="e")
    assert format_mail_params(params, Extensions()) == ""
    everything = Extensions({ext.value: "" for ext in Ext})
    assert format_mail_params(params, everything) == " SIZE=10 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=e"
    rcpt = RcptParams("NEVER", "rfc822;a@b")
    assert format_rcpt_params(rcpt, everything) == " NOTIFY=NEVER ORCPT=rfc822;a@b"
    assert format_rcpt_params(rcpt, Extensions()) == ""


@pytest.mark.parametrize(
    ("off", "gone"),
    [
        ({Ext.PIPELINING}, {Ext.PIPELINING}),
        ({Ext.EIGHTBITMIME}, {Ext.EIGHTBITMIME, Ext.SMTPUTF8}),
        ({Ext.CHUNKING, Ext.XVERP}, {Ext.CHUNKING, Ext.BINARYMIME, Ext.XVERP}),
    ],
)
def test_what_is_switched_off_is_not_offered_nor_what_needs_it(off, gone):
    assert set(offered_but(set(), {})) - set(offered_but(off, {})) == gone
