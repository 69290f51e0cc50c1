import pytest

from meta1g.base.reply import Reply
from meta1g.maps.base import NOMORE, MapStatus, perm, temp
from meta1g.maps.static import StaticMap
from meta1g.rcb.qmgr_smar import Members, Unresolved
from meta1g.smar.alias import Aliases, split_members
from meta1g.smar.relay import RelayRules
from meta1g.smar.route import Routes
from meta1g.smtp.address import parse_path


def aliases(entries, *, localpart=True, local_domains=True, delimiter="+"):
    table = StaticMap("a", entries) if isinstance(entries, dict) else entries
    relay = RelayRules((), (), ["x.org", "gw.example"], Routes(None, None))
    return Aliases(
        table, localpart=localpart, local_domains=local_domains, delimiter=delimiter, relay=relay, hostname="Gw.example"
    )


def expand(entries, address, **options):
    return aliases(entries, **options).expand(parse_path(address))


@pytest.mark.parametrize(
    ("value", "members"),
    [
        ("smith dmk <rev@another.domain>", ["smith", "dmk", "rev@another.domain"]),
        ("root@domain.net", ["root@domain.net"]),
        ("a@x.org, b@x.org ,\tc", ["a@x.org", "b@x.org", "c"]),
        ('"a b"@x.org <"c, d"@y.org>', ['"a b"@x.org', '"c, d"@y.org']),
        ("", []),
        (" , ", []),
    ],
)
def test_members_are_separated_by_blanks_or_commas(value, members):
    assert split_members(value) == members


def test_bare_members_are_in_the_domain_of_the_alias():
    assert expand({"list": "a <b@far.org>"}, "List@x.org") == Members(members=("a@x.org", "b@far.org"))


def test_an_address_that_is_no_alias_gives_none():
    assert expand({"list": "a"}, "other@x.org") is None


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        (["u+d@x.org", "u+*@x.org"], "u+d@x.org"),
        (["u+*@x.org", "u@x.org"], "u+*@x.org"),
        (["u@x.org", "u+d"], "u@x.org"),
        (["u+d", "u"], "u+d"),
        (["u", "@x.org"], "u"),
        (["@x.org"], "@x.org"),
    ],
)
def test_keys_from_most_to_least_specific(keys, found):
    entries = {key: f"n{number}@far.org" for number, key in enumerate(keys)}
    assert keys[0] == found
    assert expand(entries, "u+d@x.org").members == ("n0@far.org",)


def test_flags_decide_on_keys():
    assert expand({"u": "a@far.org"}, "u@x.org", localpart=False) is None
    assert expand({"u@far.org": "a@x.org"}, "u@far.org") is None
    assert expand({"u@far.org": "a@other.org"}, "u@far.org", local_domains=False).members == ("a@other.org",)
    assert expand({"u": "a@other.org"}, "u@far.org", local_domains=False) is None


def test_postmaster_without_domain_is_at_this_host():
    assert expand({"postmaster": "admin"}, "postmaster").members == ("admin@gw.example",)


def test_nested_aliases_are_expanded_without_duplicates():
    entries = {"all": "one two a@far.org", "one": "a@far.org b@far.org", "two": "one c@far.org"}
    assert expand(entries, "all@x.org").members == ("a@far.org", "b@far.org", "c@far.org")


def test_members_are_the_same_if_they_differ_in_the_letters_of_the_domain_only():
    assert expand({"l": "a@far.org a@FAR.org A@far.org"}, "l@x.org").members == ("a@far.org", "A@far.org")
    assert expand({"l": "One one", "one": "a@far.org"}, "l@x.org").members == ("a@far.org",), "aliases have no such case"


def test_an_alias_that_names_itself_is_also_a_mailbox():
    assert expand({"joe": "Joe joe joe@far.org"}, "joe@x.org").members == ("Joe@x.org", "joe@far.org")
    assert expand({"joe": "joe joe@far.org"}, "joe@x.org").members == ("joe@x.org", "joe@far.org")
    assert expand({"joe": "joe"}, "joe@x.org") is None


