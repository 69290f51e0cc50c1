"""One gateway whose maps treat single clients, servers, recipients and destinations in their own ways.

Tags smtps_session_conf:, smtpc_session_conf:, smtpc_rcpt_conf:, ehlo:, the flag no_access, and conf_map of qmgr.
"""

import smtplib
from collections import Counter

import pytest

from contrib.lib.gateway import Gateway, free_port, wait_until
from meta1g.db.mapfile import MapFile
from tests.system.conftest import HEADER, KeepingSink, running

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("session-conf")]

ACCESS = """
smtps_session_conf:127.0.0.3        max_recipients = 1; flags = { xverp };
smtpc_session_conf:127.0.0.1        flags = { dont_pipelining }; command_timeout = 1m;
ehlo:bad.example                    error:550 5.7.1 not from you
from:blocked.example                reject
smtpc_rcpt_conf:secret@x.example    tls_requirements { flags = { encrypted }; }
smtpc_rcpt_conf:lost@x.example      tls_requirements { flags = { verified }; violation = permanent; }
"""
#: What createmap refuses, and what a map file of another program may have all the same.
WRONG = """
ehlo:forger.example                 relay
smtps_session_conf:127.0.0.4        max_recipients = 1
smtpc_session_conf:127.0.0.2        tls_requirement { flags = { encrypted }; }
"""
MSA = """
smtps MSA {{
  flags = {{ no_access }};
  listen_socket {{ type = inet; address = 127.0.0.1; port = {port}; }}
  start_action = pass;
  pass_fd_socket = smtps/msafd;
  path = smtps;
  arguments = "smtps -f {conf} -n MSA";
}}
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The gateway, the port of its second server, and the sink behind it."""
    directory = tmp_path_factory.mktemp("conf")
    with KeepingSink(directory / "mail") as sink:
        port = free_port()
        gateway = Gateway(
            directory / "gateway", f"far.example 25^[127.0.0.2]\n. {sink.port}^[127.0.0.1]", relay_from="127.0.0.0/8"
        )
        gateway.options = {
            "smar": 'access_map { file = "access.db"; }',
            "qmgr": "conf_map { file = dests; type = text; }",
            "extra": MSA.format(port=port, conf=gateway.conf),
        }
        gateway.conf.parent.mkdir(parents=True)
        gateway.write_map("access", ACCESS)
        (gateway.conf.parent / "dests").write_text("127.0.0.1 max_rcpts_per_transaction = 2;\n")
        with running(gateway):
            yield gateway, port, sink


def client(port, address="127.0.0.1", name="client.example"):
    return smtplib.SMTP("127.0.0.1", port, local_hostname=name, timeout=60, source_address=(address, 0))


def replies(session, mail, *rcpts):
    """Gives the replies to MAIL and to each RCPT."""
    session.ehlo_or_helo_if_needed()
    return [session.mail(mail)[0], *(session.rcpt(rcpt)[0] for rcpt in rcpts)]


def test_a_client_has_limits_and_extensions_of_its_own(shared):
    gateway, _, _ = shared
    rcpts = ("a@x.example", "b@x.example")
    with client(gateway.port, "127.0.0.3") as session:
        assert replies(session, "s@x.example", *rcpts) == [250, 250, 452]
        assert session.has_extn("xverp")
    with client(gateway.port) as session:
        assert replies(session, "s@x.example", *rcpts) == [250, 250, 250]
        assert not session.has_extn("xverp")


def test_what_a_client_calls_itself_counts(shared):
    gateway, _, _ = shared
    with client(gateway.port, name="bad.example") as session:
        session.ehlo_or_helo_if_needed()
        assert session.mail("s@x.example") == (550, b"5.7.1 not from you")
        session.helo("good.example")
        assert session.mail("s@x.example")[0] == 250


