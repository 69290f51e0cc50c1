"""Facts on MeTA1's maps that stand in its published material (or in that of programs that work with it)."""

import pytest

from meta1g.base.errors import PermError
from meta1g.conf.load import load_file
from meta1g.db.mapfile import MapFile
from meta1g.maps.base import MapStatus
from meta1g.maps.bdbmap import BdbMap
from meta1g.maps.lookup import address_keys, search
from meta1g.maps.sockmap import SocketMap, netstring
from meta1g.rcb.common import DeliveryAgent
from meta1g.rcb.qmgr_smar import Members, Unresolved
from meta1g.rcb.smtps_smar import CheckRcpt
from meta1g.smar.settings import settings_from
from meta1g.smtp.address import parse_path
from tests.fakes.mapserver import MapServer

#: Sample of the smap manual, appendix A.4; only the path of the socket is put in.
LOCAL_USERS = """
map password { type = passwd; }
map userdb {
      type = socket;
      path = "@SOCKET@";
      mapname = userdb;
}
map locusr {
      type = sequence;
      maps = { password, userdb };
}

local_user_map {
     name = "locusr";
     flags = { localpart, local_domains };
}
"""
ALIASES = """
map lum {
      type = socket;
      path = "@SOCKET@";
      mapname = aliases;
}
map stdal { file = "aliases.db"; type = hash; }
map aliasmap { type = sequence; maps = { lum, stdal }; }
aliases {
      name = aliasmap;
      flags = { localpart, local_domains };
}
"""


@pytest.fixture
def load(tmp_path):
    opened = []

    def run(text):
        path = tmp_path / "meta1.conf"
        path.write_text(
            f'queue_directory = "{tmp_path}"; hostname = gw.example; smar {{ local_domains = {{ x.org }}; {text} }}\n'
        )
        config = load_file(path)
        opened.append(settings_from(config, config.section("smar")))
        return opened[-1]

    yield run
    for settings in opened:
        settings.registry.close()


@pytest.fixture
def answers(tmp_path):
    """A map server at tmp_path/s that answers by request; everything else is not found."""
    table: dict[str, str] = {}
    with MapServer(lambda text: table.get(text, "NOTFOUND"), tmp_path / "s") as server:
        server.table = table
        yield server


def rcpt(address):
    return CheckRcpt(ta_id="S0", rcpt_idx=0, client_addr="203.0.113.1", mail="a@far.org", rcpt=address)


def test_the_exchange_of_the_mailfromd_manual_byte_by_byte():
    # the manual writes 11 as the length of "aliases news", which has 12 bytes; ours is the right one
    assert netstring("aliases news") == b"12:aliases news,"
    answers = [b"18:OK root@domain.net,", b"8:NOTFOUND,"]
    with MapServer(lambda text: answers.pop(0)) as server:
        table = SocketMap("m", server.target, "aliases")
        found, missing = table.lookup("news"), table.lookup("news")
        table.close()
    assert (found.status, found.value, missing.status) == (MapStatus.OK, "root@domain.net", MapStatus.NOTFOUND)
    assert server.requests == ["aliases news"] * 2


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("OK", MapStatus.OK),
        ("OK result", MapStatus.OK),
        ("NOTFOUND", MapStatus.NOTFOUND),
        ("NOMORE", MapStatus.NOMORE),
        ("TEMP reason", MapStatus.TEMP),
        ("TIMEOUT reason", MapStatus.TEMP),
        ("PERM reason", MapStatus.PERM),
    ],
)
def test_the_six_status_words(answers, answer, status):
    answers.table["m k"] = answer
    table = SocketMap("m", answers.target, "m")
    assert table.lookup("k").status is status
    table.close()


def test_nomore_ends_the_look_ups_of_a_key_and_its_derivatives(answers):
    answers.table["m user+detail@x.org"] = "NOMORE"
    answers.table["m user@x.org"] = "OK value"
    table = SocketMap("m", answers.target, "m")
    assert search(table, address_keys("user+detail", "x.org"))[1].status is MapStatus.NOMORE
    assert answers.requests == ["m user+detail@x.org"]
    answers.table["m user+detail@x.org"] = "NOTFOUND"
    assert search(table, address_keys("user+detail", "x.org"))[1].value == "value"
    table.close()


def test_a_sequence_asks_the_second_map_only_after_the_first_says_not_found(answers, load):
    settings = load(LOCAL_USERS.replace("@SOCKET@", str(answers.target)))
    assert settings.policy.rcpt(rcpt("root@x.org")).reply.code == 250
    assert "userdb root" not in answers.requests
    answers.table["userdb remote"] = "OK"
    assert settings.policy.rcpt(rcpt("remote@x.org")).reply.code == 250
    assert settings.policy.rcpt(rcpt("nobody-here@x.org")).reply.code == 550


def test_the_local_user_map_is_asked_for_the_full_address_and_the_local_part(answers, load):
    settings = load(LOCAL_USERS.replace("@SOCKET@", str(answers.target)))
    settings.policy.rcpt(rcpt("nobody-here@x.org"))
    assert answers.requests == ["userdb nobody-here@x.org", "userdb nobody-here"]


def test_local_domains_keeps_other_domains_from_the_map(answers, load):
    settings = load("relay_to = { partner.org };" + LOCAL_USERS.replace("@SOCKET@", str(answers.target)))
    assert settings.policy.rcpt(rcpt("anybody@partner.org")).reply.code == 250
    assert answers.requests == []


def test_the_result_of_an_alias_map_splits_in_three(answers, load, tmp_path):
    MapFile.build(tmp_path / "aliases.db", [(b"news", b"root@domain.net")])
    answers.table["aliases root@x.org"] = "OK smith dmk <rev@another.domain>"
    settings = load(ALIASES.replace("@SOCKET@", str(answers.target)))
    members = settings.aliases.expand(parse_path("root@x.org"))
    assert members == Members(members=("smith@x.org", "dmk@x.org", "rev@another.domain"))


