"""Answers of QMGR and SMAR as replies."""

import pytest

from meta1g.base.reply import Reply
from meta1g.smtps.link import told


@pytest.mark.parametrize("code", [200, 250, 354, 421, 451, 550, 599])
def test_a_reply_code_is_passed_on(code):
    reply = told(Reply(code, "4.3.1", "why"))
    assert (reply.code, reply.ecode, reply.one_line) == (code, "4.3.1", "why")


@pytest.mark.parametrize("code", [0, 199, 600, 65535])
def test_what_is_no_reply_code_is_a_temporary_failure(code):
    reply = told(Reply(code, text="nonsense"))
    assert (reply.code, reply.ecode, reply.one_line) == (451, "4.3.0", "nonsense")