def test_a_catch_all_leaves_other_aliases_alone():
    entries = {"@x.org": "admin@far.org", "joe@x.org": "j@far.org"}
    assert expand(entries, "joe@x.org").members == ("j@far.org",)
    assert expand(entries, "nobody@x.org").members == ("admin@far.org",)


def test_a_loop_adds_nothing_and_a_loop_alone_is_an_error():
    assert expand({"a": "b", "b": "a c@far.org"}, "a@x.org").members == ("c@far.org",)
    answer = expand({"a": "b", "b": "a"}, "a@x.org")
    assert isinstance(answer, Unresolved)
    assert (answer.reply.code, answer.reply.ecode) == (554, "5.4.6")


def test_deep_nesting_is_no_loop():
    deep = {f"n{number}": f"n{number + 1}" for number in range(2000)} | {"n2000": "end@far.org"}
    assert expand(deep, "n0@x.org").members == ("end@far.org",)


def test_lists_and_members_are_bounded_and_the_error_names_alias_and_limit(monkeypatch):
    monkeypatch.setattr("meta1g.smar.alias.ALIAS_LISTS_MAX", 5)
    monkeypatch.setattr("meta1g.smar.alias.ALIAS_MEMBERS_MAX", 7)
    lists = {"all": "l1 l2 l3 l4", **{f"l{n}": f"m{n}@far.org" for n in range(1, 6)}}
    assert len(expand(lists, "all@x.org").members) == 4
    answer = expand({**lists, "all": "l1 l2 l3 l4 l5"}, "all@x.org")
    assert answer.reply == Reply(
        554,
        "5.4.6",
        "Alias all@x.org leads to more than 5 other aliases",
    )
    members = " ".join(f"m{n}@far.org" for n in range(7))
    assert len(expand({"all": members}, "all@x.org").members) == 7
    answer = expand({"all": f"{members} b@far.org"}, "all@x.org")
    assert answer.reply == Reply(
        554,
        "5.3.4",
        "Alias all@x.org has more than 7 members",
    )


class Counting(StaticMap):
    """Counts look-ups."""

    asked = 0

    def lookup(self, key):
        self.asked += 1
        return super().lookup(key)


def everybody_names_everybody(count):
    names = [f"l{number}" for number in range(count)]
    return {name: " ".join((*names, f"m-{name}@far.org")) for name in names}


@pytest.mark.parametrize("count", [3, 20, 60])
def test_lists_that_name_each_other_are_expanded_once_each(count):
    table = Counting("a", everybody_names_everybody(count))
    members = expand(table, "l0@x.org").members
    assert sorted(members) == sorted(
        {f"m-l{number}@far.org" for number in range(1, count)}
        | {"l0@x.org", "m-l0@far.org"}
        | {f"l{number}@x.org" for number in range(1, count)}
    )
    assert table.asked <= 8 * count


def chain_of_diamonds(count):
    """Each level leads to the next one in two ways, and the last one back to the first."""
    entries = {}
    for n in range(count):
        entries |= {f"t{n}": f"a{n} b{n}", f"a{n}": f"t{n + 1} x{n}@far.org", f"b{n}": f"t{n + 1} x{n}@far.org y{n}@far.org"}
    return entries | {f"t{count}": "t0 end@far.org"}


def test_diamonds_give_each_member_once_in_the_order_of_their_meeting():
    members = expand(chain_of_diamonds(3), "t0@x.org").members
    assert members == (
        "end@far.org", "x2@far.org", "y2@far.org", "x1@far.org", "y1@far.org", "x0@far.org", "y0@far.org"
    )  # fmt: skip
    assert expand(chain_of_diamonds(3), "t0@x.org").members == members


def test_the_work_grows_with_the_aliases_and_not_with_the_ways_through_them():
    def asked(count):
        table = Counting("a", chain_of_diamonds(count))
        assert len(expand(table, "t0@x.org").members) == 2 * count + 1
        return table.asked

    assert 3.9 < asked(2000) / asked(500) < 4.1


