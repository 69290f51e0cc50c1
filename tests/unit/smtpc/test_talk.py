"""The client's half without a socket: what a server may answer, and what then is known of each recipient."""

import random
from collections import Counter

import pytest

from meta1g.base.reply import Reply
from meta1g.rcb.smtpc_qmgr import Deliver, DeliverRcpt, Retry
from meta1g.smtp.esmtp import Ext
from meta1g.smtp.reply import ReplyParser
from meta1g.smtpc import talk as talk_module
from meta1g.smtpc.fsm import TRANSITIONS, State, Verb
from meta1g.smtpc.status import DeliveryStatus
from meta1g.smtpc.talk import Talk
from tests.unit.smtpc.test_parameters import job

MX = "mx.example[192.0.2.1]"
BROKEN = Reply(451, "4.4.2", "mx: connection is broken")
#: What a server of these tests says where a row does not tell.
GOOD = {
    Verb.BANNER: "220 hi", Verb.EHLO: "250-hi\r\n250 PIPELINING", Verb.LHLO: "250-hi\r\n250 PIPELINING", Verb.HELO: "250 hi",
    Verb.MAIL: "250 ok", Verb.RCPT: "250 ok", Verb.DATA: "354 go", Verb.DOT: "250 kept", Verb.LAST: "250 kept",
    Verb.EMPTY: "554 no", Verb.AUTH: "235 you are", Verb.XFORWARD: "250 ok",
    Verb.RSET: "250 ok", Verb.QUIT: "221 bye", Verb.STARTTLS: "220 go",
}  # fmt: skip
PLAIN = {Verb.EHLO: "250 hi"}
CHUNKS = dict.fromkeys((Verb.EHLO, Verb.LHLO), "250-hi\r\n250-PIPELINING\r\n250 CHUNKING")


def envelope(rcpts: int) -> Deliver:
    return job(rcpts=tuple(DeliverRcpt(rcpt_idx=idx, rcpt=f"r{idx}@x.example") for idx in range(rcpts)))


class Server:
    """Answers by a list for each verb: the last text stays; None breaks the connection."""

    def __init__(self, said, lmtp=False):
        self.said = {verb: list(texts) if isinstance(texts, list) else [texts] for verb, texts in {**GOOD, **said}.items()}
        self.talk = Talk("us.example", "mx", lmtp=lmtp, pipelining=True)
        self.lines: list[str] = []
        self.messages = 0
        self.talk.connected()
        self.run()

    def run(self) -> None:
        talk = self.talk
        while True:
            if (verb := talk.owed) is not None:
                texts = self.said[verb]
                text = texts.pop(0) if len(texts) > 1 else texts[0]
                if text is None:
                    talk.lost(BROKEN)
                else:
                    talk.reply(*ReplyParser(MX).feed(text.encode() + b"\r\n"))
            elif (group := talk.group()) is not None:
                self.lines += group.data.decode().splitlines()
                assert group.replies == group.data.count(b"\r\n")
            else:
                return

    def secure(self) -> None:
        self.talk.starttls()
        self.run()
        if self.talk.state is State.SECURING:
            self.talk.secured()
            self.run()

    def log_in(self, answers=9) -> None:
        self.talk.auth("AUTH LOGIN")
        self.run()
        while self.talk.state is State.CHALLENGED and answers:
            answers -= 1
            self.talk.respond("dXNlcg==")
            self.run()

    def deliver(self, rcpts=1) -> DeliveryStatus:
        status = DeliveryStatus()
        self.talk.begin(envelope(rcpts), status)
        self.run()
        if self.talk.state is State.CONTENT:
            self.messages += 1
            self.talk.sent_dot()
            self.run()
        return status


def shown(status: DeliveryStatus, rcpts: int) -> str:
    """What QMGR will see: the code of the session, of the transaction, then one for each recipient, `-` for none."""
    codes = [status.session, status.transaction, *(status.rcpts.get(idx) for idx in range(rcpts))]
    return " ".join(str(reply.code) if reply else "-" for reply in codes)


