"""Verdicts: a story of events, and the one line that says who, what and why."""

import pytest

from meta1g.base.events import EVENTS
from meta1g.base.logevent import About
from meta1g.tools.metalog import cases
from meta1g.tools.metalog.cases import judge
from meta1g.tools.metalog.lines import parse_line
from meta1g.tools.metalog.verdict import duration, focus, verdict
from tests.unit.tools.metalog.logs import START, written

TA, SESS = "S00064E96F6D5C5F901", "S00064E96F6D5C5F900"
WHO = {"ss_sess": SESS, "client": "192.0.2.1", "client_name": "c.example"}
NO = {"reply": 550, "ecode": "5.1.1"}
FROM = {"ss_ta": TA, "mail": "s@a.example"}
LATER = "2026-11-27T05:10:00Z"


def connect(**keys):
    return (0, "smtps.connect", "ok", {**WHO, **keys})


def rcpt(index=0, address="r@b.example", **keys):
    return (1, "smtps.rcpt", "ok", {"ss_ta": TA, "rcpt_idx": index, "rcpt": address, **keys})


def message(rcpts=1, **keys):
    return (2, "smtps.message", "ok", {**WHO, **FROM, "size": 1234, "rcpts": rcpts, "reply": 250, **keys})


def outcome(event, stat, index=0, address="r@b.example", after=3.0, **keys):
    facts: dict[str, object] = {**FROM, "rcpt_idx": index, "rcpt": address, "delay_ms": (after - 2) * 1000, "tries": 0, **keys}
    return (after, f"qmgr.{event}", stat, facts)


def delivered(index=0, address="r@b.example", after=3.0, **keys):
    return outcome(
        "delivered", "kept", index, address, after, **{"relay": "mx[127.0.0.9]", "reply": 250, "ecode": "2.0.0", **keys}
    )


def failed(index=0, address="r@b.example", after=3.0, event="failed", **keys):
    return outcome(event, "no such user", index, address, after, **{"relay": "mx[127.0.0.9]", "tries": 1, **NO, **keys})


def deferred(index=0, address="r@b.example", after=3.0, **keys):
    facts = {"relay": "mx[127.0.0.9]", "reply": 451, "ecode": "4.7.1", "tries": 1, "next_try": LATER, **keys}
    return outcome("deferred", "greylisted", index, address, after, **facts)


def of_rcpt(event, stat, index=0, address="r@b.example", after=4.0, **keys):
    return (after, f"qmgr.{event}", stat, {"ss_ta": TA, "rcpt_idx": index, "rcpt": address, **keys})


def refused(what, stat, reply, ecode, **keys):
    return (1, f"smtps.{what}", stat, {**WHO, "reply": reply, "ecode": ecode, **keys})


