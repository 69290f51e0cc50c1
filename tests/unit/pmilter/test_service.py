"""A filter of the library and a server that asks it, over a real socket and with real threads."""

import threading

import pytest

from meta1g.base.cli import CliError
from meta1g.base.reply import Reply
from meta1g.pmilter import Function, HeaderChange, Pmilter, Pmm, Stage, Status
from meta1g.pmilter.service import QUEUE_MAX
from meta1g.rcb import smtps_pmilter as pm
from meta1g.rcb.smtps_pmilter import Capability, Code

DEADLINE_S = 20.0
ALL = int(~Capability(0))
ALL_FUNCTIONS = int(~Function(0))


def hello(capabilities=ALL, functions=ALL_FUNCTIONS, version=pm.PM_VERSION):
    return pm.PmHello(version=version, capabilities=capabilities, functions=functions, hostname="mx.example.org")


def connect_to(client, session_id="s1"):
    client.ask(hello())
    return client.ask(pm.PmConnect(session_id=session_id, client_addr="192.0.2.1", client_name="client.example"))


class Keeper(Pmilter):
    """Keeps what it is asked."""

    name = "keeper"
    functions = ~Function(0)

    def __init__(self):
        self.calls = []
        self.closed = threading.Event()
        self.replaced = []

    def negotiate(self, server):
        server.setmaclist(Stage.MAIL, Pmm.MAIL_TAID, Pmm.TLS_VERSION)
        return True

    def connect(self, session):
        self.calls.append(("connect", session.client_addr, session.client_name))
        return Status.CONT

    def helo(self, session, helo, ehlo):
        self.calls.append(("helo", helo, ehlo))
        return Status.CONT

    def mail(self, session, mail, args):
        self.calls.append(("mail", mail, args, session.getmac(Pmm.MAIL_TAID), session.getmac(Pmm.TLS_VERSION)))
        return Status.CONT

    def rcpt(self, session, rcpt, args):
        self.calls.append(("rcpt", rcpt, args))
        if rcpt == "<bob@example.net>":
            session.setreply("550-5.7.1 Bob wants\r\n550 5.7.1 no mail")
            return Status.PERM
        return Status.CONT

    def rcpt_refused(self, session, rcpt, reply):
        self.calls.append(("refused", rcpt, reply.code))

    def data(self, session):
        self.calls.append(("data", list(session.transaction.rcpts)))
        return Status.CONT

    def msg(self, session, buf):
        self.calls.append(("msg", buf))
        return Status.SKIP if b"enough" in buf else Status.CONT

    def eom(self, session):
        self.calls.append(("eom",))
        session.hdr_mod(HeaderChange.PREPEND, "X-Seen: yes\n\tindeed")
        session.hdr_mod(HeaderChange.REMOVE, "Bcc", 2)
        session.rcpt_add("new@example.org")
        session.rcpt_del("<old@example.org>")
        session.mail_set("<>")
        session.quarantine("looks odd")
        session.msg_replace([b"Subject: new\r\n\r\n", b"x" * (pm.PMILTER_CHUNK_SIZE + 1)])
        return Status.OK

    def msg_rplc_stat(self, session, reply):
        self.replaced.append(reply.code)

    def abort(self, session):
        self.calls.append(("abort", session.transaction.mail))

    def close(self, session):
        self.calls.append(("close", session.id))
        self.closed.set()

    def unknown(self, session, cmd):
        self.calls.append(("unknown", cmd))
        return Status.CONT


def check_changes(client, session):
    """Ends the message, and looks at the changes and at the message in its place."""
    verdict = client.ask(pm.PmDot(**session))
    assert (verdict.code, verdict.replace, verdict.mail, verdict.quarantine) == (Code.CONT, True, "<>", "looks odd")
    assert [(one.change, one.position, one.field) for one in verdict.header] == [
        (HeaderChange.PREPEND, 0, b"X-Seen: yes\r\n\tindeed"),
        (HeaderChange.REMOVE, 2, b"Bcc"),
    ]
    assert (verdict.rcpts_added, verdict.rcpts_removed) == (("<new@example.org>",), ("<old@example.org>",))
    pieces = []
    while not (piece := client.ask(pm.PmPull(**session, pulled=sum(map(len, pieces))))).end:
        pieces.append(piece.data)
    assert b"".join(pieces) == b"Subject: new\r\n\r\n" + b"x" * (pm.PMILTER_CHUNK_SIZE + 1)
    assert max(map(len, pieces)) <= pm.PMILTER_CHUNK_SIZE