R, D, M, DOT = Verb.RCPT, Verb.DATA, Verb.MAIL, Verb.DOT
NO, LATER, BYE = "550 5.1.1 no", "450 4.2.1 later", "421 4.3.2 closing"
#: replies, recipients, outcomes
ROWS = [
    # everything is well, or refused
    ({}, 2, "- - 250 250"),
    ({M: NO, R: "503 no", D: "503 no"}, 2, "- 550 - -"),
    ({M: NO, R: "250 ok", D: "354 go"}, 2, "- 550 - -"),
    ({M: LATER, R: "503 no", D: "503 no"}, 1, "- 450 -"),
    ({R: [NO, "250 ok", LATER]}, 3, "- - 550 250 450"),
    ({R: NO, D: "554 nobody"}, 2, "- - 550 550"),
    ({R: NO, D: "354 go", Verb.EMPTY: "250 kept"}, 2, "- - 550 550"),
    ({D: "554 no"}, 2, "- - 554 554"),
    ({D: "452 full"}, 2, "- - 452 452"),
    ({R: [NO, "250 ok"], D: "451 not now"}, 3, "- - 550 451 451"),
    ({DOT: "554 spam"}, 2, "- - 554 554"),
    ({DOT: "452 full"}, 2, "- - 452 452"),
    # what was read holds when the connection breaks
    ({M: None}, 2, "451 - - -"),
    ({M: NO, R: None}, 2, "- 550 - -"),
    ({M: NO, R: ["503 no", None]}, 2, "- 550 - -"),
    ({M: NO, R: "503 no", D: None}, 2, "- 550 - -"),
    ({M: NO, D: "354 go", Verb.EMPTY: None}, 2, "- 550 - -"),
    ({R: None}, 2, "451 - - -"),
    ({R: [NO, None]}, 2, "451 - 550 -"),
    ({R: ["250 ok", NO, None]}, 3, "451 - - 550 -"),
    ({R: [LATER, None]}, 2, "451 - 450 -"),
    ({R: [NO, LATER, "250 ok"], D: None}, 3, "451 - 550 450 -"),
    ({R: NO, D: None}, 2, "- - 550 550"),
    ({R: NO, D: "354 go", Verb.EMPTY: None}, 2, "- - 550 550"),
    ({D: None}, 2, "451 - - -"),
    ({DOT: None}, 2, "- - 451 451"),
    ({R: [NO, "250 ok"], DOT: None}, 2, "- - 550 451"),
    # 421 answers a command, and the server closes
    ({M: BYE}, 2, "421 - - -"),
    ({R: BYE}, 2, "421 - - -"),
    ({R: [NO, "250 ok", BYE]}, 4, "421 - 550 - - -"),
    ({D: BYE}, 2, "421 - - -"),
    ({R: [NO, "250 ok"], D: BYE}, 2, "421 - 550 -"),
    ({DOT: BYE}, 2, "- - 421 421"),
    # codes that are not in the book
    ({M: "251 ok", R: "252 perhaps", DOT: "251 kept"}, 1, "- - 251"),
    ({M: "299 ok", R: "220 ok", D: "399 go", DOT: "299 kept"}, 1, "- - 299"),
    ({M: "354 go"}, 1, "451 - -"),
    ({R: [NO, "354 go"]}, 2, "451 - 550 -"),
    ({D: "250 ok"}, 2, "- - 451 451"),
    ({D: "250 ok", R: [NO, "250 ok"]}, 2, "- - 550 451"),
    ({DOT: ["354 go", "250 kept"]}, 2, "- - 250 250"),
    ({DOT: ["354 go", "354 go", NO]}, 2, "- - 550 550"),
    ({DOT: ["354 go", None]}, 2, "- - 451 451"),
    ({M: "599 no"}, 1, "- 599 -"),
    ({R: "499 no"}, 1, "- - 499"),
    ({R: "550 4.2.2 full"}, 1, "- - 550"),
    ({R: "450 5.2.2 full"}, 1, "- - 450"),
]  # fmt: skip


@pytest.mark.parametrize("extensions", [{}, PLAIN], ids=["pipelining", "plain"])
@pytest.mark.parametrize(("said", "rcpts", "expected"), ROWS)
def test_what_is_known_of_each_recipient(said, rcpts, expected, extensions):
    server = Server({**extensions, **said})
    status = server.deliver(rcpts)
    assert shown(status, rcpts) == expected
    if server.talk.state is not State.CLOSED:
        assert server.talk.state in (State.READY, State.DIRTY)
        assert server.talk.owed is None


