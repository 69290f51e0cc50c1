import pytest

from meta1g.base.errors import PermError
from meta1g.conf.load import load_file
from meta1g.db.mapfile import MapFile
from meta1g.maps.sequence import SequenceMap
from meta1g.rcb.smtps_smar import CheckMail, Checks, FindUser
from meta1g.smar.dnsaddress import ServerAddress
from meta1g.smar.listed import DnsList
from meta1g.smar.route import RouteDefaults, Target, plan_of
from meta1g.smar.settings import name_servers, problems, read_resolv_conf, settings_from
from meta1g.tls.tlsrpt import RptSender
from tests.fakes.certificates import make_certificate


@pytest.fixture
def load(tmp_path):
    opened = []

    def run(smar, glob=""):
        path = tmp_path / "meta1.conf"
        path.write_text(f'queue_directory = "{tmp_path}/q"; hostname = gw.example; {glob} smar {{ {smar} }}\n')
        config = load_file(path)
        opened.append(settings_from(config, config.section("smar")))
        return opened[-1]

    yield run
    for settings in opened:
        settings.registry.close()


def test_defaults(load):
    settings = load("")
    assert (settings.hostname, settings.dns.timeout_s, settings.dns.tries) == ("gw.example", 5, 3)
    assert (settings.dns.edns, settings.dns.use_tcp, settings.dns.validated) == (True, False, False)
    assert (settings.aliases, settings.policy.access, settings.policy.users) == (None, None, None)
    assert settings.policy.checks() == Checks.RCPT
    assert settings.dns.servers


def test_name_servers_by_section_and_by_option(load):
    settings = load("nameserver = { 10.10.10.9, 127.0.0.1 }; nameserver { address = 127.0.0.2; port = 5353; } DNS_timeout = 6;")
    assert settings.dns.servers == (
        ServerAddress("127.0.0.2", 5353),
        ServerAddress("10.10.10.9", 53),
        ServerAddress("127.0.0.1", 53),
    )
    assert settings.dns.timeout_s == 6


def test_resolv_conf_is_used_if_none_is_given(load, tmp_path):
    path = tmp_path / "resolv.conf"
    path.write_text(
        "# x\nsearch a.b\nnameserver 192.0.2.1\nnameserver nonsense\nnameserver ::1 \nnameserver\n" + "nameserver 1.1.1.1\n" * 9
    )
    assert read_resolv_conf(path) == (ServerAddress("192.0.2.1"), ServerAddress("::1"), ServerAddress("1.1.1.1"))
    assert read_resolv_conf(tmp_path / "none") == ()


def test_this_machine_is_the_last_resort(tmp_path):
    path = tmp_path / "meta1.conf"
    path.write_text("smar { }")
    assert name_servers(load_file(path).section("smar"), tmp_path / "none") == (ServerAddress("127.0.0.1"),)


def test_maps_in_files_are_relative_to_the_configuration(load, tmp_path):
    MapFile.build(tmp_path / "mt.db", [(b"far.org", b"lmtp:")])
    (tmp_path / "aliases").write_text("list: a b\n")
    (tmp_path / "access").write_text("to:closed@ reject\n")
    (tmp_path / "tls").write_text("far.org encrypt\n")
    (tmp_path / "senders").write_text("* own\n")
    (tmp_path / "passwords").write_text("door {EXTERNAL}\n")
    settings = load(
        'tls_policy { file = tls; type = text; } mailertable { file = "mt.db"; } access_map { file = access; type = text; }'
        "aliases { file = aliases; type = text; flags = { localpart, local_domains }; } local_domains = { ours.org };"
        "auth_sender { file = senders; type = text; }"
        "password_map { file = passwords; type = text; }"
    )
    assert settings.routes.plan("far.org").answer.servers[0].addr == f"unix:{tmp_path}/q/lmtpsock"
    assert settings.policy_map.entry(Target("far.org", 25, is_address=False, use_mx=True)).policy.is_demanded
    assert settings.aliases is not None
    assert settings.policy.checks() == Checks.CLIENT | Checks.MAIL | Checks.RCPT | Checks.AUTH
    assert settings.policy.relay.is_local("ours.org")
    assert settings.policy.user(FindUser(name="door")).stored == "{EXTERNAL}"


def test_dane_is_used_behind_name_servers_that_are_trusted(load, tmp_path):
    (tmp_path / "tls").write_text(". dane\n")
    target = Target("far.org", 25, is_address=False, use_mx=True)
    for flags, refused in (("", True), ("DNS_flags = { trust_ad };", False)):
        settings = load(f"tls_policy {{ file = tls; type = text; }} {flags}")
        assert bool(settings.policy_map.entry(target).policy.refused) == refused