CALLED = [
    ("connect", "192.0.2.1", "c.example"),
    ("helo", "c.example", True),
    ("mail", "<a@example.org>", ("SIZE=1",), "S1", None),
    ("rcpt", "<ann@example.net>", ("NOTIFY=NEVER",)),
    ("rcpt", "<bob@example.net>", ()),
    ("refused", "<cy@example.net>", 550),
    ("data", ["<ann@example.net>"]),
    ("msg", b"Subject: x\r\n\r\n"),
    ("msg", b"enough"),
    ("unknown", "XYZZY"),
    ("eom",),
    ("mail", "<b@example.org>", (), "S1", None),
    ("abort", "<b@example.org>"),
    ("close", "s1"),
]


def test_every_callback_is_asked_and_every_change_arrives(serve):
    keeper = Keeper()
    client = serve(keeper)()
    wanted = client.ask(hello())
    assert (wanted.name, wanted.capabilities, wanted.functions) == ("keeper", ALL, int(keeper.functions))
    assert [(one.stage, one.macro) for one in wanted.macros] == [(Stage.MAIL, Pmm.MAIL_TAID), (Stage.MAIL, Pmm.TLS_VERSION)]

    session = {"session_id": "s1"}
    assert client.ask(pm.PmConnect(**session, client_addr="192.0.2.1", client_name="c.example")).code == Code.CONT
    assert client.ask(pm.PmHelo(**session, helo="c.example", ehlo=True)).code == Code.CONT
    macros = (pm.MacroValue(macro=Pmm.MAIL_TAID, value="S1"),)
    client.ask(pm.PmMail(**session, ta_id="S1", mail="<a@example.org>", args=("SIZE=1",), macros=macros))
    assert client.ask(pm.PmRcpt(**session, rcpt_idx=0, rcpt="<ann@example.net>", args=("NOTIFY=NEVER",))).code == Code.CONT
    refusal = client.ask(pm.PmRcpt(**session, rcpt_idx=1, rcpt="<bob@example.net>"))
    assert (refusal.code, refusal.reply) == (550, Reply(550, "5.7.1", ("Bob wants", "no mail")))
    client.ask(pm.PmRcpt(**session, rcpt_idx=2, rcpt="<cy@example.net>", status=Reply(550, "5.1.1", "who?")))
    client.ask(pm.PmData(**session))
    client.ask(pm.MessageChunk(**session, data=b"Subject: x\r\n\r\n"))
    assert client.ask(pm.MessageChunk(**session, data=b"enough")).code == Code.SKIP
    assert client.ask(pm.PmUnknown(**session, command="XYZZY")).code == Code.CONT

    check_changes(client, session)
    client.post(pm.PmPullStatus(**session, reply=Reply(250, "2.0.0", "ok")))

    client.ask(pm.PmMail(**session, ta_id="S2", mail="<b@example.org>"))
    client.post(pm.PmAbort(**session))
    client.post(pm.PmAbort(**session))  # nothing is open: the callback is not called
    client.post(pm.PmClose(**session))
    assert keeper.closed.wait(DEADLINE_S)
    assert keeper.replaced == [250]
    assert keeper.calls == CALLED


def test_a_filter_is_asked_only_what_it_overrides():
    class One(Pmilter):
        def rcpt(self, session, rcpt, args):
            return Status.CONT

    class Changes(Pmilter):
        functions = Function.HDR_MOD

    assert Pmilter().wants() == Capability.CNNCT
    assert One().wants() == Capability.CNNCT | Capability.MAIL | Capability.RCPT
    assert Changes().wants() == Capability.CNNCT | Capability.MAIL | Capability.DOT


def raising(*_args):
    raise RuntimeError("boom")


def no_status(*_args):
    return None


def wrong_reply(session, *_args):
    session.setreply("450 4.7.1 later")
    return Status.PERM