def test_a_long_value_is_split_in_time_that_grows_with_it():
    hostile = ['"' * 100_000, "<" * 100_000, '"<' * 50_000, "a" * 1_000_000, "a<b" * 100_000, " " * 1_000_000 + "x"]
    for value in hostile:
        split_members(value)  # ends


def test_macros_make_no_second_member():
    assert expand({"@x.org": "${user}@far.org"}, '"a, evil@far"@x.org').reply.code == 550


def test_a_member_in_another_character_set_is_an_error_and_harms_nobody_else():
    assert expand({"list": "a@far.org caf\udce9@far.org"}, "list@x.org").reply.code == 550


@pytest.mark.parametrize("value", ["|program", '"|prog arg"', "/file", "a b@@x", "<>", ":include:/x"])
def test_a_member_that_is_no_address_is_an_error(value):
    answer = expand({"a": f"ok@x.org {value}" if value != "<>" else "<x y>"}, "a@x.org")
    assert (answer.reply.code, answer.reply.ecode) == (550, "5.3.5")


def test_an_alias_without_members_is_an_error():
    assert expand({"a": ""}, "a@x.org").reply.code == 550


def test_macros_carry_parts_of_the_address_over():
    assert expand({"@x.org": "${user}+${detail}@far.org"}, "joe+spam@x.org").members == ("joe+spam@far.org",)


def test_the_owner_of_a_list_is_its_envelope_sender():
    entries = {"list": "a@far.org b@far.org", "owner-list": "boss@far.org"}
    assert expand(entries, "list@x.org").owner == "boss@far.org"
    assert expand({**entries, "owner-list": "boss"}, "list@x.org").owner == "boss@x.org"
    assert expand({**entries, "owner-list": "b1 b2"}, "list@x.org").owner == "owner-list@x.org"
    assert expand({"list": "a@far.org"}, "list@x.org").owner is None
    assert expand({"list": "a@far.org", "@x.org": "admin@far.org"}, "list@x.org").owner is None


class Server:
    """A map whose answers are given by key."""

    name, blocking = "s", True

    def __init__(self, answers):
        self.answers, self.asked = answers, []

    def lookup(self, key):
        self.asked.append(key)
        return self.answers.get(key) or StaticMap("none", {}).lookup(key)


def test_nomore_ends_the_search_for_all_variants():
    table = Server({"u+d@x.org": NOMORE})
    assert expand(table, "u+d@x.org") is None
    assert table.asked == ["u+d@x.org"]


@pytest.mark.parametrize(("result", "code"), [(temp("away"), 451), (perm("no"), 550)])
def test_a_map_that_does_not_answer_fails_the_address(result, code):
    assert expand(Server({"u@x.org": result}), "u@x.org").reply.code == code
    nested = Server({"list@x.org": StaticMap("n", {"k": "u"}).lookup("k"), "u@x.org": result})
    assert expand(nested, "list@x.org").reply.code == code


def test_known_tells_whether_an_address_is_an_alias():
    one = aliases({"list": "a"})
    assert one.known(parse_path("list+x@x.org")) is MapStatus.OK
    assert one.known(parse_path("other@x.org")) is MapStatus.NOTFOUND
    assert not one.blocking
    assert one.version() == 0


@pytest.mark.parametrize("key", ["ü@ü.example", "ü@xn--tda.example", "@ü.example", "@xn--tda.example"])
@pytest.mark.parametrize("asked", ["ü@ü.example", "Ü@XN--TDA.example"])
def test_an_alias_with_other_letters_is_found_in_both_forms_of_its_domain(key, asked):
    found = aliases({key: "ö@ö.example r"}, local_domains=False).expand(parse_path(asked, utf8=True))
    domain = asked.partition("@")[2]
    assert found == Members(members=("ö@ö.example", f"r@{domain}"))