def test_the_checkers_know_what_needs_name_servers_that_are_trusted(tmp_path):
    (tmp_path / "tls").write_text("a.example dane\nb.example encrypt\nb..example may\n")
    found = {}
    for flags in ("", "DNS_flags = { trust_ad };"):
        path = tmp_path / "meta1.conf"
        path.write_text(f"smar {{ tls_policy {{ file = tls; type = text; }} {flags} }}\n")
        config = load_file(path)
        found[flags] = problems(config, config.section("smar"), entries=True)
    assert [text.partition(": ")[2][:40] for text in found[""]] == [
        "key a.example: dane needs name servers t", "key b..example: b..example is not a doma",
    ]  # fmt: skip
    assert len(found["DNS_flags = { trust_ad };"]) == 1


def test_the_lmtp_socket_of_smtpc_is_the_local_server(load, tmp_path):
    (tmp_path / "mt").write_text("ours.org lmtp:\n")
    settings = load("mailertable { file = mt; type = text; }", 'smtpc { LMTP_socket = "/run/lmtp"; }')
    assert settings.routes.plan("ours.org").answer.servers[0].addr == "unix:/run/lmtp"


def test_servers_have_the_remote_port_of_smtpc_unless_the_route_says_another_one(load, tmp_path):
    (tmp_path / "mt").write_text("one.org [192.0.2.1]\ntwo.org 26^[192.0.2.1]\n")
    settings = load("mailertable { file = mt; type = text; }", "smtpc { remote_port = 2500; }")
    ports = [settings.routes.plan(domain).answer.servers[0].port for domain in ("one.org", "two.org")]
    assert ports == [2500, 26]


def test_declared_maps_are_used_by_name(load, tmp_path):
    MapFile.build(tmp_path / "aliases.db", [(b"root", b"admin@far.org")])
    settings = load(
        """
        map passwd { type = passwd; }
        map al { file = "aliases.db"; type = hash; }
        map remote { type = socket; path = "smap"; mapname = users; timeout = 3s; }
        map tcp { type = socket; address = 127.0.0.1; port = 3145; }
        map fixed { type = static; entries = { "joe yes", "ann no" }; }
        map locusr { type = sequence; maps = { fixed, al, passwd }; }
        aliases { name = al; flags = { localpart }; }
        local_user_map { name = "locusr"; flags = { localpart, local_domains }; }
        """
    )
    users = settings.policy.users
    assert isinstance(users.table, SequenceMap)
    assert (users.localpart, users.local_domains) == (True, True)
    assert users.table.lookup("joe").value == "yes"
    assert users.table.lookup("root").value == "admin@far.org"
    assert users.table.blocking
    assert settings.registry.get("remote").inner._target == str(tmp_path / "q" / "smap")
    assert settings.policy.rcpt_blocks


def test_dns_lists_need_an_access_map(load, tmp_path):
    (tmp_path / "access").write_text("dnsbl0:127 reject\n")
    lists = "dnsbl { zone = one.dnsbl; timeout = 3; } dnsbl two { zone = two.dnsbl; }"
    assert load("access_map { file = access; type = text; }" + lists).lists == (
        DnsList("one.dnsbl", 3),
        DnsList("two.dnsbl", 5),
    )
    with pytest.raises(PermError, match="dnsbl needs an access_map"):
        load(lists)


def test_the_detail_begins_with_the_character_that_is_said(load, tmp_path):
    (tmp_path / "access").write_text("from:user@x.org reject\n")
    access = "access_map { file = access; type = text; }"
    sender = CheckMail(ta_id="S0", client_addr="192.0.2.1", mail="user-detail@x.org")
    assert load(f'{access} address_delimiter = "-";').policy.mail(sender).reply.code == 550
    assert load(access).policy.mail(sender).reply.code == 250


def test_greylisting_loads_and_is_warned_of(tmp_path):
    path = tmp_path / "meta1.conf"
    path.write_text("smar { greylisting { } }")
    config = load_file(path)
    assert config.warnings == [f"{path}:1:8: section greylisting has no effect in this version"]
    assert problems(config, config.section("smar")) == []


def test_a_missing_map_file_is_an_error_at_the_start(load, tmp_path):
    with pytest.raises(PermError, match=str(tmp_path / "none.db")):
        load('aliases { file = "none.db"; }')