def test_the_access_map_does_not_count_where_the_flag_says_so(shared):
    gateway, msa, _ = shared
    with client(gateway.port) as session:
        assert replies(session, "s@blocked.example") == [550]
    with client(msa, "127.0.0.3") as session:
        assert replies(session, "s@blocked.example", "a@x.example", "b@x.example") == [250, 250, 250]
        assert not session.has_extn("xverp")
    with client(msa, name="bad.example") as session:
        assert replies(session, "s@x.example") == [250]


def test_a_destination_takes_as_many_recipients_as_its_entry_says(shared):
    gateway, _, sink = shared
    rcpts = [f"r{number}@conf.example" for number in range(5)]
    with client(gateway.port) as session:
        assert session.sendmail("s@x.example", rcpts, HEADER + b"x\r\n") == {}
    wait_until(lambda: sum(sizes_of(sink, "@conf.example").values()) == 3, 60, "three deliveries")
    assert sizes_of(sink, "@conf.example") == {2: 2, 1: 1}


def sizes_of(sink, domain):
    """Gives how many deliveries there were, by the number of their recipients."""
    return Counter(len(one["rcpts"]) for one in sink.envelopes() if any(domain in rcpt for rcpt in one["rcpts"]))


def test_demands_of_a_recipient_keep_its_mail_from_a_server_without_tls_and_no_other(shared):
    gateway, _, sink = shared
    rcpts = ["public@x.example", "secret@x.example", "lost@x.example"]
    with client(gateway.port) as session:
        assert session.sendmail("s@x.example", rcpts, HEADER + b"x\r\n") == {}
    wait_until(lambda: any("public@x.example" in str(one["rcpts"]) for one in sink.envelopes()), 60, "the open one")
    wait_until(lambda: gateway.leftovers()["defedb"] == 1, 60, "one is put off")
    wait_until(lambda: any("s@x.example" in str(one["rcpts"]) for one in sink.envelopes()), 60, "the report about the other")
    (report,) = [one for one in sink.envelopes() if one["mail"] == ""]
    assert "5.7.4" in gateway.log.read_text()
    assert not any(one in str([kept["rcpts"] for kept in sink.envelopes()]) for one in rcpts[1:])
    assert report["rcpts"] == ["s@x.example"]


def test_a_rule_that_is_wrong_puts_mail_off_and_the_log_names_it(shared):
    gateway, _, sink = shared
    with pytest.raises(ValueError, match=r"smtpc_session_conf:127\.0\.0\.2: .*tls_requirement"):
        gateway.write_map("access", ACCESS + WRONG)
    entries = [line.split(None, 1) for line in (ACCESS + WRONG).splitlines() if line]
    MapFile.build(gateway.conf.parent / "access.db", sorted((key.encode(), value.encode()) for key, value in entries))

    def hello(name):
        with client(gateway.port, name=name) as session:
            return replies(session, "s@x.example")

    wait_until(lambda: hello("forger.example") == [451], 60, "the changed map")
    with pytest.raises(smtplib.SMTPConnectError, match="421"):
        client(gateway.port, "127.0.0.4")
    with client(gateway.port) as session:
        rcpts = ["open@x.example", "secret@x.example", "to@far.example"]  # one domain, two fates; and a server of its own
        assert session.sendmail("s@x.example", rcpts, HEADER + b"x\r\n") == {}
    wait_until(lambda: any("open@x.example" in str(one["rcpts"]) for one in sink.envelopes()), 60, "the open one")
    wait_until(lambda: gateway.leftovers()["defedb"] == 3, 60, "two more are put off")
    assert not any("secret" in str(one["rcpts"]) for one in sink.envelopes())
    log = gateway.log.read_text()
    for line in filter(None, WRONG.splitlines()):
        assert f"map=access_map, key={line.split()[0]}" in log, line
    for ta_id in {one["ta"] for one in gateway.control("queue")["list"]}:
        gateway.control("remove", ta_id)
    gateway.wait_empty()