def test_the_standard_alias_file_is_asked_after_the_socket_map(answers, load, tmp_path):
    MapFile.build(tmp_path / "aliases.db", [(b"news", b"root@domain.net")])
    settings = load(ALIASES.replace("@SOCKET@", str(answers.target)))
    assert settings.aliases.expand(parse_path("news@x.org")).members == ("root@domain.net",)
    assert "aliases news" in answers.requests
    assert settings.aliases.expand(parse_path("other@x.org")) is None


def test_a_consumer_is_bound_by_name_or_by_file_and_the_file_is_a_hash_in_the_configuration_directory(load, tmp_path):
    with pytest.raises(PermError, match=str(tmp_path / "aliases.db")):
        load('aliases { file = "aliases.db"; }')
    MapFile.build(tmp_path / "aliases.db", [(b"news", b"root@domain.net")])
    settings = load('aliases { file = "aliases.db"; flags = { localpart, local_domains }; }')
    assert settings.aliases.expand(parse_path("news@x.org")).members == ("root@domain.net",)


def test_a_long_configuration_snippet_in_the_access_map_is_not_cut(tmp_path):
    snippet = "tls { flags = { " + ", ".join(f"flag{number}" for number in range(5000)) + " } }"
    MapFile.build(tmp_path / "access.db", [(b"smtpc_rcpt_conf:user@example.org", snippet.encode())])
    table = BdbMap("access", tmp_path / "access.db")
    assert table.lookup("smtpc_rcpt_conf:user@example.org").value == snippet
    table.close()


def test_name_servers_and_time_out_of_the_sample(load):
    settings = load("nameserver = {10.10.10.9, 127.0.0.1}; DNS_timeout = 6;")
    assert [str(server) for server in settings.dns.servers] == ["10.10.10.9@53", "127.0.0.1@53"]
    assert settings.dns.timeout_s == 6


#: Whoever uses a map, asked about user+detail@sub.x.org: the keys up to the one that says NOMORE; a less specific one is there.
USERS = {
    "aliases { name = m; flags = { localpart, local_domains }; }": ("user+detail@x.org", "user@x.org"),
    "local_user_map { name = m; flags = { localpart, local_domains }; }": ("user+detail@x.org", "user"),
    "mailertable { name = m; }": ("sub.x.org", ".x.org"),
    "access_map { name = m; }": ("from:user+detail@x.org", "from:x.org"),
}
SERVER = 'map m { type = socket; path = "@SOCKET@"; } '


def ask(settings, use):
    """Asks by way of whoever uses the map; gives whether a value was found, or a temporary error."""
    address = parse_path("user+detail@x.org")
    if use.startswith("aliases"):
        return settings.aliases.expand(address)
    if use.startswith("local_user_map"):
        return settings.policy.users.find(address) is MapStatus.OK
    if use.startswith("mailertable"):
        plan = settings.routes.plan("sub.x.org")
        return plan.answer if plan.explicit or isinstance(plan.answer, Unresolved) else None
    reply = settings.policy.access.sender(address).reply
    return reply if reply.code else None


@pytest.mark.parametrize("use", USERS)
def test_nomore_ends_the_derived_look_ups_of_each_user_of_a_map(answers, load, use):
    settings = load(SERVER.replace("@SOCKET@", str(answers.target)) + use)
    ends, further = USERS[use]
    answers.table[f"m {further}"] = "OK [192.0.2.1]" if "mailertable" in use else "OK reject"
    assert ask(settings, use)
    answers.table[f"m {ends}"] = "NOMORE"
    answers.requests.clear()
    assert not ask(settings, use)
    assert f"m {further}" not in answers.requests


@pytest.mark.parametrize("word", ["TEMP", "TIMEOUT"])
@pytest.mark.parametrize("use", [use for use in USERS if "local_user_map" not in use])
def test_temp_and_timeout_of_a_map_server_are_temporary_errors_for_each_user_of_a_map(answers, load, use, word):
    settings = load(SERVER.replace("@SOCKET@", str(answers.target)) + use)
    answers.table[f"m {USERS[use][0]}"] = f"{word} later"
    found = ask(settings, use)
    assert getattr(found, "reply", found).code // 100 == 4


@pytest.mark.parametrize("word", ["TEMP", "TIMEOUT"])
def test_temp_and_timeout_of_a_map_server_refuse_a_local_user_for_now(answers, load, word):
    settings = load(SERVER.replace("@SOCKET@", str(answers.target)) + "local_user_map { name = m; flags = { localpart }; }")
    answers.table["m user@x.org"] = f"{word} later"
    assert settings.policy.rcpt(rcpt("user@x.org")).reply.code == 451


def test_a_map_server_may_be_asked_by_tcp(load):
    with MapServer(lambda text: "OK root@domain.net" if text == "aliases news@x.org" else "NOTFOUND") as server:
        where = f"map m {{ type = socket; address = 127.0.0.1; port = {server.target[1]}; mapname = aliases; }} "
        settings = load(where + "aliases { name = m; flags = { localpart, local_domains }; }")
        assert settings.aliases.expand(parse_path("news@x.org")).members == ("root@domain.net",)


def test_local_mail_goes_to_the_lmtp_socket_below_the_queue_directory(load, tmp_path):
    settings = load('map routes { type = static; entries = { "x.org lmtp:" }; } mailertable { name = routes; }')
    plan = settings.routes.plan("x.org")
    assert (plan.da, plan.targets[0].host) == (DeliveryAgent.LMTP, f"unix:{tmp_path}/lmtpsock")