RULE = {"map": "access.db", "key": "to:r@b.example"}
BOUNCED = "bounced after 1 try in 1.000 s: 550 5.1.1 no such user"
LOST = "failed after 1 try in 1.000 s: 550 5.1.1 no such user; nobody is told"
SENT = "delivered to mx[127.0.0.9] after 1 try in 1.000 s: 250 2.0.0 kept"
STORIES = {
    "delivered": ([connect(), rcpt(), message(), delivered()], SENT),
    "delivered at the third try": (
        [rcpt(), message(), deferred(), deferred(after=60, tries=2), delivered(after=302.5, tries=2)],
        "delivered to mx[127.0.0.9] after 3 tries in 5m: 250 2.0.0 kept",
    ),
    "waits": (
        [rcpt(), message(), deferred()],
        f"waits until {LATER} after 1 try in 1.000 s: 451 4.7.1 greylisted",
    ),
    "nobody listened": (
        [rcpt(), message(), deferred(relay=None, reply=0, ecode=None)],
        f"waits until {LATER} after 1 try in 1.000 s: greylisted",
    ),
    "accepted": ([rcpt(), message()], "in the queue, not tried yet"),
    "not whole": ([rcpt()], "accepted, but the message did not come"),
    "bounced": (
        [rcpt(), message(), failed(), of_rcpt("bounce", "ok", 1, "s@a.example", count=1), delivered(1, "s@a.example", 4.0)],
        f"{BOUNCED}; report to s@a.example: {SENT.replace('1.000', '2.000')}",
    ),
    "bounced and nobody hears of it": (
        [rcpt(), message(), failed()], LOST
    ),
    "bounced at the first try, by the line of the attempt alone": (
        [rcpt(), message(), (2.5, "smtpc.deliver", "no such user", {"ss_ta": TA, "rcpt_idx": 0, "rcpt": "r@b.example", **NO}),
         failed(tries=None)],
        LOST,
    ),
    "bounced before any try": (
        [rcpt(), message(), failed(tries=None)], "failed after 1.000 s without a try: 550 5.1.1 no such user; nobody is told",
    ),
    "expired": (
        [rcpt(), message(), deferred(), failed(event="expired", after=7202.0, tries=5)],
        "expired after 5 tries in 2h: 550 5.1.1 no such user; nobody is told",
    ),
    "two fates": (
        [rcpt(), rcpt(1, "q@b.example"), message(2), delivered(), failed(1, "q@b.example")],
        f"r@b.example: {SENT}; q@b.example: {LOST}",
    ),
    "one fate of five": (
        [*(rcpt(n, f"r{n}@b.example") for n in range(5)), message(5), *(delivered(n, f"r{n}@b.example") for n in range(5))],
        f"r0@b.example, r1@b.example, r2@b.example and 2 more: {SENT}",
    ),
    "seven fates": (
        [*(rcpt(n, f"r{n}@b.example") for n in range(7)), message(7),
         *(delivered(n, f"r{n}@b.example", relay=f"m{n}") for n in range(7))],
        "; ".join(f"r{n}@b.example: {SENT.replace('mx[127.0.0.9]', f'm{n}')}" for n in range(5)) + "; and 2 more",
    ),
    "the same mailbox twice": ([rcpt(), rcpt(1, "r@B.example"), message(1), delivered()], SENT),
    "alias": (
        [rcpt(), message(), of_rcpt("alias", "ok", after=2.5, count=2, members="m@b.example n@b.example"),
         delivered(1, "m@b.example"), failed(2, "n@b.example")],
        f"r@b.example -> m@b.example: {SENT}; r@b.example -> n@b.example: {LOST}",
    ),
    "alias whose members are not named": (
        [rcpt(), message(), of_rcpt("alias", "ok", count=2)], "expanded to 2 recipients"
    ),
    "alias that names itself": (
        [rcpt(), message(), of_rcpt("alias", "ok", count=1, members="r@b.example"), delivered(1)],
        f"r@b.example: expanded to 1 recipients; r@b.example: {SENT}",
    ),
    "held for its content": (
        [rcpt(), message(), of_rcpt("held", "held: damaged; mend it", cdb_id=TA)], "held: damaged; mend it"
    ),
    "held and released and delivered": (
        [rcpt(), message(), of_rcpt("hold", "by order of the operator"), of_rcpt("released", "by order of the operator"),
         delivered(after=5)],
        "delivered to mx[127.0.0.9] after 1 try in 3.000 s: 250 2.0.0 kept",
    ),
    "held": ([rcpt(), message(), of_rcpt("hold", "by order of the operator")], "held by order of the operator"),
    "removed": ([rcpt(), message(), of_rcpt("removed", "by order of the operator")], "removed by order of the operator"),
    "returned": (
        [rcpt(), message(), of_rcpt("bounced", "by order of the operator"), failed(after=5)],
        LOST.replace("1.000", "3.000"),
    ),
    "refused at RCPT": (
        [connect(), refused("rcpt_refused", "550 5.7.1 no", 550, "5.7.1", **FROM, rcpt="r@b.example", **RULE)],
        "refused at RCPT: 550 5.7.1 no (by access.db to:r@b.example)",
    ),
    "one refused, one delivered": (
        [rcpt(), refused("rcpt_refused", "550 5.1.1 unknown", 550, "5.1.1", **FROM, rcpt="q@b.example"), message(),
         delivered()],
        f"r@b.example: {SENT}; q@b.example: refused at RCPT: 550 5.1.1 unknown",
    ),
    "discarded": (
        [(1, "smtps.rcpt_discarded", "accepted and dropped", {**FROM, "rcpt": "r@b.example", **RULE}),
         (2, "smtps.message_discarded", "250 2.0.0 ok", {**WHO, **FROM, "size": 1, "rcpts": 1, "reply": 250, **RULE})],
        "discarded by access.db to:r@b.example",
    ),
    "refused after DATA": (
        [rcpt(), refused("message_refused", "552 5.3.4 too big", 552, "5.3.4", **FROM, size=9, rcpts=1)],
        "refused after DATA: 552 5.3.4 too big",
    ),
    "lost": (
        [rcpt(), (2, "smtps.message_lost", "the client closed the connection", {**WHO, **FROM, "rcpts": 1})],
        "lost: the client closed the connection",
    ),
    "refused at MAIL": (
        [connect(), refused("mail_refused", "552 5.3.4 too big", 552, "5.3.4", ss_ta=TA, mail="s@a.example", size=999)],
        "refused at MAIL: 552 5.3.4 too big",
    ),
}  # fmt: skip
MANY = [
    *(rcpt(n, f"r{n}@b.example") for n in range(9)), message(9),
    of_rcpt("alias", "ok", 8, "r8@b.example", count=1, members="m@b.example"),
    delivered(0, "r0@b.example"), deferred(1, "r1@b.example"), failed(2, "r2@b.example"),
    failed(3, "r3@b.example", ecode="5.7.1"),
    of_rcpt("bounce", "ok", 10, "s@a.example", count=1), delivered(9, "m@b.example"), delivered(10, "s@a.example", 4.0),
]  # fmt: skip
FOCUS = {
    "r0@b.example": f"{SENT}; 8 other recipients",
    "r2@b.example": f"{BOUNCED}; report to s@a.example: {SENT.replace('1.000', '2.000')}; 8 other recipients",
    "r7@b.example": "in the queue, not tried yet; 8 other recipients",
    "r8@b.example": f"r8@b.example -> m@b.example: {SENT}; 8 other recipients",
    "m@b.example": f"r8@b.example -> m@b.example: {SENT}; 8 other recipients",
}
SESSIONS = {
    "refused at connect": (
        [refused("connect_refused", "554 5.7.1 listed", 554, "5.7.1", map="dnsbl", key="1.2.0.192.l.example")],
        "refused at connect: 554 5.7.1 listed (by dnsbl 1.2.0.192.l.example)",
    ),
    "refused at EHLO, twice, then sent away": (
        [connect(), refused("command_refused", "501 5.5.4 name", 501, "5.5.4", command="EHLO _"),
         refused("command_refused", "501 5.5.4 name", 501, "5.5.4", command="EHLO _"),
         refused("too_many", "421 4.7.0 too many", 421, "4.7.0", limit=2)],
        "refused at EHLO _: 501 5.5.4 name (2 times); session ended: 421 4.7.0 too many",
    ),
    "silent": ([connect(), refused("timed_out", "421 4.4.2 timed out", 421, "4.4.2")], "timed out: 421 4.4.2 timed out"),
    "no agreement on TLS": ([connect(), (1, "smtps.tls_failed", "no shared cipher", WHO)], "TLS failed: no shared cipher"),
    "nothing": ([connect()], "no message and no refusal"),
}  # fmt: skip


