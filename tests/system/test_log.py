"""The log answers: for each message and each refusal one line tells who, what and why; each line of JSON is an object.

One gateway, all situations at once; then two hundred messages by several clients at the same time, whose lines a parser reads.
"""

import json
import re
import smtplib
import socket
import subprocess
import threading
from collections import Counter
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta

import pytest

from contrib.lib.gateway import ROOT, Gateway, free_port, wait_until
from meta1g.base.events import EVENTS
from meta1g.base.logevent import About
from meta1g.base.logkeys import Sev
from tests.fakes.nameserver import NameServer
from tests.fakes.smtp_server import ScriptedServer
from tests.system.conftest import HEADER, KeepingSink, running

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("log")]

ACCESS = """\
cltaddr:127.0.0.2      reject
cltaddr:127.0.0.3      error:421 4.7.1 come back later
cltaddr:127.0.0.4      discard
dnsbl0:127.0.0.7       error:550 5.7.1 you are on a list
from:bad@spam.example  reject
from:drop@             discard
to:closed@             error:550 5.1.6 moved away
to:hole@               discard
"""
ALIASES = "team: anna@sink.example, otto@sink.example\n"
SMTPS = """
  max_message_size = 4000; max_recipients = 3; max_transactions = 9; max_bad_commands = 3; max_noops = 4; max_refusals = 4;
  IO_timeout = 4s;
"""
WAIT_S = 20


class Journal:
    """The lines of a gateway as objects; a line that is none is an error."""

    def __init__(self, path, gateway=None):
        self.path = path
        self.gateway = gateway

    def lines(self):
        text = self.path.read_text()
        return [json.loads(line, object_pairs_hook=_object) for line in text[: text.rfind("\n") + 1].splitlines()]

    def find(self, event, **facts):
        return [
            line
            for line in self.lines()
            if line["event"] == event and all(re.search(str(value), str(line.get(key, ""))) for key, value in facts.items())
        ]

    def wait(self, event, **facts):
        found = []
        wait_until(lambda: found.extend(self.find(event, **facts)) or found, WAIT_S, f"{event} {facts} in {self.path}")
        return found


def _object(pairs):
    found = dict(pairs)
    assert len(found) == len(pairs), pairs
    return found


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    directory = tmp_path_factory.mktemp("log")
    with ExitStack() as stack:
        names = stack.enter_context(NameServer())
        names.add("5.0.0.127.bl.example", "A", "127.0.0.7")
        names.add("6.0.0.127.bl.example", "A", "127.0.0.9")
        sink = stack.enter_context(KeepingSink(directory / "mail"))
        smar = (
            f"nameserver {{ address = 127.0.0.1; port = {names.port}; }} dnsbl {{ zone = bl.example; }}"
            'access_map { file = "access.db"; } local_domains = { local.example };'
            'aliases { file = "aliases"; type = text; flags = { localpart }; }'
        )
        options = {"smar": smar, "smtps": SMTPS, "qmgr": "min_retry_delay = 1h; max_retry_delay = 1h;"}
        ports = {
            "bounce.example": stack.enter_context(ScriptedServer({"RCPT": "550 5.1.1 no such user here\r\n"})).port,
            "later.example": stack.enter_context(ScriptedServer({"RCPT": "450 4.2.1 busy\r\n"})).port,
            "down.example": free_port(),
            ".": sink.port,
        }
        table = "\n".join(f"{domain} {port}^[127.0.0.1]" for domain, port in ports.items())
        options["log"] = f'file = "{directory}/gateway/meta1g.log"; format = json;'
        gateway = Gateway(directory / "gateway", table, options, log_level=15)
        gateway.conf.parent.mkdir(parents=True)
        (gateway.conf.parent / "aliases").write_text(ALIASES)
        gateway.write_map("access", ACCESS)
        stack.enter_context(running(gateway))
        journal = Journal(gateway.log, gateway)
        journal.wait("mcp.started")  # what comes before it is the start
        yield journal


@contextmanager
def client(log, source="127.0.0.1", ehlo="client.example"):
    with (
        socket.create_connection(("127.0.0.1", log.gateway.port), 30, (source, 0)) as sock,
        sock.makefile("rwb", buffering=0) as talk,
    ):

        def say(text):
            if text is not None:
                talk.write(text.encode("utf-8", "surrogateescape") + b"\r\n")
            answer = b""
            while True:
                line = talk.readline()
                answer += line
                if line[3:4] != b"-":
                    return answer.decode()

        say.banner = say(None)
        if say.banner.startswith("220"):
            assert say(f"EHLO {ehlo}").startswith("250")
        yield say


