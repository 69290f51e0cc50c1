"""Five SMTP servers of one gateway side by side: for the world, for mail programs (587 and 465), behind a proxy, LMTP.

Each has its own settings, and one that ends, or gets other settings, leaves the sessions of the others alone.
"""

import os
import shutil
import signal
import smtplib
import socket
import ssl

import pytest

from bench.relays import PostfixRelay
from contrib.lib.gateway import Gateway, free_port, wait_until
from tests.fakes.certificates import make_certificate
from tests.system.conftest import KeepingSink, directory_for_all, running

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("several-smtps")]

SECTION = """
smtps {name} {{
  {options}
  listen_socket {{ {listen} }}
  start_action = pass;
  pass_fd_socket = "smtps/{name}fd";
  path = smtps;
  arguments = "smtps -f {conf} -n {name}";
}}
"""
INET = "type = inet; address = 127.0.0.1; port = {port};"
BARE = b"Subject: bare\r\n\r\nhello\r\n"
PROXY = b"PROXY TCP4 192.0.2.9 127.0.0.1 4711 25\r\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The gateway, the sink behind it, and the ports of its servers by their names; LMTP has a path."""
    directory = tmp_path_factory.mktemp("sm")
    with KeepingSink(directory / "mail") as sink:
        gateway = Gateway(directory / "gw", f". {sink.port}^[127.0.0.1]")
        places = {
            "MSA": free_port(),
            "LB": free_port(),
            "IN": str(gateway.queue / "smtps" / "lmtp"),
            "lmtp": free_port(),
            "SSL": free_port(),
        }
        gateway.options["smtps"] = "xforward_from = { 127.0.0.1 };"
        cert, key = make_certificate(directory, "mx.example")
        options = {
            "MSA": "max_recipients = 2; flags = { submission, no_access };",
            "LB": "proxy_from = { 127.0.0.1 }; max_recipients = 3;",
            "IN": "protocol = lmtp;",
            "SSL": f"max_recipients = 1; flags = {{ submission }}; tls {{ cert_file = {cert}; key_file = {key}; }}",
        }
        listens = {name: INET.format(port=place) for name, place in places.items()}
        listens["SSL"] += " implicit_tls = true;"
        both = 'type = unix; path = "smtps/lmtp"; permissions = 0600; } listen_socket { '
        listens["IN"] = both + INET.format(port=places["lmtp"])
        gateway.options["extra"] = "".join(
            SECTION.format(name=name, options=text, listen=listens[name], conf=gateway.conf) for name, text in options.items()
        )
        with running(gateway):
            wait_until(lambda: states(gateway) == {"running"}, 30, gateway.last_words())
            yield gateway, sink, {"": gateway.port, **places}


def states(gateway):
    return {row["state"] for row in gateway.control("status")["components"]}


class Proxied(smtplib.SMTP):
    """A client behind a proxy."""

    def _get_socket(self, host, port, timeout):
        sock = socket.create_connection((host, port), timeout)
        sock.sendall(PROXY)
        return sock


def opened(places, name):
    if name == "IN":
        client = smtplib.LMTP(places[name])
        client.ehlo_or_helo_if_needed()
        return client
    if name == "SSL":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client = smtplib.SMTP_SSL("127.0.0.1", places[name], local_hostname="client.example", timeout=60, context=context)
        client.ehlo()
        return client
    client = (Proxied if name == "LB" else smtplib.SMTP)("127.0.0.1", places[name], local_hostname="client.example", timeout=60)
    client.ehlo()
    return client


def rcpt_codes(client):
    """Gives the replies to four recipients."""
    client.mail("s@x.example")
    codes = [client.rcpt(f"r{number}@x.example")[0] for number in range(4)]
    client.rset()
    return codes


def deliver(site, name, rcpt):
    """Sends a message by a server and gives what arrives of it."""
    _, sink, places = site
    with opened(places, name) as client:
        assert client.sendmail("s@x.example", [rcpt], BARE) == {}
    wait_until(lambda: any(rcpt in one["rcpts"] for one in sink.envelopes()), 60, f"mail for {rcpt}")
    return next(sink.content(one).decode() for one in sink.envelopes() if rcpt in one["rcpts"])


