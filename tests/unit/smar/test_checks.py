from pathlib import Path

import pytest

from meta1g.maps.base import NOMORE, perm, temp
from meta1g.maps.static import StaticMap
from meta1g.rcb.smtps_smar import CheckMail, CheckRcpt, Checks, ClientResolve, LookupFlags, VerdictFlags
from meta1g.smar.access import AccessMap
from meta1g.smar.alias import Aliases
from meta1g.smar.checks import Policy
from meta1g.smar.localuser import LocalUsers
from meta1g.smar.relay import RelayRules
from meta1g.smar.route import RouteDefaults, Routes

DEFAULTS = RouteDefaults(25, "lmtpsock", Path("/q"))
NET = "192.0.2.1"  # a client that may relay
FAR = "203.0.113.1"  # one that may not


class Failing:
    """A map that never answers."""

    name, blocking = "failing", True

    def __init__(self, result):
        self.result = result

    def tags(self):
        return None

    def lookup(self, key):
        return self.result


def policy(access=None, *, users=None, aliases=None, table=None, local_domains=True):
    def made(entries):
        return StaticMap("m", entries) if isinstance(entries, dict) else entries

    routes = Routes(made({"ours.org": "lmtp:"} if table is None else table), DEFAULTS)
    relay = RelayRules(["192.0.2.0/24"], ["partner.org"], [], routes)
    return Policy(
        routes,
        relay,
        None if access is None else AccessMap(made(access), "+"),
        None if users is None else LocalUsers(made(users), localpart=True, local_domains=local_domains, delimiter="+"),
        None
        if aliases is None
        else Aliases(made(aliases), localpart=True, local_domains=True, delimiter="+", relay=relay, hostname="gw.example"),
    )


def rcpt(one, address, *, client=FAR, mail="a@far.org", flags=0):
    return one.rcpt(CheckRcpt(ta_id="S0", rcpt_idx=0, client_addr=client, mail=mail, rcpt=address, flags=flags))


def mail(one, address, flags=0):
    return one.mail(CheckMail(ta_id="S0", client_addr=FAR, mail=address, flags=flags))


class TestClient:
    def test_without_access_map_a_client_is_greeted_and_not_asked_about(self):
        one = policy()
        assert one.checks() == Checks.RCPT
        assert one.client(FAR, "", ClientResolve.NO_NAME).reply.code == 220
        assert policy({}).checks() == Checks.CLIENT | Checks.MAIL | Checks.RCPT

    @pytest.mark.parametrize(
        ("value", "code", "flags"),
        [
            ("relay", 220, VerdictFlags.RELAY),
            ("quick:relay", 220, VerdictFlags.RELAY | VerdictFlags.QUICK),
            ("ok", 220, 0),
            ("quick:ok", 220, VerdictFlags.QUICK),
            ("discard", 220, VerdictFlags.DISCARD),
            ("cont", 220, 0),
            ("reject", 550, 0),
            ("error:421 4.7.0 slow down", 421, 0),
        ],
    )
    def test_the_entry_decides(self, value, code, flags):
        verdict = policy({f"cltaddr:{FAR}": value}).client(FAR, "", ClientResolve.NO_NAME)
        assert (verdict.reply.code, verdict.flags) == (code, flags)

    def test_a_relay_network_gives_the_relay_flag(self):
        assert policy({}).client(NET, "", ClientResolve.OK).flags == VerdictFlags.RELAY

    def test_only_a_client_whose_recipients_nothing_refuses_need_not_ask_again(self):
        for one in (policy(), policy(aliases={}), policy(table={"ours.org": "lmtp:", "x.org": "25^[192.0.2.9]"})):
            assert one.client(NET, "", ClientResolve.OK).flags & VerdictFlags.ANY_RCPT
            for address in ("r@ours.org", "r%far.org@ours.org", "r@far.org", "postmaster", "r@[198.51.100.1]"):
                assert rcpt(one, address, client=NET).flags & VerdictFlags.ANY_RCPT
                assert rcpt(one, address, client=NET).reply.code == 250
            assert not one.client(FAR, "", ClientResolve.OK).flags & VerdictFlags.ANY_RCPT
            assert not rcpt(one, "r@ours.org").flags & VerdictFlags.ANY_RCPT
            assert not rcpt(one, "r@ours.org", client="/var/run/submit").flags & VerdictFlags.ANY_RCPT

    @pytest.mark.parametrize("what", [{"access": {}}, {"users": {}}, {"access": {"cltaddr:192.0.2.1": "relay"}}])
    def test_with_an_opinion_on_recipients_each_one_is_asked_about(self, what):
        one = policy(**what)
        assert not one.client(NET, "", ClientResolve.OK).flags & VerdictFlags.ANY_RCPT
        assert not rcpt(one, "r@far.org", client=NET).flags & VerdictFlags.ANY_RCPT

    def test_a_refused_client_keeps_its_relay_right_for_delayed_checks(self):
        verdict = policy({"cltresolve:forged": "reject"}).client(NET, "x.org", ClientResolve.FORGED)
        assert (verdict.reply.code, verdict.flags) == (550, VerdictFlags.RELAY)

    def test_a_forged_name_is_not_passed_on_nor_looked_up(self):
        verdict = policy({"cltname:bank.org": "relay"}).client(FAR, "bank.org", ClientResolve.FORGED)
        assert (verdict.client_name, verdict.flags, verdict.resolve) == ("", 0, ClientResolve.FORGED)
        good = policy({"cltname:bank.org": "relay"}).client(FAR, "Bank.org", ClientResolve.OK)
        assert (good.client_name, good.flags) == ("bank.org", VerdictFlags.RELAY)

    def test_a_local_socket_is_a_client_too(self):
        assert policy({}).client("unix:/x", "", ClientResolve.NO_NAME).reply.code == 220