LMTP = [
    ({DOT: ["250 a", NO, "250 c"]}, 3, "- - 250 550 250"),
    ({R: ["250 ok", NO, "250 ok"], DOT: ["250 a", "452 full"]}, 3, "- - 250 550 452"),
    ({DOT: ["250 a", None]}, 3, "- - 250 451 451"),
    ({DOT: [NO, "250 b", None]}, 3, "- - 550 250 451"),
    ({DOT: ["250 a", BYE]}, 3, "- - 250 421 421"),
    ({DOT: ["250 a", "354 go", NO]}, 2, "- - 250 550"),
    ({R: NO, D: "354 go"}, 2, "- - 550 550"),
    ({D: NO}, 2, "- - 550 550"),
]


@pytest.mark.parametrize(("said", "rcpts", "expected"), LMTP)
def test_lmtp_answers_the_dot_for_each_recipient(said, rcpts, expected):
    server = Server(said, lmtp=True)
    assert server.lines[0] == "LHLO us.example"
    assert shown(server.deliver(rcpts), rcpts) == expected


HELLO = [
    ({Verb.BANNER: "554 5.3.2 no"}, State.LEAVING, 554, []),
    ({Verb.BANNER: "450 later"}, State.LEAVING, 450, []),
    ({Verb.BANNER: BYE}, State.CLOSED, 421, []),
    ({Verb.BANNER: "354 go"}, State.CLOSED, 451, []),
    ({Verb.BANNER: "250 hi"}, State.READY, None, ["EHLO"]),
    ({Verb.EHLO: "502 what?"}, State.READY, None, ["EHLO", "HELO"]),
    ({Verb.EHLO: "550 no", Verb.HELO: "554 no"}, State.LEAVING, 554, ["EHLO", "HELO"]),
    ({Verb.EHLO: "450 later"}, State.LEAVING, 450, ["EHLO"]),
    ({Verb.EHLO: "550 no", Verb.HELO: None}, State.CLOSED, 550, ["EHLO", "HELO"]),
    ({Verb.EHLO: "502 what?", Verb.HELO: None}, State.CLOSED, 451, ["EHLO", "HELO"]),
    ({Verb.EHLO: "550 no", Verb.HELO: BYE}, State.CLOSED, 421, ["EHLO", "HELO"]),
    ({Verb.EHLO: None}, State.CLOSED, 451, ["EHLO"]),
]


@pytest.mark.parametrize(("said", "state", "code", "verbs"), HELLO)
def test_how_a_session_begins(said, state, code, verbs):
    talk = (server := Server(said)).talk
    assert (talk.state, talk.failure and talk.failure.code) == (state, code)
    assert [line[:4] for line in server.lines] == verbs


def test_a_server_that_greets_with_a_refusal_hears_quit():
    server = Server({Verb.BANNER: "554 no"})
    server.talk.quit()
    server.run()
    assert (server.lines, server.talk.state) == (["QUIT"], State.CLOSED)


@pytest.mark.parametrize("said", [{}, PLAIN])
@pytest.mark.parametrize(
    ("text", "retry"),
    [
        ("452 too many", Retry.OTHER_TRANSACTION),
        ("452 4.5.3 too many", Retry.OTHER_TRANSACTION),
        ("552 too many", Retry.OTHER_TRANSACTION),
        ("552 5.5.3 too many", Retry.OTHER_TRANSACTION),
        ("552 5.2.2 mailbox is full", Retry.LATER),
        ("452 4.2.2 mailbox is full", Retry.LATER),
        ("550 5.5.3 too many", None),
        ("450 4.2.1 later", None),
    ],
)
def test_a_server_that_takes_no_more_recipients_gets_the_others_in_another_transaction(said, text, retry):
    server = Server({**said, R: ["250 ok"] * 3 + [text]})
    status = server.deliver(5)
    assert [status.retry.get(idx) for idx in range(5)] == [None] * 3 + [retry] * 2
    assert [status.rcpts[idx].code for idx in range(5)] == [250] * 3 + [int(text[:3])] * 2


def test_nobody_is_asked_for_once_the_server_takes_no_more():
    server = Server({**PLAIN, R: ["250 ok"] * 3 + ["452 too many"]})
    server.deliver(50)
    assert sum(line.startswith("RCPT") for line in server.lines) == 4


def test_a_limit_that_nobody_stays_below_is_a_refusal_for_now():
    server = Server({R: "552 too many"})
    assert server.deliver(2).retry == {0: Retry.LATER, 1: Retry.LATER}


def test_the_limit_code_is_temporary_at_rcpt_only():
    for verb in (M, D, DOT):
        assert Server({verb: "552 too big", R: "250 ok"}).deliver(2).retry == {}