SERVERS = (
    "smtps a { listen_socket { address = 192.0.2.1; } listen_socket { type = unix; path = s; } }"
    "smtps b { listen_socket { address = 192.0.2.2; port = 587; } }"
)


def test_this_gateway_knows_itself_by_its_sockets_and_by_what_leads_to_them(load):
    one = load("proxy_addresses = { 203.0.113.5 };", SERVERS).myself
    assert one.is_me("192.0.2.1", 25)
    assert one.is_me("192.0.2.2", 587)
    assert not one.is_me("192.0.2.2", 25)
    assert one.is_me("203.0.113.5", 25)
    assert one.names == {"gw.example"}


def test_a_local_socket_of_ours_is_no_way_out(load, tmp_path):
    """As a local delivery agent it would take the message again, a hundred times."""
    found = load("", f"smtpc {{ LMTP_socket = s; }} {SERVERS}")
    defaults = RouteDefaults(port=25, lmtp_socket="s", queue_directory=tmp_path / "q")
    for target in ("lmtp:./s", "lmtp:"):
        (server,) = plan_of(target, defaults, explicit=True).targets
        assert found.myself.is_me(server.host, server.port)
    (server,) = plan_of("lmtp:./other", defaults, explicit=True).targets
    assert not found.myself.is_me(server.host, server.port)


def test_the_port_of_other_servers_is_the_one_that_is_translated(load):
    one = load("proxy_addresses = 203.0.113.5;", f"smtpc {{ remote_port = 2500; }} {SERVERS}").myself
    assert one.is_me("203.0.113.5", 2500)


def test_who_may_talk_to_itself_is_nobody(load):
    one = load("", f"smtpc {{ flags = {{ talk_to_myself }}; }} {SERVERS}").myself
    assert not one.is_me("192.0.2.1", 25)
    assert one.names == frozenset()


def test_policies_of_mta_sts_are_asked_for_with_their_section(load, tmp_path):
    assert load("").sts is None
    make_certificate(tmp_path, "ca")
    plain, own = load("mta_sts { }").sts, load(f'mta_sts {{ CAcert_file = "{tmp_path}/ca.pem"; port = 8443; }}').sts
    assert (plain.ca_file, plain.port, plain.directory) == (None, 443, tmp_path / "q/smar/mta-sts")
    assert (own.ca_file, own.port) == (tmp_path / "ca.pem", 8443)
    with pytest.raises(PermError, match=r"CAcert_file: .*missing.pem: No such file"):
        load(f'mta_sts {{ CAcert_file = "{tmp_path}/missing.pem"; }}')


def test_reports_about_tls_are_made_with_their_section(load, tmp_path):
    listen = "smtps {{ listen_socket {{ type = inet; address = {}; port = 2525; }} }}"
    assert load("").reports is None
    made = load("relay_from = { 127.0.0.0/8 }; tls_reports { from = tls@Gw.example; }", listen.format("0.0.0.0")).reports
    assert (made.sender, made.smtps, made.delay_s) == (
        RptSender("Gw.example", "tls@Gw.example", "gw.example"), ("127.0.0.1", 2525), 4 * 3600,
    )  # fmt: skip
    assert (made.hostname, made.directory) == ("gw.example", tmp_path / "q/smar/tlsrpt")
    text = 'relay_from = { "::1" }; tls_reports { from = t@gw.example; organization = "A B"; delay = 0; }'
    own = load(text, listen.format('"::1"')).reports
    assert (own.sender.organization, own.smtps, own.delay_s) == ("A B", ("::1", 2525), 0)
    with pytest.raises(PermError, match=r"sent through smtps at 127.0.0.1: add 127.0.0.1 to relay_from"):
        load("tls_reports { from = tls@gw.example; }", listen.format("127.0.0.1"))
    with pytest.raises(PermError, match=r"needs an smtps to send by"):
        load("tls_reports { from = tls@gw.example; }")
    for more, sock in (
        ("protocol = lmtp;", ""),
        ("proxy_from = { 127.0.0.1 };", ""),
        ("flags = { require_auth }; auth { password_file = users; }", ""),
        ("tls { cert_file = a.pem; key_file = a.key; }", "implicit_tls = true;"),
    ):
        one = f"smtps a {{ {more} listen_socket {{ type = inet; port = 2424; {sock} }} }}"
        with pytest.raises(PermError, match=r"without LMTP, proxies, AUTH, implicit TLS"):
            load("relay_from = { 127.0.0.1 }; tls_reports { from = tls@gw.example; }", one)