class TestMail:
    def test_the_entry_decides(self):
        one = policy({"from:spam.org": "reject", "from:<>": "error:450 4.7.1 no bounces now", "from:a@": "quick:relay"})
        assert mail(one, "x@spam.org").reply.code == 550
        assert mail(one, "").reply.code == 450
        assert mail(one, "a@b.org").flags == VerdictFlags.RELAY | VerdictFlags.QUICK
        assert mail(one, "b@b.org").reply.code == 250

    def test_an_earlier_quick_answer_ends_the_check(self):
        assert mail(policy({"from:spam.org": "reject"}), "x@spam.org", LookupFlags.QUICK).reply.code == 250

    def test_a_sender_that_is_no_address_is_refused(self):
        assert mail(policy({}), "nonsense").reply.ecode == "5.1.7"


class TestRelaying:
    def test_a_stranger_may_write_to_local_and_listed_domains_only(self):
        one = policy()
        assert rcpt(one, "u@ours.org").flags == VerdictFlags.LOCAL
        assert (rcpt(one, "u@partner.org").reply.code, rcpt(one, "u@partner.org").flags) == (250, 0)
        refused = rcpt(one, "u@other.org")
        assert (refused.reply.code, refused.reply.ecode) == (550, "5.7.1")

    @pytest.mark.parametrize("flags", [LookupFlags.RELAY_ALLOWED, LookupFlags.AUTHENTICATED])
    def test_what_smtps_knows_allows_relaying(self, flags):
        assert rcpt(policy(), "u@other.org", flags=flags).reply.code == 250

    @pytest.mark.parametrize("flags", [LookupFlags.TLS_VERIFIED, LookupFlags.QUICK, LookupFlags.LMTP])
    def test_what_proves_no_permission_does_not(self, flags):
        assert rcpt(policy({}), "u@other.org", flags=flags).reply.code == 550

    def test_a_client_of_our_network_may_relay(self):
        assert rcpt(policy(), "u@other.org", client=NET).reply.code == 250

    @pytest.mark.parametrize("value", ["ok", "quick:ok", "cont"])
    def test_an_entry_that_only_accepts_does_not_allow_relaying(self, value):
        assert rcpt(policy({"to:other.org": value}), "u@other.org").reply.code == 550

    def test_a_relay_entry_for_the_recipient_does(self):
        assert rcpt(policy({"to:other.org": "relay"}), "u@other.org").reply.code == 250

    def test_case_and_address_literals_do_not_open_a_way(self):
        one = policy()
        assert rcpt(one, "u@OURS.org").reply.code == 250
        assert rcpt(one, "u@[127.0.0.1]").reply.code == 550
        assert rcpt(one, "@ours.org:u@other.org").reply.code == 550
        assert rcpt(one, '"u@other.org"@ours.org').reply.code == 550

    def test_a_mailertable_that_does_not_answer_is_temporary(self):
        one = policy(table=Failing(temp("away")))
        assert rcpt(one, "u@ours.org").reply.code == 451
        assert rcpt(one, "u@ours.org", client=NET).reply.code == 250
        assert one.rcpt_blocks

    def test_a_smart_host_makes_no_domain_ours(self):
        assert rcpt(policy(table={".": "[192.0.2.9]"}), "u@other.org").reply.code == 550
        assert rcpt(policy(table={".": "lmtp:"}), "u@other.org").reply.code == 550


