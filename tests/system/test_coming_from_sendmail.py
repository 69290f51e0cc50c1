"""docs/coming-from-sendmail.md: every row of its table is tried, and the maps of the table together do what they say."""

import pytest

from contrib.lib.gateway import Gateway, wait_until
from meta1g.conf.load import load_file
from meta1g.rcb.common import DeliveryAgent
from meta1g.rcb.smtps_smar import CheckMail, CheckRcpt, ClientResolve, VerdictFlags
from meta1g.smar.listed import Listed
from meta1g.smar.settings import settings_from
from meta1g.smtp.address import parse_path
from tests import tablewalk
from tests.system.conftest import KeepingSink, running, send
from tests.tables import code, rows

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("sendmail-table")]

TABLE = [row for row in rows("coming-from-sendmail.md", "sendmail 8") if len(row) == 3]
COMMANDS = [row for row in TABLE if row[2] == "shell"]


@pytest.mark.parametrize("row", [row for row in TABLE if row[2] != "shell"], ids=lambda row: row[1])
def test_what_is_written_is_taken(row, tmp_path):
    tablewalk.try_text(row, tmp_path)


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """A directory with the maps of the table."""
    directory = tmp_path_factory.mktemp("maps")
    tablewalk.write_maps(TABLE, directory)
    return directory


@pytest.fixture(scope="module")
def site(tmp_path_factory, maps):
    """A gateway whose mail waits: its server has no time."""
    directory = tmp_path_factory.mktemp("site")
    with (
        KeepingSink(directory / "maildir", "--defer", ".*") as sink,
        running(Gateway(directory / "gateway", f". {sink.port}^[127.0.0.1]")) as gateway,
    ):
        (maps / "meta1.conf").symlink_to(gateway.conf)
        yield gateway


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row[1])
def test_a_command_does_it(row, site, maps):
    text = code(row[1])
    chosen = tablewalk.selected(text)
    if chosen:
        rcpt = chosen.get("recipient", f"user@{chosen.get('domain', 'busy.example')}")
        send(site, [rcpt], mail=chosen.get("sender", "any@back.example"))
        wait_until(lambda: "450" in tablewalk.try_command(f"mailq --wide recipient={rcpt}", site, maps), 60, "mail that waits")
    if " release " in text:
        tablewalk.try_command(text.replace("release", "hold"), site, maps)
    tablewalk.try_command(text, site, maps)


@pytest.fixture(scope="module")
def smar(maps):
    """What smar makes of all maps together."""
    path = maps / "all.conf"
    users = 'aliases { file = "aliases.db"; flags = { localpart, local_domains }; }'
    path.write_text(
        f'queue_directory = "{maps}"; hostname = gw.example; smar {{ mailertable {{ file = "mailertable.db"; }} {users} '
        'access_map { file = "access.db"; } relay_from = { 10.0.0.0/8 }; local_domains = { shop.example, old.example }; }'
    )
    config = load_file(path)
    settings = settings_from(config, config.section("smar"))
    yield settings
    settings.registry.close()


FAR = "203.0.113.9"


@pytest.mark.parametrize(
    ("address", "name", "resolve", "code"),
    [
        ("192.0.2.66", "", ClientResolve.OK, 550),
        ("198.51.100.7", "", ClientResolve.OK, 220),
        (FAR, "host.example.net", ClientResolve.OK, 550),
        (FAR, "", ClientResolve.NO_NAME, 450),
        (FAR, "x.example", ClientResolve.FORGED, 450),
        (FAR, "host.example.com", ClientResolve.OK, 220),
    ],
)
def test_clients_are_treated_as_the_access_map_says(smar, address, name, resolve, code):
    assert smar.policy.client(address, name, resolve).reply.code == code


def test_a_client_on_a_dns_list_is_refused(smar):
    verdict = smar.policy.client(FAR, "host.example.com", ClientResolve.OK, [Listed(0, "127.0.0.2")])
    assert (verdict.reply.code, verdict.reply.text) == (550, "listed")


@pytest.mark.parametrize(
    ("mail", "code", "flags"),
    [
        ("spammer@example.com", 550, 0),
        ("good@example.com", 250, 0),
        ("anybody@example.com", 550, 0),
        ("user@anywhere.example", 550, 0),
        ("bulk@example.net", 250, VerdictFlags.DISCARD),
        ("jane@else.example", 250, 0),
    ],
)
def test_senders_are_treated_as_the_access_map_says(smar, mail, code, flags):
    verdict = smar.policy.mail(CheckMail(ta_id="S0", client_addr=FAR, mail=mail))
    assert (verdict.reply.code, verdict.flags) == (code, flags)


@pytest.mark.parametrize(
    ("rcpt", "code"),
    [
        ("closed@example.org", 550),
        ("any@partner.example", 250),
        ("any@else.example", 550),
        ("abuse@local.example", 250),
        ("user@shop.example", 250),
    ],
)
def test_recipients_are_treated_as_the_access_map_says(smar, rcpt, code):
    question = CheckRcpt(ta_id="S0", rcpt_idx=0, client_addr=FAR, mail="jane@else.example", rcpt=rcpt)
    assert smar.policy.rcpt(question).reply.code == code


@pytest.mark.parametrize(
    ("alias", "members"),
    [
        ("postmaster@shop.example", ["root@shop.example"]),
        ("staff@shop.example", ["jane@shop.example", "joe@example.com"]),
        ("nobody@local.example", ["catch@example.com"]),
        ("info@shop.example", ["catch@example.com"]),
        ("any@old.example", ["any@new.example"]),
    ],
)
def test_aliases_and_virtual_users(smar, alias, members):
    assert list(smar.aliases.expand(parse_path(alias)).members) == members


@pytest.mark.parametrize(
    ("domain", "agent", "hosts"),
    [
        ("anywhere.example", DeliveryAgent.ESMTP, ["192.0.2.25"]),
        ("example.net", DeliveryAgent.ESMTP, ["mail.example.net"]),
        ("example.edu", DeliveryAgent.ESMTP, ["10.0.0.1", "10.0.0.2"]),
        ("sub.example.org", DeliveryAgent.ESMTP, ["10.0.0.25"]),
        ("example.org", DeliveryAgent.ESMTP, ["hub.example.org"]),
        ("local.example", DeliveryAgent.LMTP, [None]),
    ],
)
def test_routes(smar, domain, agent, hosts, maps):
    plan = smar.routes.plan(domain)
    assert plan.da is agent
    assert [target.host for target in plan.targets] == [host or f"unix:{maps}/lmtpsock" for host in hosts]
