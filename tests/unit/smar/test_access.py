import pytest

from meta1g.base.log import Log
from meta1g.base.reply import Reply
from meta1g.conf.access import ERROR_TEXT_MAX_CHARS
from meta1g.maps.base import MapStatus, perm, temp
from meta1g.maps.cidrmap import CidrMap
from meta1g.maps.static import StaticMap
from meta1g.maps.wrong import WrongEntries
from meta1g.rcb.smtps_smar import ClientResolve
from meta1g.smar.access import BROKEN, NONE, TEMP, AccessMap, Action, Decision
from meta1g.smar.listed import Listed
from meta1g.smtp.address import NULL, parse_path
from tests.fakes.lines import Lines

REJECT = Decision(Action.REFUSE, reply=Reply(550, "5.7.1", "Access denied"))


def made(entries):
    return AccessMap(StaticMap("a", entries), "+")


def parsed(value):
    return made({"to:x": value}).recipient(parse_path("u@x"))


@pytest.mark.parametrize(
    ("value", "decision"),
    [
        ("relay", Decision(Action.RELAY)),
        (" OK ", Decision(Action.OK)),
        ("cont", Decision(Action.CONT)),
        ("discard", Decision(Action.DISCARD)),
        ("reject", REJECT),
        ("quick:relay", Decision(Action.RELAY, quick=True)),
        ("QUICK: reject", Decision(Action.REFUSE, quick=True, reply=Reply(550, "5.7.1", "Access denied"))),
        ("error:550 5.1.1 no such user", Decision(Action.REFUSE, reply=Reply(550, "5.1.1", "no such user"))),
        ('error:"451 4.7.1 later, please"', Decision(Action.REFUSE, reply=Reply(451, "4.7.1", "later, please"))),
        ("error:554 go away", Decision(Action.REFUSE, reply=Reply(554, "5.7.1", "go away"))),
        ("error:450", Decision(Action.REFUSE, reply=Reply(450, "4.7.1", "Access denied"))),
        ("error: 421 4.3.2 busy", Decision(Action.REFUSE, reply=Reply(421, "4.3.2", "busy"))),
    ],
)
def test_right_hand_sides(value, decision):
    assert parsed(value) == decision


@pytest.mark.parametrize(
    "value", ["", "okay", "error:", "error:250 2.0.0 fine", "error:99", "error:550 4.1.1 mixed", "quick:", "reject now"]
)
def test_a_wrong_right_hand_side_is_temporary_so_that_nothing_is_lost(value):
    assert parsed(value) == BROKEN
    assert BROKEN.reply.code // 100 == 4


def test_a_wrong_entry_is_logged_with_map_key_and_value_once_in_a_while():
    lines = Lines()
    log = Log("smar", sink=lines)
    table = AccessMap(StaticMap("rules", {"from:.x.org": "rejct", "protectedrcpt:u@x.org": "$"}), "+", WrongEntries(log))
    for _ in range(3):
        assert table.sender(parse_path("u@a.x.org")) == BROKEN
    assert table.protection(parse_path("u@x.org")) == BROKEN
    first, second = lines.lines
    assert "sevr=ERROR" in first
    assert "map=rules, key=from:.x.org, answer=rejct" in first
    assert "unknown value rejct; did you mean reject?" in first
    assert "key=protectedrcpt:u@x.org" in second


def test_rules_that_nobody_keeps_are_named_once_for_each_content_of_the_map():
    lines = Lines()
    table = StaticMap("rules", {"cltadr:192": "reject", "from:x": "ok", "2001:db8": "ok"})
    access = AccessMap(table, "+", WrongEntries(Log("smar", sink=lines)))
    for _ in range(3):
        assert access.client("192.0.2.1", "", ClientResolve.OK) == NONE
    (unknown,) = lines.lines
    assert "map=rules, key=cltadr:" in unknown
    assert "its rules are not kept until it is mended" in unknown
    assert "unknown tag cltadr:; did you mean cltaddr?" in unknown


def test_the_name_of_the_client_is_asked_before_the_sender():
    table = made({"ehlo:.dyn.example": "reject", "ehlo:mx.example": "cont", "from:x.org": "ok", "ehlo:q.example": "quick:ok"})
    sender = parse_path("u@x.org")
    assert table.sender(sender, "a.dyn.example") == REJECT
    assert table.sender(sender, "mx.example") == Decision(Action.OK)
    assert table.sender(parse_path("u@y.org"), "mx.example") == Decision(Action.CONT)
    assert table.sender(sender, "q.example") == Decision(Action.OK, quick=True)
    assert table.sender(sender, "[192.0.2.1]") == Decision(Action.OK)
    assert table.sender(sender) == Decision(Action.OK)


@pytest.mark.parametrize(
    ("issuer", "subject", "expected"),
    [
        ("CN=Our CA,O=Example", "CN=a", Decision(Action.RELAY)),
        ("CN=Their CA", "CN=a", REJECT),
        ("CN=Third CA", "CN=a", Decision(Action.RELAY, quick=True)),
        ("CN=Third CA", "CN=b", Decision(Action.CONT)),
        ("CN=Fourth CA", "CN=b", NONE),
        ("CN=Fourth CA", 'CN=M\\C3\\BCller "x" + <y>', Decision(Action.DISCARD)),
        ("CN=Fourth CA", "", NONE),
    ],
)
def test_the_issuer_of_a_certificate_is_asked_before_its_subject(issuer, subject, expected):
    table = made(
        {
            "certissuer:cn=our+20ca,o=example": "relay",
            "certissuer:cn=their+20ca": "reject",
            "certissuer:cn=third+20ca": "cont",
            "certsubject:cn=a": "quick:relay",
            "certsubject:cn=m\\c3\\bcller+20+22x+22+20+2b+20+3cy+3e": "discard",
        }
    )
    assert table.certificate(issuer, subject) == expected