@pytest.mark.parametrize("rcpts", [98, 99, 100, 101, 199, 200, 250])
def test_large_envelopes_leave_in_groups_and_data_comes_last(rcpts):
    server = Server({})
    assert {reply.code for reply in server.deliver(rcpts).rcpts.values()} == {250}
    assert [line[:4] for line in server.lines[1:]] == ["MAIL", *["RCPT"] * rcpts, "DATA"]


def test_a_refused_sender_ends_an_envelope_of_several_groups():
    server = Server({M: NO, R: "503 no"})
    assert shown(server.deliver(250), 1) == "- 550 -"
    assert "DATA" not in server.lines
    assert server.talk.state is State.DIRTY


# -- sessions that are used again


@pytest.mark.parametrize(
    ("said", "stale"),
    [
        ({M: ["250 ok", None]}, True),
        ({M: ["250 ok", BYE]}, True),
        ({M: ["250 ok", "452 4.5.3 too many messages"]}, True),
        ({M: ["250 ok", "503 5.5.1 sender is known already"]}, True),
        ({M: ["250 ok", NO]}, False),
        ({R: ["250 ok", None]}, False),
        ({R: ["250 ok", LATER]}, False),
        ({}, False),
    ],
)
def test_a_session_that_has_served_and_takes_nothing_more_is_stale(said, stale):
    server = Server(said)
    server.deliver()
    assert not server.talk.stale
    server.deliver()
    assert server.talk.stale is stale


@pytest.mark.parametrize("said", [{M: LATER, R: "503 no", D: "503 no"}, {M: None}, {M: BYE}])
def test_the_first_transaction_of_a_session_is_never_stale(said):
    server = Server(said)
    server.deliver()
    assert not server.talk.stale


def test_a_sender_that_is_refused_for_now_in_a_session_that_served_nobody_is_just_refused():
    server = Server({M: LATER, R: "503 no", D: "503 no"})
    server.deliver()
    server.talk.reset()
    server.run()
    assert shown(server.deliver(), 1) == "- 450 -"
    assert not server.talk.stale


def test_a_refused_reset_ends_the_session():
    server = Server({M: NO, R: "503 no", D: "503 no", Verb.RSET: "502 what?"})
    server.deliver()
    server.talk.reset()
    server.run()
    assert (server.talk.state, server.talk.failure.code) == (State.LEAVING, 502)


# -- TLS


@pytest.mark.parametrize("lmtp", [False, True])
def test_after_starttls_we_introduce_ourselves_anew_and_forget_what_was_offered(lmtp):
    hello = Verb.LHLO if lmtp else Verb.EHLO
    server = Server({hello: ["250-hi\r\n250-SIZE 5\r\n250 STARTTLS", "250 hi"]}, lmtp=lmtp)
    assert server.talk.extensions.has(Ext.STARTTLS)
    server.secure()
    assert server.lines == [f"{hello.value} us.example", "STARTTLS", f"{hello.value} us.example"]
    assert not server.talk.extensions.has(Ext.SIZE)
    assert shown(server.deliver(), 1) == "- - 250"


@pytest.mark.parametrize("reply", ["454 4.7.0 not now", "502 what?"])
def test_a_refused_starttls_leaves_the_session_as_it_was(reply):
    server = Server({Verb.STARTTLS: reply})
    server.secure()
    assert (server.talk.state, server.talk.failure) == (State.READY, None)
    assert server.talk.extensions.has(Ext.PIPELINING)


@pytest.mark.parametrize("reply", [BYE, "354 go", None])
def test_a_session_that_ends_at_starttls_has_failed(reply):
    server = Server({Verb.STARTTLS: reply})
    server.secure()
    assert server.talk.state is State.CLOSED
    assert server.talk.failure is not None


# -- words


def test_what_the_server_said_has_its_name_and_what_we_say_has_none():
    assert Server({R: "550 no such user"}).deliver().rcpts[0] == Reply(550, "", "no such user", MX)
    assert Server({D: "250 what?"}).deliver().rcpts[0] == Reply(451, "4.5.0", "mx: DATA: unexpected reply 250 what?")
    assert Server({DOT: None}).deliver().rcpts[0] == BROKEN


def test_what_is_said_while_content_goes_out_answers_those_who_were_accepted():
    for why, shown_as in ((Reply(552, "", "too big", MX), "- - 550 552"), (Reply(421, "", "bye", MX), "421 - 550 -"),
                          (BROKEN, "451 - 550 -")):  # fmt: skip
        server = Server({R: [NO, "250 ok"]})
        status = DeliveryStatus()
        server.talk.begin(envelope(2), status)
        server.run()
        server.talk.lost(why)
        assert shown(status, 2) == shown_as