def test_each_has_its_own_settings(site):
    _, _, places = site
    with opened(places, "") as mta, opened(places, "MSA") as msa, opened(places, "IN") as lmtp:
        assert rcpt_codes(mta) == rcpt_codes(lmtp) == [250] * 4
        assert rcpt_codes(msa) == [250, 250, 452, 452]
        with opened(places, "SSL") as submissions:
            assert rcpt_codes(submissions) == [250, 452, 452, 452]
        assert lmtp.docmd("EHLO", "client.example")[0] == 500
        assert msa.docmd("LHLO", "client.example")[0] == 500
    with opened(places, "LB") as client:
        assert b"greets [192.0.2.9]" in client.ehlo()[1]
        client.mail("s@x.example")
        assert client.rcpt("r@x.example")[0] == 550, "the proxy may relay, the client behind it may not"


def test_mail_comes_by_each_and_only_that_of_mail_programs_is_completed(site):
    by_mta = deliver(site, "", "mta@sink.example")
    assert "with ESMTP id" in by_mta
    assert "Message-ID:" not in by_mta
    by_msa = deliver(site, "MSA", "msa@sink.example")
    for field in ("Message-ID: <S", "Date: ", "From: <s@x.example>"):
        assert f"\n{field}" in by_msa
    assert "with LMTP id" in deliver(site, "IN", "lmtp@sink.example")
    by_tls = deliver(site, "SSL", "tls@sink.example")
    assert "with ESMTPS id" in by_tls
    assert "\nMessage-ID: <S" in by_tls


POSTFIX = """
relayhost = [127.0.0.1]:{port}
smtp_send_xforward_command = yes
transport_maps = inline:{{lmtp.example=lmtp:inet:127.0.0.1:{lmtp}}}
smtpd_authorized_xclient_hosts = 127.0.0.1
"""


@pytest.fixture
def postfix(site):
    """A Postfix that hands mail to the gateway, by SMTP with XFORWARD, and by LMTP for a domain."""
    if shutil.which("postfix", path="/usr/sbin:/usr/bin") is None or os.geteuid() != 0:
        pytest.skip("Postfix is not installed, or we are not root, as whom it is started")
    _, _, places = site
    with directory_for_all() as directory:
        relay = PostfixRelay(directory / "postfix", 0, 1, POSTFIX.format(port=places[""], lmtp=places["lmtp"]))
        yield relay
        relay.stop()


def test_postfix_says_for_whom_it_speaks_and_hands_mail_over_by_lmtp(site, postfix):
    gateway, sink, _ = site
    rcpts = ["smtp@sink.example", "one@lmtp.example", "two@lmtp.example"]
    with smtplib.SMTP("127.0.0.1", postfix.port, local_hostname="client.example", timeout=60) as client:
        client.ehlo()
        assert client.docmd("XCLIENT", "ADDR=127.0.0.9 NAME=behind.example")[0] == 220
        client.ehlo("behind.example")
        assert client.sendmail("s@x.example", rcpts, BARE) == {}
    wait_until(lambda: {*rcpts} <= {rcpt for one in sink.envelopes() for rcpt in one["rcpts"]}, 60, gateway.last_words())
    log = gateway.log.read_text()
    assert "orig_client=127.0.0.9, orig_name=behind.example, orig_ehlo=behind.example" in log
    by_lmtp = next(one for one in sink.envelopes() if rcpts[1] in one["rcpts"])
    assert b"with LMTP id" in sink.content(by_lmtp)


def pid_of(gateway, label):
    rows = [row for row in gateway.control("status")["components"] if row["component"] == label]
    return rows[0]["pids"][0] if rows and rows[0]["pids"] else 0


def test_one_that_ends_or_gets_other_settings_leaves_the_others_alone(site):
    gateway, _, places = site
    labels = [row["component"] for row in gateway.control("status")["components"]]
    msa = next(label for label in labels if "MSA" in label)
    others = {label: pid_of(gateway, label) for label in labels if label != msa}
    with opened(places, "") as client, opened(places, "IN") as lmtp:
        first = pid_of(gateway, msa)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: pid_of(gateway, msa) not in (0, first), 60, gateway.last_words())
        second = pid_of(gateway, msa)
        text = gateway.conf.read_text()
        gateway.conf.write_text(text.replace("max_recipients = 2;", "max_recipients = 1;"))
        gateway.process.send_signal(signal.SIGHUP)
        wait_until(lambda: pid_of(gateway, msa) not in (0, second), 60, gateway.last_words())
        with opened(places, "MSA") as msa_client:
            assert rcpt_codes(msa_client) == [250, 452, 452, 452]
        assert rcpt_codes(client) == rcpt_codes(lmtp) == [250] * 4, "sessions that began before go on"
    assert {label: pid_of(gateway, label) for label in others} == others
