from meta1g.base.reply import Reply
from meta1g.smtp import replies

NAMED = {name: value for name, value in vars(replies).items() if isinstance(value, Reply)}


def test_every_named_reply_has_an_enhanced_code_of_its_class():
    for name, reply in NAMED.items():
        if reply.code != 354:
            assert reply.ecode.split(".")[0] == str(reply.code)[0], name


def test_every_421_ends_the_session_and_is_temporary():
    assert all(reply.is_temp for reply in NAMED.values() if reply.code == 421)


def test_the_codes_are_those_of_the_rfc():
    expected = {
        "BYE": 221,
        "SENDER_OK": 250,
        "VRFY_MAYBE": 252,
        "SEND_DATA": 354,
        "TOO_MANY_RCPTS": 452,
        "UNKNOWN_COMMAND": 500,
        "BAD_MAIL_SYNTAX": 501,
        "NOT_IMPLEMENTED": 502,
        "BAD_SEQUENCE": 503,
        "TOO_BIG": 552,
        "UNKNOWN_PARAMETER": 555,
    }
    assert {name: NAMED[name].code for name in expected} == expected