# -- BDAT

BY_CHUNK = [
    ({}, 2, "- - 250 250", State.READY),
    ({R: [NO, "250 ok"]}, 2, "- - 550 250", State.READY),
    ({R: NO}, 2, "- - 550 550", State.DIRTY),
    ({M: NO, R: "503 no"}, 2, "- 550 - -", State.DIRTY),
    ({Verb.LAST: "554 spam"}, 2, "- - 554 554", State.DIRTY),
    ({Verb.LAST: "452 full"}, 2, "- - 452 452", State.DIRTY),
    ({Verb.LAST: BYE}, 2, "- - 421 421", State.CLOSED),
    ({R: [NO, "250 ok"], Verb.LAST: None}, 2, "- - 550 451", State.CLOSED),
    ({Verb.LAST: ["354 go", "250 kept"]}, 2, "- - 250 250", State.READY),
]


@pytest.mark.parametrize(("said", "rcpts", "expected", "state"), BY_CHUNK)
def test_what_is_known_of_each_recipient_behind_bdat(said, rcpts, expected, state):
    server = Server({**CHUNKS, **said})
    assert shown(server.deliver(rcpts), rcpts) == expected
    assert server.talk.state is state
    assert "DATA" not in server.lines
    if state is State.DIRTY:
        server.talk.reset()
        server.run()
        assert server.talk.state is State.READY


def test_lmtp_answers_bdat_for_each_recipient():
    server = Server({**CHUNKS, Verb.LAST: ["250 a", NO, "452 full"]}, lmtp=True)
    assert shown(server.deliver(3), 3) == "- - 250 550 452"


def test_content_goes_by_data_where_bdat_is_not_offered_or_not_wanted():
    assert "DATA" in " ".join((server := Server({})).lines + (server.deliver() and server.lines))
    server = Server(CHUNKS)
    server.talk.without_chunks()
    server.deliver()
    assert "DATA" in server.lines


# -- whatever comes


REPLIES = ["220 a", "250 a", "251 a", "354 a", "399 a", "421 a", "450 a", "452 a", "500 a", "550 a", "552 a", None]


@pytest.mark.parametrize("lmtp", [False, True])
def test_whatever_a_server_answers_everybody_has_one_outcome_and_all_of_the_table_is_used(lmtp, monkeypatch):
    taken = Counter()
    real = talk_module.next_state
    monkeypatch.setattr(talk_module, "next_state", lambda state, event: taken.update([(state, event)]) or real(state, event))
    for seed in range(1500):
        chance = random.Random(seed)
        said = {
            verb: [chance.choice(REPLIES) if chance.random() < 0.3 else GOOD[verb] for _ in range(9)] + [None] for verb in GOOD
        }
        server = Server({**said, **chance.choice([PLAIN, CHUNKS, {}, {}])}, lmtp=lmtp)
        if chance.random() < 0.3 and server.talk.state is State.READY:
            server.secure()
        if chance.random() < 0.3 and server.talk.state is State.READY:
            server.log_in()
        if chance.random() < 0.3 and server.talk.state is State.READY:
            server.talk.forward("XFORWARD ADDR=192.0.2.7")
            server.run()
        for _ in range(3):
            one_more(server, chance.randrange(1, 5))
        if server.talk.state in (State.READY, State.DIRTY, State.LEAVING):
            server.talk.quit()
            server.run()
    missing = set(TRANSITIONS) - set(taken)
    unused = {(State.HELLO, "UNKNOWN")} if lmtp else {(State.DOT, "ONE_RCPT")}
    assert {(state, event.name) for state, event in missing if event.name != "LOST"} <= unused


def one_more(server, rcpts):
    talk = server.talk
    if talk.state is State.DIRTY or (talk.state is State.READY and not rcpts % 4):
        talk.reset()
        server.run()
    if talk.state is not State.READY:
        return
    before = server.messages
    status = server.deliver(rcpts)
    assert talk.state in (State.READY, State.DIRTY, State.CLOSED)
    ended = status.session is not None or status.transaction is not None
    assert ended or len(status.rcpts) == rcpts
    assert not (status.session and status.transaction)
    delivered = [reply for reply in status.rcpts.values() if reply.is_ok]
    assert not delivered or server.messages == before + 1
    assert all(reply.code >= 200 and not reply.is_more for reply in status.rcpts.values())