def case_of(events, ta_id):
    lines = [parse_line(raw, START) for raw in written(events)]
    return judge(lines, ta_id)


@pytest.mark.parametrize("name", STORIES)
def test_the_story_of_a_message(name):
    events, expected = STORIES[name]
    assert verdict(case_of(events, TA)) == expected


BACK = {
    "rcpt and message": [delivered(), rcpt(), message()],
    "accept": [delivered(), rcpt(), (9, "qmgr.accept", "ok", {**FROM, "size": 1, "rcpts": 1})],
    "an attempt before": [rcpt(), message(), delivered(), deferred(after=90)],
    "the attempt itself": [
        delivered(),
        (5, "smtpc.deliver", "ok", {"ss_ta": TA, "rcpt_idx": 0, "rcpt": "r@b.example"}),
        rcpt(),
    ],
}


@pytest.mark.parametrize("name", BACK)
def test_a_clock_that_was_set_back_undoes_no_delivery(name):
    case = case_of([*BACK[name], message()], TA)
    (one,) = case.rcpts.values()
    assert (case.is_over, one.fate, one.is_named_by_client) == (True, "delivered", True)


@pytest.mark.parametrize("event", ["failed", "expired"])
def test_a_clock_that_was_set_back_undoes_no_failure_and_counts_it_once(event):
    case = case_of([failed(event=event), rcpt(), message(), deferred(after=60)], TA)
    assert case.is_over
    assert [one.fate for one in case.rcpts.values()] == ["failed"]
    assert len(case.unreported) == 1


def test_a_report_whose_clock_was_set_back_is_delivered():
    bounce = of_rcpt("bounce", "ok", 1, "s@a.example", after=9.0, count=1)
    case = case_of([rcpt(), message(), failed(), delivered(1, "s@a.example", 4.0), bounce], TA)
    assert case.is_over
    assert [one.fate for one in case.rcpts.values()] == ["failed", "delivered"]


def test_an_operator_may_begin_anew_what_had_ended():
    assert not case_of([rcpt(), message(), failed(), of_rcpt("requeued", "by the operator", after=9.0)], TA).is_over


@pytest.mark.parametrize("name", SESSIONS)
def test_the_story_of_a_session(name):
    events, expected = SESSIONS[name]
    assert verdict(case_of(events, "")) == expected


@pytest.mark.parametrize("address", FOCUS)
def test_who_is_asked_for_is_told_of_whatever_became_of_the_others(address):
    case = case_of(MANY, TA)
    assert verdict(case, focus(case, lambda index, rcpt: rcpt == address)) == FOCUS[address]