@pytest.mark.parametrize("tag", ["ehlo", "cltresolve"])
def test_what_anybody_can_be_allows_no_relaying(tag):
    table = made({"ehlo:x": "relay", "cltresolve:ok": "relay"})
    asked = {"ehlo": lambda: table.sender(NULL, "x"), "cltresolve": lambda: table.client("192.0.2.1", "", ClientResolve.OK)}
    assert asked[tag]() == BROKEN


def test_texts_are_safe_in_a_reply():
    decision = parsed("error:550 5.7.1 caf\u00e9\t\x00\r\n250 ok" + "x" * 1000)
    assert decision.reply.text.isascii()
    assert decision.reply.text.isprintable()
    assert len(decision.reply.text) <= ERROR_TEXT_MAX_CHARS


def test_networks_of_a_cidr_map_count_for_clients_and_for_results_of_dns_lists(tmp_path):
    (tmp_path / "nets").write_text("cltaddr:198.51.100.0/25 reject\ncltaddr:2001:db8::/33 relay\ndnsbl1:127.0.0.0/28 discard\n")
    table = AccessMap(CidrMap("a", tmp_path / "nets"), "+")
    assert table.client("198.51.100.77", "h.example.org", ClientResolve.OK) == REJECT
    assert table.client("198.51.100.177", "h.example.org", ClientResolve.OK) == NONE
    assert table.client("2001:db8::7", "", ClientResolve.NO_NAME) == Decision(Action.RELAY)
    assert table.listed([Listed(0, "127.0.0.2"), Listed(1, "127.0.0.9")]) == Decision(Action.DISCARD)


def test_a_client_is_asked_by_address_then_name_then_resolution():
    table = made(
        {"cltaddr:192.0.2": "relay", "cltname:.example.org": "ok", "cltresolve:forged": "reject", "cltresolve:no": "cont"}
    )
    assert table.client("192.0.2.1", "h.example.org", ClientResolve.FORGED) == Decision(Action.RELAY)
    assert table.client("203.0.113.1", "h.example.org", ClientResolve.OK) == Decision(Action.OK)
    assert table.client("203.0.113.1", "", ClientResolve.FORGED) == REJECT
    assert table.client("203.0.113.1", "", ClientResolve.NO_NAME) == Decision(Action.CONT)
    assert table.client("203.0.113.1", "", ClientResolve.TEMP) == NONE


def test_cont_goes_on_to_the_less_specific_question_and_counts_if_nothing_follows():
    table = made({"cltaddr:192.0.2.1": "cont", "cltresolve:forged": "reject", "cltaddr:192.0.2.2": "quick:cont"})
    assert table.client("192.0.2.1", "", ClientResolve.FORGED) == REJECT
    assert table.client("192.0.2.1", "", ClientResolve.OK) == Decision(Action.CONT)
    assert table.client("192.0.2.2", "", ClientResolve.FORGED) == Decision(Action.CONT, quick=True)


@pytest.mark.parametrize(
    ("address", "value"),
    [
        ("u+d@a.x.org", "1"),
        ("u+e@a.x.org", "2"),
        ("u@a.x.org", "3"),
        ("u@other.org", "4"),
        ("v@a.x.org", "5"),
        ("v@b.x.org", "6"),
    ],
)
def test_senders_are_asked_from_most_to_least_specific(address, value):
    keys = {"u+d@a.x.org": 1, "u+*@a.x.org": 2, "u@a.x.org": 3, "u@": 4, "a.x.org": 5, ".x.org": 6}
    table = made({f"from:{key}": f"error:55{number} text" for key, number in keys.items()})
    assert table.sender(parse_path(address)).reply.code == int(f"55{value}")


def test_the_null_sender_has_a_key_of_its_own():
    assert made({"from:<>": "reject"}).sender(NULL) == REJECT


def test_recipients_have_their_own_tag():
    table = made({"to:list@": "reject"})
    assert table.recipient(parse_path("LIST@x.org")) == REJECT
    assert table.sender(parse_path("list@x.org")) == NONE


def test_protection_gives_the_list():
    table = made({"protectedrcpt:all@x.org": "x.org 192.0.2.0/24"})
    assert table.protection(parse_path("all@x.org")) == "x.org 192.0.2.0/24"
    assert table.protection(parse_path("one@x.org")) is None


class Failing:
    name, blocking = "f", True

    def __init__(self, result):
        self.result = result

    def tags(self):
        return None

    def lookup(self, key):
        return self.result


@pytest.mark.parametrize("result", [temp("away"), perm("broken")])
def test_a_map_that_does_not_answer_is_temporary(result):
    table = AccessMap(Failing(result), "+")
    assert result.status in (MapStatus.TEMP, MapStatus.PERM)
    assert table.client("192.0.2.1", "", ClientResolve.OK) == TEMP
    assert table.sender(NULL) == TEMP
    assert table.protection(parse_path("a@b.c")) == TEMP
    assert table.blocking
