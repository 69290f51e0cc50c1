"""docs/coming-from-postfix.md: every row of its table is tried, and the maps of the table together do what they say."""

import re

import pytest

from contrib.lib.gateway import Gateway, wait_until
from meta1g.base import sysexits
from meta1g.conf.defs import ROOT
from meta1g.conf.load import load_file
from meta1g.conf.schema import SectionDef
from meta1g.rcb.common import DeliveryAgent
from meta1g.rcb.smtps_smar import CheckMail, CheckRcpt, ClientResolve, VerdictFlags
from meta1g.smar.settings import settings_from
from meta1g.smtp.address import parse_path
from tests import tablewalk
from tests.system.conftest import KeepingSink, running, send
from tests.tables import code, codes, rows

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("postfix-table")]

PAGE = "coming-from-postfix.md"
ALL = rows(PAGE, "Postfix")
TABLE = [row for row in ALL if len(row) == 3]
MISSING = [row for row in ALL if len(row) == 2]
COMMANDS = [row for row in TABLE if row[2] == "shell"]
#: Parameters of Postfix whose names are those of other things here.
_SAME_NAME = {"queue_directory", "soft_bounce", "always_bcc"}
FAR = "203.0.113.9"


def test_the_tables_have_rows_enough_and_say_each_thing_once():
    assert len(TABLE) >= 60
    first = [row[0] for row in ALL]
    assert len(set(first)) == len(first)


@pytest.mark.parametrize("row", [row for row in TABLE if row[2] != "shell"], ids=lambda row: row[0])
def test_what_is_written_is_taken(row, tmp_path):
    tablewalk.try_text(row, tmp_path)


def options_of(section: SectionDef) -> set[str]:
    inside = (options_of(one) for one in section.sections)
    return {row.name for row in section.options}.union(*inside)


@pytest.mark.parametrize("row", MISSING, ids=lambda row: row[0])
def test_what_is_not_there_is_no_option(row):
    names = {name for one in codes(row[0]) for name in re.findall(r"[a-z0-9]+(?:_[a-z0-9]+)+", one)}
    assert not (names - _SAME_NAME) & options_of(ROOT)
    assert row[1]


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


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A gateway that does not run: metaqueue looks at its files."""
    gateway = Gateway(tmp_path_factory.mktemp("stopped"), ". [127.0.0.1]")
    gateway.setup()
    return gateway


def waiting(site: Gateway, rcpt: str, mail: str) -> str:
    """Sends a message that waits in the queue; gives its id."""
    send(site, [rcpt], mail=mail)

    def found() -> list[dict]:
        return [one for one in site.control("queue", f"recipient={rcpt}")["list"] if "450" in str(one["status"])]

    wait_until(found, 60, "mail that waits")
    return str(found()[-1]["ta"])


@pytest.mark.parametrize("number", range(len(COMMANDS)), ids=[code(row[1]) for row in COMMANDS])
def test_a_command_does_it(number, site, stopped, maps):
    text = code(COMMANDS[number][1])
    if text.startswith("metaqueue"):
        tablewalk.try_command(text, stopped, maps)
        return
    chosen = tablewalk.selected(text)
    if text.startswith(("qmgrctl", "mailq", "metalog")) and not text.endswith((" stop", " resume")):
        rcpt = "waiting@busy.example" if "waiting@" in text else f"user{number}@{chosen.get('domain', 'busy.example')}"
        ta_id = waiting(site, rcpt, chosen.get("sender", "any@back.example"))
        text = text.replace(" ID", f" {ta_id}")
    if " release " in text:
        tablewalk.try_command(text.replace("release", "hold"), site, maps)
    knows_nothing = text.startswith(("qmgrctl verified", "qmgrctl forget"))  # nobody was verified here
    said = tablewalk.try_command(text, site, maps, code=sysexits.EX_NOINPUT if knows_nothing else 0)
    assert said or text.startswith(("createmap", "smconf meta1.conf", "sm.reload", "qmgrctl"))


@pytest.fixture(scope="module")
def smar(maps):
    """What smar makes of all maps together."""
    path = maps / "all.conf"
    users = 'aliases { file = "aliases.db"; flags = { localpart, local_domains }; }'
    path.write_text(
        f'queue_directory = "{maps}"; hostname = gw.example; smar {{ mailertable {{ file = "mailertable.db"; }} {users} '
        'access_map { file = "access.db"; } relay_from = { 10.0.0.0/8 }; '
        "local_domains = { shop.example, old.example, example.org }; }"
    )
    config = load_file(path)
    settings = settings_from(config, config.section("smar"))
    yield settings
    settings.registry.close()


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


@pytest.mark.parametrize(
    ("mail", "code", "flags"),
    [
        ("spammer@example.com", 550, 0),
        ("anybody@example.com", 550, 0),
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
        ("moved@example.org", 551),
        ("any@else.example", 550),
        ("user@shop.example", 250),
        ("all@example.org", 550),
    ],
)
def test_recipients_are_treated_as_the_access_map_says(smar, rcpt, code):
    question = CheckRcpt(ta_id="S0", rcpt_idx=0, client_addr=FAR, mail="jane@else.example", rcpt=rcpt)
    assert smar.policy.rcpt(question).reply.code == code


@pytest.mark.parametrize(
    ("alias", "members"),
    [
        ("postmaster@example.org", ["root@example.org"]),
        ("staff@example.org", ["jane@example.org", "joe@example.com"]),
        ("info@shop.example", ["catch@example.com"]),
        ("any@old.example", ["any@new.example"]),
        ("sales@shop.example", ["catch@example.com", "sales@shop.example"]),  # boss is nobody else's, and so caught
    ],
)
def test_aliases(smar, alias, members):
    assert sorted(smar.aliases.expand(parse_path(alias)).members) == members


@pytest.mark.parametrize(
    ("domain", "agent", "hosts"),
    [
        ("anywhere.example", DeliveryAgent.ESMTP, ["192.0.2.25"]),
        ("example.net", DeliveryAgent.ESMTP, ["mail.example.net"]),
        ("example.edu", DeliveryAgent.ESMTP, ["10.0.0.1", "10.0.0.2"]),
        ("sub.example.org", DeliveryAgent.ESMTP, ["10.0.0.25"]),
        ("shop.example", DeliveryAgent.LMTP, [None]),
    ],
)
def test_routes(smar, domain, agent, hosts, maps):
    plan = smar.routes.plan(domain)
    assert plan.da is agent
    assert [target.host for target in plan.targets] == [host or f"unix:{maps}/lmtpsock" for host in hosts]