def test_a_report_of_success_belongs_to_those_that_it_tells_of():
    report = of_rcpt("report", "success", 2, "s@a.example", 3.3, told="0")
    events = [rcpt(), rcpt(1, "q@b.example"), message(2), delivered(), delivered(1, "q@b.example", 3.2), report,
              delivered(2, "s@a.example", 4.0)]  # fmt: skip
    case = case_of(events, TA)
    expected = f"{SENT}; report to s@a.example: {SENT.replace('1.000', '2.000')}; 1 other recipient"
    assert verdict(case, focus(case, lambda index, rcpt: rcpt == "r@b.example")) == expected
    assert (
        verdict(case, focus(case, lambda index, rcpt: rcpt == "q@b.example"))
        == f"{SENT.replace('1.0', '1.2')}; 1 other recipient"
    )


def test_a_report_that_another_recipient_joins_belongs_to_both():
    warnings = [of_rcpt("report", "delay", 2, "s@a.example", 3.3 + idx, told=str(idx)) for idx in (0, 1)]
    events = [rcpt(), rcpt(1, "q@b.example"), message(2), deferred(), *warnings]
    case = case_of(events, TA)
    assert [about.rcpt for about in case.rcpts["2"].about] == ["r@b.example", "q@b.example"]


def test_a_recipient_is_asked_for_by_its_index_and_nobody_means_all():
    case = case_of(MANY, TA)
    assert verdict(case, focus(case, lambda index, rcpt: index == "7")) == FOCUS["r7@b.example"]
    assert focus(case, lambda index, rcpt: rcpt == "s@a.example") == frozenset(case.rcpts)


def test_a_recipient_that_an_alias_names_too_is_its_own():
    alias = of_rcpt("alias", "ok", 1, "all@b.example", count=0, members="r@b.example")
    events = [rcpt(), rcpt(1, "all@b.example"), message(2), alias, delivered()]
    assert verdict(case_of(events, TA)) == f"r@b.example: {SENT}; all@b.example: expanded to 0 recipients"


def test_what_else_happened_in_a_session_does_not_count_for_its_message():
    events = [connect(), refused("command_refused", "501 name", 501, "5.5.4", command="EHLO _"), rcpt(), message(), delivered()]
    assert verdict(case_of(events, TA)) == SENT
    assert case_of(events, TA).client == "c.example [192.0.2.1]"


def test_the_sender_is_that_of_the_message_and_not_that_of_a_report_or_a_list():
    report = delivered(1, "s@a.example", 5.0, mail="")
    events = [rcpt(), message(), failed(), of_rcpt("bounce", "ok", 1, "s@a.example", count=1), report]
    assert case_of(events, TA).mail == "s@a.example"
    assert case_of(events[2:], TA).mail == "s@a.example"


#: Events that say nothing of what becomes of a message, or what another line says, too.
SAY_NOTHING = {
    "smtps.auth", "smtps.connect", "smtps.gone", "smtps.unverified", "smtps.tls", "smtpc.tls",
    "smtpc.tls_failed", "smtpc.tls_refused", "smtps.proxied", "smtps.xclient", "smtps.forwarded", "smtps.paused",
    "smtpc.auth", "smtpc.auth_failed", "smtpc.auth_demanded",
    "qmgr.refused", "qmgr.commit", "qmgr.deliver", "qmgr.feed", "qmgr.dest", "qmgr.control",
    "qmgr.mode", "smtpc.not_taken", "smtpc.not_told", "smtpc.session", "pmilter.decided",
}  # fmt: skip


def test_every_event_of_mail_has_its_meaning_here():
    kinds = (About.SESSION, About.REFUSAL, About.MESSAGE, About.DELIVERY, About.ORDER)
    events = {name for name, event in EVENTS.items() if event.kind in kinds}
    assert events - SAY_NOTHING == cases.KNOWN - {"qmgr.held"}
    assert events >= SAY_NOTHING
    assert EVENTS.keys() >= cases.KNOWN


def test_a_recipient_that_is_refused_first_and_accepted_then_gets_its_mail():
    no = refused("rcpt_refused", "451 4.7.1 later", 451, "4.7.1", **FROM, rcpt="<r@b.example>")
    expected = f"r@b.example: refused at RCPT: 451 4.7.1 later; r@b.example: {SENT}"
    assert verdict(case_of([no, rcpt(), message(), delivered()], TA)) == expected


@pytest.mark.parametrize(
    ("name", "over"), [("delivered", True), ("waits", False), ("accepted", False), ("bounced", True), ("held", False)]
)
def test_it_is_known_whether_more_will_happen(name, over):
    assert case_of(STORIES[name][0], TA).is_over is over


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0.000 s"), (0.4, "0.000 s"), (1234, "1.234 s"), (59_999, "59.999 s"), (60_000, "1m"), (7_265_000, "2h1m5s")],
)
def test_times_are_read_by_people(milliseconds, text):
    assert duration(milliseconds) == text
