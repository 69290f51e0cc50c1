"""Fault x place x effect: each row is run for real on one gateway, and after each the untouched mail flows within 5 s.

No row restarts anything by hand.  What a row costs stands in its function; what it must not cost is checked for all of them:
processes that the row does not name keep their ids, and untouched mail is taken and delivered (Must show C).
Ref: invariant I12; docs/failures.md.
"""

import base64
import contextlib
import errno
import os
import random
import select
import signal
import smtplib
import socket
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from meta1g.base import paths
from meta1g.sasl.stored import make_stored
from meta1g.tools import selfsigned
from tests.fakes.faulty_gateway import FILTERED, FLOWS_S, Faulty, RefusedError, patience
from tests.fakes.mapserver import MapServer
from tests.fakes.milter import FakeMilter
from tests.fakes.nameserver import NameServer
from tests.system.conftest import KeepingSink

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("containment")]

JUNK = random.Random(1).randbytes(100_000)
Act = Callable[[Faulty, "Row"], None]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        place: the component.
        what: the fault, in words.
        act: brings it about and checks what it costs.
        target: function that fails, if one does.
        error: with what.
        number: errno.
        marked: it fails for the message of this row only, otherwise for the next one that comes.
        size: bytes of content; more than 128 KiB are written and read piece by piece.
        ends: components that end by it and come back by themselves.
    """

    place: str
    what: str
    act: Act
    target: str = ""
    error: str = "ValueError"
    number: int | None = None
    marked: bool = False
    size: int = 0
    ends: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return f"{self.place}: {self.what}".replace(" ", "-")

    @property
    def text(self) -> str:
        return f"{self.rcpt}\r\n" + (f"{'x' * 70}\r\n" * (self.size // 72))

    @property
    def rcpt(self) -> str:
        """A recipient that only this row uses."""
        return f"r{zlib.crc32(self.id.encode())}@row.example"

    def arm(self, it: Faulty, *, once: bool = True) -> Path:
        marker = self.rcpt if self.marked else ""
        return it.arm(self.place, self.target, self.error, number=self.number, marker=marker, once=once)


# -- what is done, and what it costs -----------------------------------------------------------------------------------


def refused(it: Faulty, row: Row) -> None:
    """The message at hand is not taken, and taken when it comes again."""
    fired = row.arm(it)
    with pytest.raises(RefusedError, match=r"\b4\d\d\b|closed|reset|not connected"):
        it.send(row.rcpt, mail=f"{row.rcpt}.from", text=row.text)
    assert fired.exists()
    it.send(row.rcpt, mail=f"{row.rcpt}.from", text=row.text)
    it.wait_for(row.rcpt)


def late(it: Faulty, row: Row) -> None:
    """The message at hand is taken, and delivered late."""
    fired = row.arm(it)
    it.send(row.rcpt, text=row.text)
    it.wait(fired.exists, "the fault")
    it.wait_for(row.rcpt, 4 * FLOWS_S)


def late_deferred(it: Faulty, row: Row) -> None:
    """A message that has to be deferred is stored late; its server comes up, and it is delivered."""
    fired = row.arm(it)
    rcpt = row.rcpt.replace("row.example", "down.example")
    it.send(rcpt)
    it.wait(fired.exists, "the fault")
    it.flows()
    comes_up(it, rcpt)


def comes_up(it: Faulty, rcpt: str) -> KeepingSink:
    """Lets the server of down.example come up, waits for mail, lets it go down again."""
    with (
        tempfile.TemporaryDirectory(dir=it.directory) as name,
        KeepingSink(Path(name), listen=f"127.0.0.1:{it.down_port}") as sink,
    ):
        it.gateway.control("retry", "all")
        it.wait(lambda: any(rcpt in one["rcpts"] for one in sink.envelopes()), f"mail for {rcpt}", 4 * FLOWS_S)
    return sink


def meets_fault(it: Faulty, row: Row) -> None:
    """Something that every message, or time alone, brings about; what it costs is not seen from outside."""
    fired = row.arm(it)
    it.flows()
    it.wait(fired.exists, "the fault", 3 * FLOWS_S)


def ends(it: Faulty, row: Row) -> None:
    """The process ends with the code that is restarted; the message at hand is refused, or delivered after recovery."""
    old = it.pid(row.place)
    fired = row.arm(it)
    try:
        it.send(row.rcpt, mail=f"{row.rcpt}.from")
    except RefusedError:
        taken = False
    else:
        taken = True
    it.wait(fired.exists, "the fault")
    assert row.error == "BugError" or row.target.startswith("meta1g.pt."), "only these end a process"
    it.wait(lambda: f"component={row.place}, pid={old}, exit=70" in it.log(), "exit code 70")
    it.wait_restarted(row.place, old)
    if taken:
        it.wait_for(row.rcpt, 4 * FLOWS_S)


def killed(it: Faulty, row: Row) -> None:
    """The process is killed with a message in it; what was taken is delivered."""
    old = it.pid(row.place)
    it.send(row.rcpt)
    os.kill(old, signal.SIGKILL)
    it.wait_restarted(row.place, old)
    it.wait_for(row.rcpt, 4 * FLOWS_S)


def killed_short_of_threads(it: Faulty, row: Row) -> None:
    """The new process gets no thread at first; what is refused for it is taken next time."""
    old = it.pid(row.place)
    fired = it.arm(row.place, row.target, row.error, number=row.number, marker="")
    os.kill(old, signal.SIGKILL)
    it.wait_restarted(row.place, old)
    it.flows()
    it.wait(fired.exists, "the fault")


def frozen(it: Faulty, row: Row) -> None:
    """The process stands still while a client waits; the message is taken or refused, and lost by nobody."""
    outcome: list[str] = []

    def client() -> None:
        try:
            it.send(row.rcpt, timeout_s=60)
        except RefusedError as error:
            outcome.append(str(error))

    with it.frozen(row.place):
        thread = threading.Thread(target=client)
        thread.start()
        select.select([], [], [], 0.7)
    it.flows()
    thread.join(60)
    if not outcome:
        it.wait_for(row.rcpt)


def no_log(it: Faulty, row: Row) -> None:
    """The log cannot be opened at SIGUSR1; the process goes on, and obeys its next signal."""
    with it.closed_logs():
        it.signal(row.place, signal.SIGUSR1)
        it.flows()
    it.signal(row.place, signal.SIGUSR1)
    it.flows()


def signals_fail(it: Faulty, row: Row) -> None:
    """The task that reads all signals fails: the process ends rather than going on deaf."""
    old = it.pid(row.place)
    fired = row.arm(it)
    it.signal(row.place, signal.SIGUSR1)
    it.wait(fired.exists, "the fault")
    it.wait_restarted(row.place, old)


def listener_fails(name: str) -> Act:
    def act(it: Faulty, row: Row) -> None:
        old = it.pid(row.place)
        fired = row.arm(it)
        with it.unix(name):
            it.wait(fired.exists, "the fault")
        it.wait_restarted(row.place, old)

    return act


def client_fails(name: str) -> Act:
    """A client of a local socket meets the fault: it is turned away, the next one is served."""

    def turned_away(it: Faulty, row: Row) -> bool:
        fired = row.arm(it)
        with it.unix(name) as sock, contextlib.suppress(TimeoutError):
            while sock.recv(65536):
                pass
            return fired.exists()
        return False

    def act(it: Faulty, row: Row) -> None:
        assert turned_away(it, row) or turned_away(it, row), "a component that connected just then met the first fault"

    return act


def command_fails(it: Faulty, row: Row) -> None:
    """qmgrctl hears of it at once, with an exit code."""
    fired = row.arm(it)
    result = it.gateway.run_tool("qmgrctl", "-f", str(it.gateway.conf), "status", check=False)
    assert fired.exists()
    assert result.returncode != 0
    assert it.gateway.run_tool("qmgrctl", "-f", str(it.gateway.conf), "usage", check=False).returncode == 0


def junk_from_a_client(it: Faulty, row: Row) -> None:
    with socket.create_connection(("127.0.0.1", it.gateway.port), 10) as sock:
        try:
            sock.sendall(JUNK)
            with contextlib.suppress(OSError):  # it may have reset the connection
                sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass
        except ConnectionError:
            return


def junk_on(*names: str) -> Act:
    def act(it: Faulty, row: Row) -> None:
        for name in names:
            it.garbage(name, JUNK)
            with it.unix(name) as sock:
                sock.sendall(b"\0\0\0\x0c\0\0\0\x04")  # half a frame
            it.unix(name).close()

    return act


def half_a_session(it: Faulty, row: Row) -> None:
    """Clients that vanish in each state."""
    for said in (b"", b"EHLO x\r\n", b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nSubject: x\r\n"):
        with socket.create_connection(("127.0.0.1", it.gateway.port), 10) as sock:
            sock.sendall(said)


def no_descriptors_for_clients(it: Faulty, row: Row) -> None:
    """More clients than descriptors: some wait or are sent away; when they are gone all is well."""
    with it.few_descriptors("smtps", 4):
        clients = [socket.create_connection(("127.0.0.1", it.gateway.port), 10) for _ in range(12)]
        select.select([], [], [], 0.3)
        for client in clients:
            client.close()
    it.flows()


def no_descriptors_for_sockets(*names: str) -> Act:
    def act(it: Faulty, row: Row) -> None:
        with it.few_descriptors(row.place, 0):
            clients = [it.unix(name) for name in names for _ in range(3)]
            select.select([], [], [], 0.3)
            if row.place != "smtps":
                it.flows()
            for client in clients:
                client.close()

    return act


def server_that(speaks: bytes) -> Act:
    """A server that says this and then nothing; its own mail waits."""

    def act(it: Faulty, row: Row) -> None:
        with socket.create_server(("127.0.0.1", it.down_port)) as server:
            it.send(row.rcpt.replace("row.example", "down.example"))
            it.gateway.control("retry", "all")
            server.settimeout(4 * FLOWS_S * patience())
            conn, _address = server.accept()
            with conn:
                conn.sendall(speaks)
                it.flows()
        it.empty_queue()

    return act


def damaged_content(it: Faulty, row: Row) -> None:
    """The content of a message that waits is changed on disk: it is never sent as complete."""
    rcpt = row.rcpt.replace("row.example", "down.example")
    it.send(rcpt, text=f"{rcpt}: precious content")
    it.wait(lambda: it.gateway.control("status")["defedb"], "deferred")
    (path,) = it.content_of(rcpt)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with (
        tempfile.TemporaryDirectory(dir=it.directory) as name,
        KeepingSink(Path(name), listen=f"127.0.0.1:{it.down_port}") as sink,
    ):
        it.gateway.control("retry", "all")
        it.flows()
        it.wait(lambda: "differ" in it.log() or "checksum" in it.log() or "hold" in it.log(), "the damage is named")
        assert sink.envelopes() == []
    it.empty_queue()


def lost_content(it: Faulty, row: Row) -> None:
    """The content of a message that waits is gone."""
    rcpt = row.rcpt.replace("row.example", "down.example")
    it.send(rcpt)
    it.wait(lambda: it.gateway.control("status")["defedb"], "deferred")
    (path,) = it.content_of(rcpt)
    path.unlink()
    it.gateway.control("retry", "all")
    it.flows()
    it.empty_queue()


def socket_removed(name: str) -> Act:
    """The name of a socket is gone; the connections that there are go on."""

    def act(it: Faulty, row: Row) -> None:
        path = it.gateway.queue / name
        away = path.with_name("away")
        path.rename(away)
        try:
            it.flows()
        finally:
            away.rename(path)

    return act


def wrong_configuration(it: Faulty, row: Row) -> None:
    """SIGHUP with a file that cannot be read as configuration: the old state serves on."""
    good = it.gateway.conf.read_text()
    it.gateway.conf.write_text(good + "\nqmgr { nonsense = 1; }\n")
    try:
        it.signal("mcp", signal.SIGHUP)
        it.wait(lambda: "nonsense" in it.log(), "the mistake is named")
        it.flows()
    finally:
        it.gateway.conf.write_text(good)


def filter_that(name: str, fault: str) -> Act:
    """The filter of one client breaks, or is not there: that client is put off; it is served when the filter is back."""

    def act(it: Faulty, row: Row) -> None:
        (client,) = (addr for addr, other in FILTERED.items() if other == name)
        with FakeMilter(it.directory, name).script(faults={"RCPT": fault}) as milter:
            for _ in range(2):
                with pytest.raises(RefusedError, match="451"):
                    it.send(row.rcpt, client=client)
                it.flows()
            milter.script()
            it.send(row.rcpt, client=client)
            it.wait_for(row.rcpt)
        milter.path.unlink()
        with pytest.raises(RefusedError, match="421"):
            it.send(row.rcpt, client=client)

    return act


def login(it: Faulty, *, tls: bool = False) -> int:
    """Logs in with a right password; gives the code."""
    with smtplib.SMTP("127.0.0.1", it.gateway.port, timeout=10) as smtp:
        if tls:
            smtp.starttls()
        smtp.ehlo()
        return smtp.docmd("AUTH", "PLAIN " + base64.b64encode(b"\0user\0right").decode())[0]


def no_passwords(it: Faulty, row: Row) -> None:
    """The map of passwords is away, then silent: logins are put off, and all is well when it is there again."""
    assert login(it) == 454
    it.flows()
    stored = str(make_stored("SCRAM-SHA-256", "right", b"salt" * 4, 4096))
    with MapServer(lambda _text: f"OK {stored}", it.passwords) as server:
        it.wait(lambda: login(it) == 235, "a login")
        server.drop()
        it.wait(lambda: login(it) == 235, "a login over a new connection")
        server.answer = lambda _text: "junk"
        assert login(it) == 454
    it.passwords.unlink()
    assert login(it) == 454


def tls_files_vanish(it: Faulty, row: Row) -> None:
    """Certificate and key are gone, then junk: a reload is refused and names them, and those that were read serve on."""
    files = [it.gateway.conf.parent / name for name in (selfsigned.CERT, selfsigned.KEY)]
    good = [path.read_bytes() for path in files]
    try:
        for spoil in (Path.unlink, lambda path: path.write_bytes(JUNK)):
            for path in files:
                spoil(path)
            told = it.log().count(selfsigned.CERT)
            it.signal("mcp", signal.SIGHUP)
            it.wait(lambda told=told: it.log().count(selfsigned.CERT) > told, "the file is named", 2 * FLOWS_S)
            assert login(it, tls=True) == 454
            it.flows()
    finally:
        for path, data in zip(files, good, strict=True):
            path.write_bytes(data)


def policies_damaged(it: Faulty, row: Row) -> None:
    """The policies of MTA-STS that are kept on disk are junk when smar starts: they are named, and all else goes on."""
    directory = it.gateway.queue / paths.STS_DIRECTORY
    directory.mkdir(exist_ok=True)
    for number in range(3):
        (directory / f"d{number}.example.sts").write_bytes(JUNK[: 100 * number])
    killed(it, row)
    it.wait(lambda: it.log().count("func=smar.sts_damaged") == 3, "the damage is named")


def no_process(it: Faulty, row: Row) -> None:
    """The system gives no process when one has to be started again."""
    old = it.pid("smtpc")
    fired = row.arm(it)
    os.kill(old, signal.SIGKILL)
    it.wait(fired.exists, "the fault")
    it.wait_restarted("smtpc", old)


EMFILE, ENOSPC, EIO, EAGAIN = errno.EMFILE, errno.ENOSPC, errno.EIO, errno.EAGAIN
NO_THREAD = "RuntimeError"
LARGE = 300_000

#: Rows that end the same process stand far apart: mcp waits longer before it starts one again that fails again and again.
ROWS = (
    # smtps: sessions
    Row("smtps", "exception in RCPT", refused, "meta1g.smtps.commands:_parse_rcpt", marked=True),
    Row("smtps", "exception in MAIL", refused, "meta1g.smtps.commands:_parse_mail", marked=True),
    Row("smtps", "exception at the greeting", refused, "meta1g.smtps.session:ServerSession._ask_about_client"),
    Row("smtps", "exception in content", refused, "meta1g.smtps.incomingcontent:IncomingContent.add"),
    Row("smtps", "disk full for small content", refused, "meta1g.db.cdb:Cdb.write_whole", "OSError", ENOSPC),
    Row("smtps", "disk full for content", refused, "meta1g.db.cdb:CdbWriter.write", "OSError", ENOSPC, size=LARGE),
    Row("smtps", "disk error at the flush", refused, "meta1g.db.cdb:CdbWriter.commit", "OSError", EIO, size=LARGE),
    Row("smtps", "no descriptor for content", refused, "meta1g.db.cdb:Cdb.create", "OSError", EMFILE, size=LARGE),
    Row("smtps", "no memory in a session", refused, "meta1g.smtps.content:_close", "MemoryError"),
    Row("smtps", "exception while a client is accepted", meets_fault, "meta1g.smtps.server:Server._take"),
    Row("smtps", "junk from a client", junk_from_a_client),
    Row("smtps", "clients that vanish", half_a_session),
    Row("smtps", "junk on the socket for descriptors", junk_on("smtps/smtpsfd")),
    Row("smtps", "no descriptor for clients", no_descriptors_for_clients),
    Row("smtps", "no descriptor for the socket for descriptors", no_descriptors_for_sockets("smtps/smtpsfd")),
    Row("qmgr", "bug in the intake", ends, "meta1g.qmgr.intake:Intake.new_recipient", "BugError", ends=("qmgr",)),
    # smtps and the system
    Row("smtps", "log cannot be opened", no_log),
    Row("smtps", "frozen", frozen),
    # smtpc
    Row("smtpc", "exception in the envelope", late, "meta1g.smtpc.session:Session._transaction"),
    Row("smtpc", "exception when content is looked at", late, "meta1g.smtpc.content:Content.check"),
    Row("smtpc", "no descriptor for a server", late_deferred, "meta1g.smtpc.connection:socket_for", "OSError", EMFILE),
    Row("smtpc", "no descriptor for content", late, "meta1g.db.cdb:Cdb.open", "OSError", EMFILE),
    Row("smtpc", "disk error in content", late, "meta1g.db.cdb:CdbReader.cached", "OSError", EIO, size=LARGE),
    Row("smtpc", "exception while a result is reported", late, "meta1g.smtpc.client:Client._report"),
    Row("smtps", "bug in a session", ends, "meta1g.smtps.commands:_parse_mail", "BugError", marked=True, ends=("smtps",)),
    Row("smtpc", "server speaks junk", server_that(JUNK[:4096])),
    Row("smtpc", "server says nothing", server_that(b"")),
    Row("smtpc", "log cannot be opened", no_log),
    Row("smtpc", "frozen", frozen),
    Row("smtpc", "bug in a delivery", ends, "meta1g.smtpc.session:Session._transaction", "BugError", ends=("smtpc",)),
    # smar
    Row("smar", "exception in the check of a recipient", refused, "meta1g.smar.checks:Policy.rcpt", marked=True),
    Row("smar", "exception in the check of a sender", refused, "meta1g.smar.checks:Policy.mail", marked=True),
    Row("smar", "exception in the check of a client", refused, "meta1g.smar.checks:Policy.client"),
    Row("smar", "exception in routing", late, "meta1g.smar.recipient:Recipients.resolve", marked=True),
    Row("smar", "exception in an answer of the name server", meets_fault, "meta1g.smar.resolver:Resolver._on_packet"),
    Row("smar", "bug in a look-up", ends, "meta1g.smar.checks:Policy.rcpt", "BugError", marked=True, ends=("smar",)),
    Row("smar", "junk on its sockets", junk_on("smar/smtps", "smar/qmgr")),
    Row("smar", "no descriptor for its sockets", no_descriptors_for_sockets("smar/smtps", "smar/qmgr")),
    Row("smar", "exception while a process connects", client_fails("smar/smtps"), "meta1g.smar.server:SmtpsService.on_connect"),
    Row("smar", "log cannot be opened", no_log),
    Row("smar", "frozen", frozen),
    Row("smtps", "killed", killed, ends=("smtps",)),
    # qmgr: requests
    Row("qmgr", "exception in a new session", refused, "meta1g.qmgr.intake:Intake.new_session"),
    Row("qmgr", "exception in a new transaction", refused, "meta1g.qmgr.intake:Intake.new_transaction", marked=True),
    Row("qmgr", "exception in a new recipient", refused, "meta1g.qmgr.intake:Intake.new_recipient", marked=True),
    Row("qmgr", "exception at the final dot", refused, "meta1g.qmgr.intake:Intake._records"),
    Row("qmgr", "disk full for the envelope", refused, "meta1g.db.ibdb:Ibdb._append", "OSError", ENOSPC),
    Row("qmgr", "disk error for the envelope", refused, "meta1g.db.ibdb:Ibdb._append", "OSError", EIO),
    Row("qmgr", "exception in a command", command_fails, "meta1g.qmgr.context:Context.status"),
    Row("smtpc", "killed", killed, ends=("smtpc",)),
    # qmgr: what goes on by itself
    Row("qmgr", "exception in the answer of smar", late, "meta1g.qmgr.update:Update.resolved"),
    Row("qmgr", "exception in a turn of the scheduler", meets_fault, "meta1g.qmgr.sched:Scheduler._next"),
    Row("qmgr", "exception in the hand-over", meets_fault, "meta1g.qmgr.intake:Intake._hand_over"),
    Row("qmgr", "exception in a chore", meets_fault, "meta1g.qmgr.sched:Scheduler.close_idle"),
    Row("qmgr", "exception in the feeder", meets_fault, "meta1g.qmgr.feeder:Feeder._look"),
    Row("qmgr", "exception in the thread of DEFEDB", late_deferred, "meta1g.db.defedb:DefeDb.store"),
    Row("qmgr", "disk full for DEFEDB", late_deferred, "meta1g.db.defedb:DefeDb.store", "OSError", ENOSPC),
    Row("qmgr", "content is damaged", damaged_content),
    Row("qmgr", "content is gone", lost_content),
    Row("smar", "killed", killed, ends=("smar",)),
    # what came later: filters, passwords, TLS, policies
    Row("smtps", "a filter dies", filter_that("dying", "die")),
    Row("smtps", "a filter is silent", filter_that("silent", "hang")),
    Row("smtps", "map of passwords is away", no_passwords),
    Row("smtps", "TLS files vanish", tls_files_vanish),
    Row("smar", "policies of MTA-STS are damaged", policies_damaged, ends=("smar",)),
    # qmgr and the system
    Row("qmgr", "junk on its sockets", junk_on("qmgr/smtps", "qmgr/smtpc", "qmgr/control")),
    Row("qmgr", "no descriptor for its sockets", no_descriptors_for_sockets("qmgr/control", "qmgr/smtps")),
    Row(
        "qmgr", "exception while a process connects", client_fails("qmgr/smtpc"), "meta1g.qmgr.smtpc_link:SmtpcLinks.on_connect"
    ),
    Row("qmgr", "a socket is removed", socket_removed("qmgr/smtps")),
    Row("qmgr", "log cannot be opened", no_log),
    Row("qmgr", "frozen", frozen),
    Row("qmgr", "killed", killed, ends=("qmgr",)),
    # mcp
    Row("mcp", "junk on its socket", junk_on("mcp/status")),
    Row("mcp", "wrong configuration", wrong_configuration),
    Row("mcp", "log cannot be opened", no_log),
    Row("mcp", "frozen", frozen),
    # threads and the frame; rows that end processes once more
    Row(
        "smtps",
        "no thread for flushes",
        killed_short_of_threads,
        "meta1g.st.offload:start_new_thread",
        NO_THREAD,
        ends=("smtps",),
    ),
    Row("smar", "signals cannot be read", signals_fail, "meta1g.pt.signals:Signals._on_readable", ends=("smar",)),
    Row("mcp", "no process", no_process, "meta1g.mcp.spawn:start", "OSError", EAGAIN, ends=("smtpc",)),
    Row("qmgr", "no thread at its start", killed_short_of_threads, "threading:Thread.start", NO_THREAD, ends=("qmgr",)),
    Row("smar", "listener fails", listener_fails("smar/qmgr"), "meta1g.pt.rcblisten:RcbListener._on_event", ends=("smar",)),
    Row("qmgr", "signals cannot be read", signals_fail, "meta1g.pt.signals:Signals._on_readable", ends=("qmgr",)),
)
#: What restarts with a component.
DEPENDENTS = {"qmgr": {"smtps", "smtpc"}}


@pytest.fixture(scope="module")
def bench() -> Iterator[Faulty]:
    with tempfile.TemporaryDirectory(prefix="meta1g-fault-") as name, NameServer(negative_ttl=0) as names:
        it = Faulty(Path(name), sorted({row.target for row in ROWS if row.target}))
        it.start(names)
        try:
            yield it
        finally:
            code = it.stop()
        assert code == 0, "after all this the gateway stops in order"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_fault_costs_the_thing_at_hand_and_no_more(bench, row):
    bench.probes.clear()
    bench.flows()
    before = bench.pids()
    try:
        row.act(bench, row)
    finally:
        bench.disarm()
    bench.flows()
    spared = before.keys() - set(row.ends).union(*(DEPENDENTS.get(one, set()) for one in row.ends))
    after = bench.pids()
    assert {name: after[name] for name in spared} == {name: before[name] for name in spared}
    assert all(after.values()), f"all run: {after}"
    if not row.ends and row.act is not frozen:
        more = {rcpt: bench.came(rcpt) for rcpt, offers in bench.probes.items() if bench.came(rcpt) > offers}
        assert not more, "only a process that ends may cost a second delivery"


def test_the_table_is_long_enough():
    assert len(ROWS) >= 40
    assert len({row.id for row in ROWS}) == len(ROWS)
