"""XFORWARD out: what is told of a message, and that a smtps behind understands it; dialogues are in xforward.dlg."""

import pytest

from meta1g.rcb.common import ServerAddr
from meta1g.smtp.xclient import XFORWARD_ATTRIBUTES, parse_attributes
from meta1g.smtpc.forward import forwarded
from meta1g.smtps.received import ReceivedFrom, received
from tests.fakes.smtps_process import SmtpsProcess
from tests.unit.smtpc.conftest import TA, running

ALL = "NAME ADDR PORT PROTO HELO IDENT SOURCE"


@pytest.mark.parametrize("ehlo", ["client.example", "[192.0.2.7]", "[IPv6:2001:db8::7]", "x" * 255, "x" * 400])
@pytest.mark.parametrize("name", ["", "name.example", ".".join(["n" * 60] * 4)])
@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7", "::ffff:192.0.2.7"])
@pytest.mark.parametrize("protocol", ["SMTP", "ESMTPSA", "UTF8SMTPS"])
def test_what_smtps_writes_is_told_as_it_reads_it(ehlo, name, address, protocol):
    head = received(ReceivedFrom(ehlo, name, address, protocol, "tls x", 3), "mx.example", TA, "r@x.example", "date")
    lines = forwarded(b"X-Filter: first\r\n" + head + b"\r\nbody", TA, ALL)
    values = {}
    for line in lines:
        assert len(line) <= 510
        verb, _, argument = line.partition(" ")
        found = parse_attributes(argument, XFORWARD_ATTRIBUTES)
        assert verb == "XFORWARD"
        assert isinstance(found, dict)
        values |= found
    assert values["HELO"] == (ehlo if len(ehlo) <= 255 else "")
    assert values["NAME"] == name
    assert values["ADDR"] == parse_attributes(f"ADDR={address}", XFORWARD_ATTRIBUTES)["ADDR"]
    assert (values["PROTO"], values["IDENT"], values["SOURCE"]) == ("SMTP" if protocol == "SMTP" else "ESMTP", TA, "REMOTE")


@pytest.mark.parametrize("head", [b"", b"Subject: x\r\n\r\n", b"\xff\xfe" * 100])
def test_nothing_is_told_of_what_is_not_known(head):
    assert forwarded(head, TA, ALL) == ()


@pytest.mark.system
def test_a_smtps_behind_hears_where_a_message_came_from(tmp_path):
    content = received(ReceivedFrom("c.example", "", "192.0.2.7", "ESMTP"), "gw.example", TA, "", "date") + b"\r\nbody\r\n"
    with (
        SmtpsProcess(tmp_path / "q", "xforward_from = { 127.0.0.1 };") as smtps,
        running(tmp_path, "flags = { xforward };", step_s=30) as smtpc,
    ):
        smtpc.store(content)
        server = (ServerAddr(addr="127.0.0.1", port=smtps.port, host="mx.x.example"),)
        assert smtpc.deliver(smtpc.job(smtps.port, server=server)).rcpts[0].reply.code == 250
        smtps.wait_log(rf"func=smtps\.forwarded, .*orig_client=192\.0\.2\.7, .*orig_ehlo=c\.example, .*orig_id={TA}")