def deliver(log, rcpts, mail="sender@ok.example", source="127.0.0.1"):
    """Sends a message; gives its transaction id."""
    with client(log, source) as say:
        assert say(f"MAIL FROM:<{mail}>").startswith("250")
        for rcpt in rcpts:
            assert say(f"RCPT TO:<{rcpt}>").startswith("250")
        assert say("DATA").startswith("354")
        answer = say(HEADER.decode() + "x\r\n.")
        assert answer.startswith("250")
        return answer.split()[-1]


#: What a client says after EHLO, the event of its last line, and what the line has to tell.
REFUSALS = {
    "552 at MAIL": (
        ["MAIL FROM:<a@b.example> SIZE=99999"],
        "smtps.mail_refused",
        {"mail": "a@b.example", "size": 99999, "reply": 552},
    ),
    "501 sender": (["MAIL FROM:<a@@b>"], "smtps.mail_refused", {"mail": "<a@@b>", "reply": 501}),
    "501 parameter": (["MAIL FROM:<a@b.example> SIZE=x"], "smtps.mail_refused", {"mail": "SIZE=x", "reply": 501}),
    "sender in the map": (
        ["MAIL FROM:<bad@spam.example>"],
        "smtps.mail_refused",
        {"mail": "bad@spam.example", "reply": 550, "map": "access", "key": "from:bad@spam.example"},
    ),
    "recipient in the map": (
        ["MAIL FROM:<a@b.example>", "RCPT TO:<closed@x.example>"],
        "smtps.rcpt_refused",
        {"mail": "a@b.example", "rcpt": "closed@x.example", "reply": 550, "stat": "moved away", "key": "to:closed@"},
    ),
    "501 recipient": (["MAIL FROM:<a@b.example>", "RCPT TO:<x@@y>"], "smtps.rcpt_refused", {"rcpt": "x@@y", "reply": 501}),
    "452 too many": (
        ["MAIL FROM:<a@b.example>", *(f"RCPT TO:<hole@{n}.example>" for n in range(4))],
        "smtps.rcpt_refused",
        {"rcpt": "hole@3.example", "reply": 452},
    ),
    "no EHLO name": (["EHLO"], "smtps.command_refused", {"command": "EHLO", "reply": 501}),
    "unknown command": (["FNORD \xff\x01"], "smtps.command_refused", {"command": "FNORD", "reply": 500}),
    "out of order": (["RCPT TO:<a@b>"], "smtps.command_refused", {"command": "RCPT TO:<a@b>", "reply": 503}),
    "a password": (["AUTH PLAIN c2VjcmV0"], "smtps.command_refused", {"command": r"^AUTH PLAIN \.\.\.$", "reply": 502}),
    "no recipient": (["MAIL FROM:<a@b.example>", "DATA"], "smtps.command_refused", {"command": "DATA", "reply": 503}),
    "bare LF": (
        ["MAIL FROM:<a@b.example>", "RCPT TO:<x@sink.example>", "DATA", "x\ny\r\n."],
        "smtps.message_refused",
        {"mail": "a@b.example", "rcpts": 1, "reply": 550, "stat": "bare CR or LF"},
    ),
    "too big": (
        ["MAIL FROM:<a@b.example>", "RCPT TO:<x@sink.example>", "DATA", "x" * 70 + "\r\n" + ("y" * 70 + "\r\n") * 90 + "."],
        "smtps.message_refused",
        {"size": r"6\d\d\d", "reply": 552},
    ),
    "wrong commands": (["BAD"] * 4, "smtps.too_many", {"limit": 3, "reply": 421}),
    "useless commands": (["NOOP"] * 4, "smtps.too_many", {"limit": 4, "reply": 421}),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_is_one_line_that_tells_who_what_and_why(log, name):
    said, event, facts = REFUSALS[name]
    ehlo = f"{name.replace(' ', '-')}.example"
    with client(log, ehlo=ehlo) as say:
        answers = [*map(say, said), *([say(None)] if event == "smtps.too_many" else [])]
        codes = [answer[:3] for answer in answers if answer[0] in "45"]
    (line,) = log.wait(event, ehlo=ehlo, **facts)
    assert (line["client"], line["ecode"][0]) == ("127.0.0.1", str(line["reply"])[0])
    of_session = [one for one in log.lines() if one.get("ss_sess") == line["ss_sess"]]
    told = [one for one in of_session if EVENTS[one["event"]].kind is About.REFUSAL]
    assert [str(one["reply"]) for one in told] == codes


@pytest.mark.parametrize(
    ("source", "event", "facts"),
    [
        ("127.0.0.2", "smtps.connect_refused", {"reply": 550, "key": "cltaddr:127.0.0.2", "map": "access"}),
        ("127.0.0.3", "smtps.connect_refused", {"reply": 421, "key": "cltaddr:127.0.0.3", "stat": "come back later"}),
        ("127.0.0.5", "smtps.connect_refused", {"reply": 550, "key": "dnsbl0:127.0.0.7", "stat": "you are on a list"}),
        ("127.0.0.5", "smar.listed", {"name": "bl.example", "answer": "127.0.0.7"}),
        ("127.0.0.6", "smar.listed", {"name": "bl.example", "answer": "127.0.0.9"}),
        ("127.0.0.2", "smar.client", {"stat": "Access denied"}),
    ],
)
def test_clients_that_may_not_stay_and_what_lists_say(log, source, event, facts):
    with client(log, source) as say:
        assert say.banner
    found = log.wait(event, client=rf"^{source}$", **facts)
    assert len({line["ss_sess"] for line in found}) == len(found)


@pytest.mark.parametrize(
    ("mail", "rcpt", "key"),
    [("drop@a.example", "x@sink.example", "from:drop@"), ("a@a.example", "hole@sink.example", "to:hole@")],
)
def test_what_is_discarded_names_the_entry(log, mail, rcpt, key):
    ta_id = deliver(log, [rcpt], mail)
    (line,) = log.wait("smtps.rcpt_discarded", ss_ta=ta_id, map="access")
    assert (line["key"], line["mail"], line["rcpt"]) == (key, mail, rcpt)
    (line,) = log.wait("smtps.message_discarded", ss_ta=ta_id)
    assert (line["key"], line["rcpts"], line["reply"]) == (key, 1, 250)
    assert not log.find("qmgr.accept", ss_ta=ta_id)


def test_a_message_that_is_delivered_is_told_at_each_step(log):
    ta_id = deliver(log, ["one@sink.example"])
    (accepted,) = log.wait("smtps.message", ss_ta=ta_id, ehlo="client.example", mail="sender@ok.example")
    assert len(log.wait("smtps.rcpt", ss_ta=ta_id)) == len(log.wait("qmgr.accept", ss_ta=ta_id)) == 1
    (line,) = log.wait("qmgr.delivered", ss_ta=ta_id, rcpt="one@sink.example", reply=250, relay="127.0.0.1")
    assert line["delay_ms"] > 0
    (attempt,) = log.wait("smtpc.deliver", ss_ta=ta_id, server="127.0.0.1", reply=250)
    assert attempt["da_ta"].startswith("C")
    assert accepted["ss_sess"] == log.wait("smtps.connect", ss_sess=accepted["ss_sess"])[0]["ss_sess"]


def test_aliases_bounces_and_what_waits(log):
    ta_id = deliver(log, ["team@local.example"])
    (line,) = log.wait("qmgr.alias", ss_ta=ta_id, rcpt="team@local.example", count=2)
    assert sorted(line["members"].split()) == ["anna@sink.example", "otto@sink.example"]
    ta_id = deliver(log, ["no@bounce.example"], mail="sender@sink.example")
    (line,) = log.wait("qmgr.failed", ss_ta=ta_id, rcpt="no@bounce.example", reply=550, stat="no such user here")
    assert line["relay"]
    log.wait("qmgr.bounce", ss_ta=ta_id, rcpt="sender@sink.example", count=1)
    ta_id = deliver(log, ["x@later.example", "x@down.example"])
    for rcpt, why in (("x@later.example", "busy"), ("x@down.example", "refused")):
        (line,) = log.wait("qmgr.deferred", ss_ta=ta_id, rcpt=rcpt, stat=why, reply="4..")
        assert datetime.fromisoformat(line["next_try"]).utcoffset() == timedelta(0)
    log.wait("qmgr.dest", server="127.0.0.1")


ORDERS = {
    "hold": "qmgr.hold",
    "release": "qmgr.released",
    "retry": "qmgr.retried",
    "requeue": "qmgr.requeued",
    "bounce": "qmgr.bounced",
    "remove": "qmgr.removed",
}


def test_each_order_of_the_operator_is_one_line_for_each_recipient(log):
    for verb, event in ORDERS.items():
        ta_id = deliver(log, [f"{verb}@down.example"], mail="sender@sink.example")
        log.wait("qmgr.deferred", ss_ta=ta_id)
        if verb == "release":
            log.gateway.control("hold", ta_id)
        log.gateway.control(verb, ta_id)
        (line,) = log.wait(event, ss_ta=ta_id, rcpt=f"{verb}@down.example", stat="by order of the operator")
        assert line["sevr"] == "NOTICE"
        log.wait("qmgr.control", command=f"{verb} {ta_id}")


def test_a_message_that_ends_in_the_middle_is_told(log):
    with client(log) as say:
        say("MAIL FROM:<half@a.example>")
        say("RCPT TO:<x@sink.example>")
        say("DATA")
    log.wait("smtps.message_lost", mail="half@a.example", rcpts=1, client="127.0.0.1")
    with client(log) as say:
        assert say.banner
    log.wait("smtps.gone")
    with client(log, ehlo="silent.example") as say:
        assert say(None).startswith("421")
    log.wait("smtps.timed_out", ehlo="silent.example", reply=421)


def test_lines_under_load_are_objects_and_no_message_has_two_answers(log):
    ids, lock = [], threading.Lock()

    def many(number):
        with smtplib.SMTP("127.0.0.1", log.gateway.port, timeout=60, local_hostname=f"load{number}.example") as mine:
            mine.ehlo()
            for count in range(9):
                mine.mail(
                    f"s\u00fc\\{number}@load.example" if number % 2 and mine.does_esmtp is None else f"s{number}@load.example"
                )
                mine.rcpt(f"r{count}@sink.example")
                code, text = mine.data(HEADER + b"load\r\n")
                assert code == 250, text
                with lock:
                    ids.append(text.split()[-1].decode())

    threads = [threading.Thread(target=many, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert len(ids) == len(set(ids)) == 270
    wanted = set(ids)
    wait_until(lambda: wanted <= {line["ss_ta"] for line in log.find("qmgr.delivered")}, WAIT_S, "all are delivered")
    counts = Counter((line["event"], line.get("ss_ta")) for line in log.lines())
    for event in ("smtps.message", "qmgr.accept", "qmgr.delivered"):
        assert {counts[event, one] for one in ids} == {1}, event


def test_every_line_has_what_the_table_says(log):
    lines = log.lines()
    assert len(lines) > 500
    for line in lines:
        row = EVENTS[line["event"]]
        rest = dict(line)
        when = datetime.fromisoformat(rest.pop("time"))
        assert when.utcoffset() == timedelta(0)
        assert rest.pop("host") == socket.gethostname()
        assert rest.pop("process") in ("mcp", "smtps", "qmgr", "smtpc", "smar")
        assert rest.pop("process_id") > 0
        assert (rest.pop("sevr"), rest.pop("event")) == (row.sevr.name, line["event"])
        assert isinstance(rest.pop("stat"), str)
        assert set(row.must) <= rest.keys() <= {*row.must, *row.may}, line
    text = log.path.read_text()
    assert re.findall(r'"delay_ms": ([^,]*)', text)
    assert all(re.fullmatch(r"\d+\.\d{3}", value) for value in re.findall(r'"delay_ms": ([^,}]*)', text))


def test_nothing_is_unusual_about_a_start(log):
    lines = log.lines()
    ready = [line["event"] for line in lines].index("mcp.started")
    start = [line for line in lines[: ready + 1] if line["event"] != "mcp.config"]  # a warning: the tests run as one account
    assert {"mcp.start", "mcp.started", "qmgr.start", "smar.start", "smtps.listen", "rcb.connect"} <= {
        line["event"] for line in start
    }
    assert [line for line in start if Sev[line["sevr"]] <= Sev.NOTICE] == []


def test_logrotate_with_the_sample_loses_no_line(log, tmp_path):
    gateway = log.gateway
    sample = (ROOT / "contrib/etc/logrotate.meta1").read_text().partition("# Standard error")[0]
    command = next(line for line in sample.splitlines() if "systemctl" in line)
    sample = sample.replace("/var/log/meta1/*.log /var/spool/meta1/meta1.log", str(gateway.log))
    conf = tmp_path / "logrotate.conf"
    conf.write_text(sample.replace(command, f"kill -USR1 {gateway.process.pid}").replace("    dateext\n", ""))
    conf.chmod(0o644)
    before = [deliver(log, ["before@sink.example"]) for _ in range(20)]
    told = len(log.lines())
    subprocess.run(
        ["logrotate", "-v", "-f", "-s", tmp_path / "state", conf], capture_output=True, text=True, timeout=60, check=True
    )
    rotated = gateway.log.with_name(f"{gateway.log.name}.1")
    wait_until(gateway.log.exists, WAIT_S, "mcp makes the new file")
    after = [deliver(log, ["after@sink.example"]) for _ in range(20)]
    wait_until(
        lambda: (
            {line["ss_ta"] for path in (rotated, gateway.log) for line in Journal(path).find("qmgr.delivered")}
            >= {*before, *after}
        ),
        WAIT_S,
        "all are delivered",
    )
    wait_until(lambda: Journal(gateway.log).find("smtps.message", ss_ta=after[-1]), WAIT_S, "the new file is in use")
    counts = Counter(
        (line["event"], line["ss_ta"]) for path in (rotated, gateway.log) for line in Journal(path).lines() if "ss_ta" in line
    )
    for ta_id in (*before, *after):
        assert [counts[event, ta_id] for event in ("smtps.message", "qmgr.accept", "qmgr.delivered")] == [1, 1, 1]
    assert len(Journal(rotated).lines()) >= told
    assert not log.find("log.reopen")