def not_here(*_args):
    return Status.SKIP


@pytest.mark.parametrize("does", [raising, no_status, wrong_reply, not_here])
def test_a_callback_that_fails_costs_its_answer_only(serve, does):
    class Failing(Pmilter):
        def helo(self, session, helo, ehlo):
            return does(session)

    connect = serve(Failing())
    client = connect()
    assert connect_to(client).code == Code.CONT
    for _ in range(2):
        verdict = client.ask(pm.PmHelo(session_id="s1", helo="x"))
        assert (verdict.code, verdict.reply.code) == (451, 451)
    assert client.ask(pm.PmConnect(session_id="s2")).code == Code.CONT
    assert sum("pmilter.callback" in line for line in connect.running.sink.lines) >= 2


def test_an_answer_that_fits_no_message_is_a_failure(serve):
    class Huge(Pmilter):
        functions = Function.MAIL_SET

        def eom(self, session):
            session.changes.mail = "<\ud800>"
            return Status.CONT

    client = serve(Huge())()
    connect_to(client)
    assert client.ask(pm.PmDot(session_id="s1")).code == 451
    assert client.ask(pm.PmDot(session_id="s1")).code == 451


def test_sessions_do_not_wait_for_each_other_and_keep_their_order(serve):
    release, entered = threading.Event(), threading.Event()

    class Slow(Pmilter):
        def helo(self, session, helo, ehlo):
            if session.id == "s1":
                entered.set()
                assert release.wait(DEADLINE_S)
            return Status.CONT

        def mail(self, session, mail, args):
            return Status.CONT

    connect = serve(Slow(), soft_threads=2, hard_threads=6)
    client = connect()
    connect_to(client)
    order = []
    for msg in (pm.PmHelo(session_id="s1", helo="x"), pm.PmMail(session_id="s1", ta_id="t", mail="<>")):
        client._rcb.request(msg, type(msg).__name__)
    client._flush()
    assert entered.wait(DEADLINE_S)
    other = connect()
    connect_to(other, "s2")
    assert other.ask(pm.PmHelo(session_id="s2", helo="y")).code == Code.CONT
    release.set()
    while len(order) < 2:
        order += [event.waiter for event in client._rcb.take(client._sock.recv)]
    assert order == ["PmHelo", "PmMail"]


class Stuck(Pmilter):
    """Is stuck at HELO for clients of one address until it is let go."""

    thrmax_h = 6

    def __init__(self):
        self.release, self.entered, self.asked = threading.Event(), threading.Semaphore(0), []

    def helo(self, session, helo, ehlo):
        self.asked.append(session.id)
        if session.client_addr == "192.0.2.1":
            self.entered.release()
            assert self.release.wait(DEADLINE_S)
        return Status.CONT


def stuck_sessions(client, count):
    """Begins sessions of one client that all wait for their HELO; gives the words that their answers will have."""
    client.ask(hello())
    for number in range(count):
        client.ask(pm.PmConnect(session_id=f"a{number}", client_addr="192.0.2.1"))
    for number in range(count):
        client._rcb.request(pm.PmHelo(session_id=f"a{number}", helo="x"), f"a{number}")
    client._flush()
    return {f"a{number}" for number in range(count)}


def test_a_client_whose_callbacks_hang_leaves_threads_for_the_others(serve):
    """Invariant I11."""
    stuck = Stuck()
    connect = serve(stuck, soft_threads=2, hard_threads=stuck.thrmax_h + 1)
    greedy = connect()
    waiting = stuck_sessions(greedy, 40)
    for _ in range(4):  # two thirds of the threads
        assert stuck.entered.acquire(timeout=DEADLINE_S)
    try:
        other = connect()
        other.ask(hello())
        for number, address in enumerate(("198.51.100.1", "2001:db8::1", "")):
            other.ask(pm.PmConnect(session_id=f"b{number}", client_addr=address))
            assert other.ask(pm.PmHelo(session_id=f"b{number}", helo="y")).code == Code.CONT
        assert not stuck.entered.acquire(blocking=False)
    finally:
        stuck.release.set()
    while waiting:
        waiting -= {event.waiter for event in greedy._rcb.take(greedy._sock.recv)}


