import pytest

from meta1g.base.ids import rcpt_id
from meta1g.base.reply import Reply
from meta1g.db.aq_types import DestKey
from meta1g.qmgr.control.rows import QueuedRcpt
from meta1g.qmgr.control.selection import KEYS, CommandError, parse, pattern
from meta1g.rcb.envelope import RcptFlags
from tests.fakes.envelopes import NOW, rcpt, ta, ta_id

ID = ta_id(1)


def entry(**facts):
    """A recipient two hours old that was tried once, in DEFEDB."""
    where = facts.pop("where", "defedb")
    place, servers = facts.pop("place", ""), facts.pop("servers", ())
    mail = facts.pop("mail", "Sender@from.example")
    base = {"rcpt": "User@To.Example", "entered": NOW - 7200, "tries": 1}
    return QueuedRcpt(ta(1, mail=mail), rcpt(1, **{**base, **facts}), where, place, servers)


def selects(*words, **facts):
    return parse("remove", words).matches(entry(**facts), NOW)


@pytest.mark.parametrize(
    ("text", "value", "fits"),
    [("abc", "abc", True), ("abc", "ABC", True), ("abc", "abcd", False), ("a*", "abc", True), ("*c", "abc", True),
     ("a*c", "abc", True), ("a*c", "ac", True), ("a*a", "a", False), ("*b*", "abc", True), ("*x*", "abc", False),
     ("a*b*c", "a1b2c", True), ("a*b*c", "acb", False), ("*", "", True), ("", "", True), ("", "a", False),
     ("a.c", "abc", False),
     ("[a]*", "[a]b", True), ("*@*.example", "u@a.example", True), ("*ab*ab", "abab", True), ("*ab*ab", "ab", False)],
)  # fmt: skip
def test_a_star_stands_for_any_characters_and_nothing_else_is_special(text, value, fits):
    assert pattern(text)(value) is fits


def test_a_pattern_of_many_stars_takes_no_more_time_than_its_text():
    """Each part is looked for once: a thousand of them would never end otherwise."""
    assert not pattern("*a" * 1000 + "*b")("a" * 100_000)


@pytest.mark.parametrize(
    "words",
    [("all",), ("to.example",), ("TO.EXAMPLE",), ("domain=to.example",), ("domain=to.example.",), ("domain=*",),
     ("domain=.example",),
     ("*.example",), ("sender=sender@from.example",), ("sender=<sender@from.example>",), ("sender=*@from.example",),
     ("recipient=user@to.example",), ("rcpt=user@*",), ("age=2h",), ("age=..3h",), ("age=1h..2h",), ("age=7200",),
     ("state=deferred",),
     ("sender=nobody@x", "sender=sender@*"), ("to.example", "age=1h", "sender=*@from.example")],
)  # fmt: skip
def test_a_recipient_is_selected_by_each_condition_that_holds(words):
    assert selects(*words)


@pytest.mark.parametrize(
    "words",
    [("o.example",), ("domain=.to.example",), ("domain=to.example.org",), ("sender=user@to.example",), ("sender=<>",),
     ("recipient=sender@from.example",), ("age=3h",), ("age=..1h",), ("age=3h..4h",), ("state=held",), ("state=active",),
     ("status=450",), ("destination=192.0.2.1",), ("to.example", "age=3h"), ("sender=sender@*", "recipient=x@*")],
)  # fmt: skip
def test_a_recipient_is_not_selected_if_one_condition_does_not_hold(words):
    assert not selects(*words)


@pytest.mark.parametrize("rcpt", ["User@b\u00fccher.example", "User@xn--bcher-kva.example"])
@pytest.mark.parametrize(
    "word",
    ["domain=b\u00fccher.example", "domain=XN--bcher-kva.example", "domain=B\u00dcCH*", "b\u00fccher.example",
     "domain=xn--*", "recipient=user@b\u00fccher.example", "recipient=*@xn--bcher-kva.example"],
)  # fmt: skip
def test_a_domain_is_the_same_in_either_kind_of_labels(word, rcpt):
    assert selects(word, rcpt=rcpt)
    assert not selects(word, rcpt="User@bucher.example")
    if word.startswith("recipient"):
        assert selects(word.replace("recipient", "sender"), mail=rcpt)