class TestRecipient:
    def test_the_entry_is_asked_before_relaying(self):
        one = policy({"to:closed@": "error:554 5.7.1 closed", "to:sink@": "discard"})
        assert rcpt(one, "closed@other.org", client=NET).reply.text == "closed"
        assert rcpt(one, "sink@other.org").flags == VerdictFlags.DISCARD

    def test_an_earlier_quick_answer_ends_the_questions_to_the_access_map(self):
        one = policy({"to:closed@": "reject", "protectedrcpt:closed@": "nobody.org"})
        assert rcpt(one, "closed@ours.org", flags=LookupFlags.QUICK).reply.code == 250

    def test_unknown_local_users_are_refused_for_everybody(self):
        one = policy(users={"joe": ""})
        for flags in (0, LookupFlags.QUICK, LookupFlags.RELAY_ALLOWED):
            refused = rcpt(one, "nobody@ours.org", client=NET, flags=flags)
            assert (refused.reply.code, refused.reply.ecode) == (550, "5.1.1")
        assert rcpt(one, "joe+x@ours.org").reply.code == 250

    def test_users_of_other_domains_are_not_asked_for(self):
        one = policy(users={"joe": ""})
        assert rcpt(one, "nobody@other.org", client=NET).reply.code == 250
        assert rcpt(one, "nobody@partner.org").reply.code == 250

    def test_without_the_flag_users_of_relayed_domains_are_asked_for_too(self):
        one = policy(users={"joe@partner.org": ""}, local_domains=False)
        assert rcpt(one, "joe@partner.org").reply.code == 250
        assert rcpt(one, "nobody@partner.org").reply.code == 550
        assert rcpt(one, "nobody@other.org", client=NET).reply.code == 250

    def test_an_alias_is_a_known_recipient(self):
        one = policy(users={"joe": ""}, aliases={"list": "joe"})
        assert rcpt(one, "list@ours.org").reply.code == 250
        assert rcpt(one, "nobody@ours.org").reply.code == 550

    def test_postmaster_without_domain_is_always_welcome(self):
        assert rcpt(policy(users={}), "Postmaster").flags == VerdictFlags.LOCAL

    @pytest.mark.parametrize(("result", "code"), [(temp("away"), 451), (perm("broken"), 451), (NOMORE, 550)])
    def test_a_user_map_that_does_not_answer(self, result, code):
        one = policy(users=Failing(result), aliases={})
        assert rcpt(one, "joe@ours.org").reply.code == code
        assert one.rcpt_blocks

    def test_an_alias_map_that_does_not_answer_is_temporary(self):
        assert rcpt(policy(users={}, aliases=Failing(temp("away"))), "joe@ours.org").reply.code == 451

    def test_protected_recipients(self):
        one = policy({"protectedrcpt:all@ours.org": "ours.org 192.0.2.0/24"})
        refused = rcpt(one, "all@ours.org")
        assert (refused.reply.code, refused.reply.ecode) == (550, "5.7.1")
        assert rcpt(one, "all@ours.org", client=NET).reply.code == 250
        assert rcpt(one, "all@ours.org", mail="boss@ours.org").reply.code == 250
        assert rcpt(one, "other@ours.org").reply.code == 250

    def test_an_access_map_that_does_not_answer_is_temporary(self):
        one = policy(Failing(temp("away")))
        assert rcpt(one, "joe@ours.org").reply.code == 451
        assert mail(one, "a@b.org").reply.code == 451
        assert one.client(FAR, "", ClientResolve.OK).reply.code == 451
        assert one.access_blocks

    def test_protection_that_cannot_be_looked_up_is_temporary(self):
        class Half(Failing):
            def lookup(self, key):
                return temp("away") if key.startswith("protectedrcpt:") else StaticMap("m", {}).lookup(key)

        assert rcpt(policy(Half(None)), "joe@ours.org").reply.code == 451

    @pytest.mark.parametrize("address", ["", "nonsense", "a@", "@b.org", "a@b..org"])
    def test_what_is_no_address_is_refused(self, address):
        assert rcpt(policy(), address).reply.code == 501