def test_a_session_that_is_given_up_costs_no_callback_when_its_turn_comes(serve):
    stuck = Stuck()
    connect = serve(stuck, soft_threads=2, hard_threads=stuck.thrmax_h + 1)
    client = connect()
    waiting = stuck_sessions(client, 20)
    for _ in range(4):
        assert stuck.entered.acquire(timeout=DEADLINE_S)
    for name in waiting:
        client.post(pm.PmClose(session_id=name))
    client.ask(pm.PmConnect(session_id="last", client_addr="198.51.100.1"))  # all of it has been read
    asked = list(stuck.asked)
    stuck.release.set()
    while waiting:
        waiting -= {event.waiter for event in client._rcb.take(client._sock.recv)}
    assert stuck.asked == asked


def test_the_sessions_of_a_server_that_goes_away_are_closed(serve):
    keeper = Keeper()
    client = serve(keeper)()
    connect_to(client)
    client.ask(pm.PmMail(session_id="s1", ta_id="t", mail="<a@example.org>"))
    client.close()
    assert keeper.closed.wait(DEADLINE_S)
    assert keeper.calls[-2:] == [("abort", "<a@example.org>"), ("close", "s1")]


@pytest.mark.parametrize(
    ("first", "msg"),
    [
        (None, pm.PmConnect(session_id="s")),
        (None, hello(version=0x0200)),
        (None, hello(capabilities=int(Capability.CNNCT))),
        (None, hello(functions=0)),
        (hello(), hello()),
        (hello(), pm.PmHelo(session_id="nobody", helo="x")),
    ],
)
def test_a_server_that_does_not_fit_is_sent_away_and_others_are_served(serve, first, msg):
    connect = serve(Keeper())
    client = connect()
    if first is not None:
        client.ask(first)
    with pytest.raises(CliError, match="closed the connection"):
        client.ask(msg)
    assert connect_to(connect()).code == Code.CONT
    lacks = any("pmilter.refused" in line and "does not offer" in line for line in connect.running.sink.lines)
    assert lacks == (first is None and getattr(msg, "version", 0) == pm.PM_VERSION)


def test_a_server_that_does_not_wait_for_answers_is_sent_away(serve):
    hold = threading.Event()

    class Slow(Pmilter):
        def helo(self, session, helo, ehlo):
            assert hold.wait(DEADLINE_S)
            return Status.CONT

    connect = serve(Slow())
    client = connect()
    connect_to(client)
    for _ in range(QUEUE_MAX + 2):
        client._rcb.request(pm.PmHelo(session_id="s1", helo="x"), "helo")
    client._flush()
    try:
        while client._sock.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass
    finally:
        hold.set()
    assert connect_to(connect()).code == Code.CONT


def test_more_servers_than_descriptors_are_sent_away(serve):
    class Small(Pmilter):
        fdmax = 1

    connect = serve(Small())
    client = connect()
    client.ask(hello())
    with pytest.raises(CliError, match="closed the connection"):
        connect().ask(hello())
    assert client.ask(pm.PmConnect(session_id="s")).code == Code.CONT


def test_a_filter_may_refuse_to_work_with_a_server(serve):
    class Proud(Pmilter):
        def negotiate(self, server):
            return server.hostname != "mx.example.org"

    with pytest.raises(CliError, match="closed the connection"):
        serve(Proud())().ask(hello())


def test_pieces_that_fail_give_up_the_message(serve):
    def pieces():
        yield b"a"
        raise RuntimeError("no more")

    class Breaks(Pmilter):
        functions = Function.MSG_RPLC

        def eom(self, session):
            session.msg_replace(pieces())
            return Status.CONT

    client = serve(Breaks())()
    connect_to(client)
    client.ask(pm.PmMail(session_id="s1", ta_id="t", mail="<>"))
    assert client.ask(pm.PmDot(session_id="s1")).replace
    assert client.ask(pm.PmPull(session_id="s1", pulled=0)).data == b"a"
    broken = client.ask(pm.PmPull(session_id="s1", pulled=1))
    assert (broken.code, broken.end) == (451, True)