def test_a_recipient_without_a_domain_is_in_none():
    assert not selects("domain=postmaster", rcpt="postmaster")
    assert selects("recipient=postmaster", rcpt="postmaster")


@pytest.mark.parametrize(
    ("word", "told"),
    [("age=2d..1h", "nothing is older than 2d and younger than 1h"), ("localhost", "written domain=localhost")],
)
def test_a_selector_that_can_select_nothing_is_refused(word, told):
    with pytest.raises(CommandError, match=told):
        parse("remove", [word])


def test_the_sender_is_that_of_the_recipient():
    assert selects("sender=<>", mail="")
    assert selects("sender=owner@list.example", sender="owner@list.example")
    assert not selects("sender=sender@from.example", sender="owner@list.example")


@pytest.mark.parametrize("word", ["status=450", "status=Mailbox  Busy", "status=4.2.1", "status=450 4.2.1"])
def test_a_status_is_found_by_any_part_of_it(word):
    assert selects(word, **said("mailbox busy"))


def said(text):
    return {"reply": Reply(450, "4.2.1", text, "mx.to.example[192.0.2.9]")}


@pytest.mark.parametrize(
    ("word", "fits"),
    [("destination=192.0.2.1", True), ("dest=192.0.2.1:25", True), ("dest=192.0.2.1:26", False), ("dest=mx.to.example", True),
     ("dest=mx.*:25", True), ("dest=192.0.2.*", True), ("dest=192.0.2", False)],
)  # fmt: skip
def test_a_destination_is_known_by_name_address_and_port(word, fits):
    assert selects(word, where="aq ready", place=DestKey(0, "192.0.2.1", 25), servers=("mx.to.example",)) is fits


def test_a_destination_may_be_an_ipv6_address_and_is_that_of_the_last_attempt():
    place = DestKey(0, "2001:db8::1", 25)
    assert all(selects(word, place=place) for word in ("dest=2001:db8::1", "dest=[2001:db8::1]", "dest=[2001:db8::1]:25"))
    assert not selects("dest=[2001:db8::1]:587", place=place)
    assert all(selects(word, **said("busy")) for word in ("dest=mx.to.example", "dest=192.0.2.9"))


def test_the_states_are_deferred_held_and_active():
    assert selects("state=held", flags=RcptFlags.HOLD)
    assert not selects("state=deferred", flags=RcptFlags.HOLD)
    assert selects("state=active", where="aq scheduled")


def test_an_entry_from_the_future_has_no_age():
    assert selects("age=..1s", entered=NOW + 86400)


def test_ids_name_transactions_and_recipients_and_a_whole_transaction_takes_its_recipients_in():
    selector = parse("hold", [rcpt_id(ID, 1), ID, rcpt_id(ta_id(2), 70000), rcpt_id(ta_id(2), 70000)])
    assert selector.ids == ((ID, None), (ta_id(2), 70000))
    assert parse("hold", ["to.example"]).ids is None


@pytest.mark.parametrize(
    ("words", "told"),
    [((), "hold needs `all`, ids, or conditions: sender="), (("all", "x.example"), "leave it out beside other words"),
     (("x",), "not a transaction id: 'x'"), (("u@x.example",), "say sender=u@x.example or recipient=u@x.example"),
     (("color=red",), "color= is no condition; conditions are: sender="), (("age=soon",), "age=soon: 'soon' is not a time"),
     (("age=1h..soon",), "is not a time"), (("status=",), "status=: it is empty"), (("domain=",), "it is empty"),
     (("state=lost",), "'lost' is no state; states are: deferred held active"), ((f"{ID}-1",), "not a recipient id"),
     (("dest=",), "it is empty")],
)  # fmt: skip
def test_a_wrong_selector_is_refused_with_what_would_be_right(words, told):
    with pytest.raises(CommandError) as caught:
        parse("hold", words)
    assert told in str(caught.value)


def test_every_condition_has_a_meaning():
    assert all(key.meaning for key in KEYS.values())