ROUTED = [
    "u%far.org@ours.org",
    '"u@far.org"@ours.org',
    "far.org!u@ours.org",
    '"@a,@b:u"@ours.org',
    "u%@ours.org",
    "u%far.org@partner.org",
    '"u\\%far.org"@ours.org',
    '"far.org!u"@ours.org',
    "a%b%far.org@ours.org",
    "far.org!next.org!u@ours.org",
    # what a host that folds characters reads as one of these
    "u\uff05far.org@ours.org",
    "u\uff20far.org@ours.org",
    "far.org\uff01u@ours.org",
    "u\ufe6bfar.org@ours.org",
]


class TestRoutes:
    """A recipient that carries another route: the host behind may relay it."""

    @pytest.mark.parametrize("address", ROUTED)
    def test_a_stranger_may_not_use_it(self, address):
        verdict = rcpt(policy(), address)
        assert (verdict.reply.code, verdict.reply.ecode) == (550, "5.7.1")
        assert "route" in verdict.reply.text

    @pytest.mark.parametrize("address", ROUTED)
    def test_an_entry_for_the_domain_does_not_help(self, address):
        assert rcpt(policy({"to:ours.org": "relay", "to:partner.org": "ok"}), address).reply.code == 550

    @pytest.mark.parametrize("address", ROUTED)
    def test_who_may_relay_may_use_it(self, address):
        assert rcpt(policy(), address, client=NET).reply.code == 250
        for flag in (LookupFlags.RELAY_ALLOWED, LookupFlags.AUTHENTICATED):
            assert rcpt(policy(), address, flags=flag).reply.code == 250

    @pytest.mark.parametrize("address", ROUTED)
    def test_who_says_so_takes_it_from_everybody(self, address):
        assert rcpt(policy(), address, flags=LookupFlags.ROUTING).reply.code == 250

    @pytest.mark.parametrize("address", ["u%far.org@far.org", "far.org!u@far.org"])
    def test_to_a_domain_that_is_not_ours_relaying_is_denied_in_any_case(self, address):
        assert rcpt(policy(), address).reply.text == "Relaying denied"
        assert rcpt(policy(), address, flags=LookupFlags.ROUTING).reply.text == "Relaying denied"

    @pytest.mark.parametrize("address", ["u+far.org@ours.org", "u=far.org@ours.org", "u#far@ours.org", "u:v@ours.org"])
    def test_other_characters_are_part_of_names(self, address):
        assert rcpt(policy(), address if ":" not in address else '"u:v"@ours.org').reply.code == 250

    def test_a_source_route_is_dropped_and_its_end_counts(self):
        assert rcpt(policy(), "@a.example,@b.example:u@ours.org").reply.code == 250
        assert rcpt(policy(), "@ours.org,@b.example:u@far.org").reply.text == "Relaying denied"
