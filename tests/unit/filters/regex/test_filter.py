"""What milter-regex answers at each step, by its rules, and what it changes."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta1g.base.log import Log
from meta1g.pmilter import Function, Pmilter, Pmm, PmServer, PmSession, Status
from meta1g.pmilter.modify import Modifications
from meta1g.pmilter.session import PmTransaction
from meta1g.rcb.smtps_pmilter import MacroValue
from meta1g.tools import pmtest
from meta1g_filters.regex.content import LINE_MAX_BYTES, ContentLines
from meta1g_filters.regex.filter import RegexFilter
from tests.fakes.filter_program import ROOT, FilterProgram
from tests.unit.pt.conftest import MemorySink

MESSAGE = b"From: ada@example.net\r\nSubject: Hello\r\n World\r\n\r\nfirst line\r\nsecond line\r\n"


class Client:
    """A session with a filter of these rules, step by step."""

    def __init__(self, tmp_path, text, address="192.0.2.1", name="client.example", lines_max=0):
        file = tmp_path / "rules"
        file.write_text(text)
        self.sink = MemorySink()
        self.filter = RegexFilter(file, Log("test", sink=self.sink), lines_max)
        offered = ~Function(0)
        self.session = PmSession(PmServer("mx", self.filter.wants(), offered, Pmilter().wants(), offered), "s1", address, name)

    def macros(self, **values):
        self.session.note_macros(tuple(MacroValue(macro=Pmm[name], value=text) for name, text in values.items()))
        return self

    def _said(self, status):
        reply, self.session.reply = self.session.reply, type(self.session.reply)(0)
        return str(reply) if reply.code else Status(status).name

    def connect(self):
        return self._said(self.filter.connect(self.session))

    def helo(self, name="client.example"):
        self.session.helo = name
        return self._said(self.filter.helo(self.session, name, ehlo=True))

    def mail(self, path="<ada@example.net>"):
        self.session.transaction = PmTransaction("t1", path, [])
        return self._said(self.filter.mail(self.session, path, ()))

    def rcpt(self, path="<bob@example.org>"):
        return self._said(self.filter.rcpt(self.session, path, ()))

    def data(self):
        return self._said(self.filter.data(self.session))

    def content(self, data, size=1000):
        for begin in range(0, len(data), size):
            said = self._said(self.filter.msg(self.session, data[begin : begin + size]))
            if said != "CONT":
                return said
        return "CONT"

    def eom(self):
        self.session.changes = Modifications(~Function(0))
        said = self._said(self.filter.eom(self.session))
        held, self.session.transaction = self.session.changes.quarantine, None
        return f"{said} {held}".rstrip()

    def message(self, *rcpts, data=MESSAGE, size=1000):
        """Goes through a whole message; gives what was said last, with the step unless it is the end."""
        steps = [("mail", self.mail), *(("rcpt", lambda one=one: self.rcpt(one)) for one in rcpts or ["<bob@example.org>"])]
        steps += [("data", self.data), ("msg", lambda: self.content(data, size))]
        for step, take in steps:
            said = take()
            if said not in ("CONT", "SKIP"):
                return f"{step}: {said}"
        return self.eom()

    def greeted(self):
        assert (self.connect(), self.helo()) == ("CONT", "CONT")
        return self


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ('reject "no" envfrom /ada/', "mail: 554 5.7.1 no"),
        ('tempfail "later" envrcpt /bob/', "rcpt: 451 4.7.1 later"),
        ("accept envrcpt /bob/", "rcpt: ACCEPT"),
        ("discard envfrom /ada/", "mail: DISCARD"),
        ("discard envrcpt /bob/", "data: DISCARD"),
        ("discard body /second/", "msg: DISCARD"),
        ("quarantine odd envfrom /ada/", "CONT odd"),
        ("quarantine odd envrcpt /bob/", "CONT odd"),
        ("quarantine odd header /^subject$/i /^Hello.*World$/", "CONT odd"),
        ("quarantine odd body /^second line$/", "CONT odd"),
        ('reject "no" header /^Subject$/ /Hello/', "msg: 554 5.7.1 no"),
        ('reject "no" body /^second/', "msg: 554 5.7.1 no"),
        ("accept body /^first line$/ reject body /second/", "msg: ACCEPT"),
        ("reject body /second/ accept body /^first line$/", "msg: ACCEPT"),
        ("reject body /first/ accept body /first/", "msg: 554 5.7.1 Command rejected"),
        ("reject not body /third/", "554 5.7.1 Command rejected"),
        ("reject ( not header /X-Sent/ // ) and envfrom /ada/", "msg: 554 5.7.1 Command rejected"),
        ("reject not envrcpt /carol/", "rcpt: 554 5.7.1 Command rejected"),
        ("reject header /From/ /ada/ and body /second/", "msg: 554 5.7.1 Command rejected"),
        ("reject macro /^i$/ /S1/", "mail: 554 5.7.1 Command rejected"),
        ("reject macro /{auth_type}/ /^$/", "mail: 554 5.7.1 Command rejected"),
        ("reject macro /rcpt_addr/ /^bob@/", "rcpt: 554 5.7.1 Command rejected"),
        ("reject not macro /rcpt_addr/ /^carol@/", "data: 554 5.7.1 Command rejected"),
    ],
)
def test_a_rule_acts_as_soon_as_it_is_true(tmp_path, rule, said):
    client = Client(tmp_path, rule).greeted().macros(MAIL_TAID="S1")
    assert client.message() == said
    (line,) = [line for line in client.sink.lines if "func=pmilter.decided" in line]
    assert f"key={tmp_path}/rules:1, " in line


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("reject helo /client/n or envfrom /bob/", "mail: ACCEPT"),
        ("reject envrcpt /carol/", "data: ACCEPT"),
        ("reject header /From/ /carol/ and body /second/", "CONT"),
        ("reject body /third/", "CONT"),
    ],
)
def test_a_message_that_no_rule_concerns_passes_and_no_more_of_it_is_looked_at(tmp_path, rule, said):
    client = Client(tmp_path, rule).greeted()
    assert client.message() == said
    assert not any("func=pmilter.decided" in line for line in client.sink.lines)
    client.mail(), client.rcpt(), client.data()
    assert client.content(b"From: x\r\n\r\n" + b"x\r\n" * 1000) == ("CONT" if "third" in rule else "SKIP")


def test_a_client_is_looked_at_by_name_and_address(tmp_path):
    rule = r'reject "unknown" connect /^\[.*\]$/ /^192\./ reject "named" connect /example/ //'
    assert Client(tmp_path, rule, name="").connect() == "554 5.7.1 unknown"
    assert Client(tmp_path, rule, address="198.51.100.1", name="").connect() == "CONT"
    assert Client(tmp_path, rule).connect() == "554 5.7.1 named"
    assert Client(tmp_path, "accept connect // /192/").connect() == "ACCEPT"
    assert (
        Client(tmp_path, "tempfail macro /^j$/ /^mx$/").macros(SRVHOSTNAME="mx").connect() == "451 4.7.1 Please try again later"
    )


def test_what_is_said_of_a_client_holds_for_all_its_messages(tmp_path):
    client = Client(tmp_path, "quarantine odd helo /client/").greeted()
    assert [client.message(), client.message()] == ["CONT odd", "CONT odd"]
    client = Client(tmp_path, "discard connect // //").greeted()
    assert [client.message(), client.message()] == ["mail: DISCARD"] * 2


def test_a_second_greeting_is_looked_at_anew(tmp_path):
    client = Client(tmp_path, 'reject "no dot" helo /\\./n tempfail "no TLS" macro /tls_version/ /^$/')
    client.connect()
    assert client.helo("nodot") == "554 5.7.1 no dot"
    assert client.helo("a.example") == "CONT"  # TLS may still begin
    assert client.mail() == "451 4.7.1 no TLS"
    client.macros(TLS_VERSION="TLSv1.3")
    assert client.helo("a.example") == "CONT"
    assert client.message() == "data: ACCEPT"


NAMES = {
    "j": Pmm.SRVHOSTNAME, "{client_resolve}": Pmm.CLIENT_RESOLVE, "{tls_version}": Pmm.TLS_VERSION, "i": Pmm.MAIL_TAID,
    "{cipher}": Pmm.TLS_CIPHER_SUITE, "{cipher_bits}": Pmm.TLS_CIPHER_BITS, "{alg_bits}": Pmm.TLS_ALG_BITS,
    "{cert_subject}": Pmm.TLS_CERT_SUBJECT, "{cert_issuer}": Pmm.TLS_CERT_ISSUER, "{cn_subject}": Pmm.TLS_CN_SUBJECT,
    "{cn_issuer}": Pmm.TLS_CN_ISSUER, "{verify}": Pmm.TLS_VRFY, "{auth_type}": Pmm.AUTH_TYPE,
    "{auth_authen}": Pmm.AUTH_AUTHEN, "{auth_author}": Pmm.AUTH_AUTHOR,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_macro_has_the_name_that_it_has_for_other_filters(tmp_path, name):
    client = Client(tmp_path, f"reject macro ,^{name}$, ,^a value$,")
    client.filter.negotiate(client.session.server)
    assert any(NAMES[name] in asked for asked in client.session.server.macros.values())
    client.macros(**{NAMES[name].name: "a value"})
    said = [client.connect(), client.helo(), client.mail()]
    assert "554 5.7.1 Command rejected" in said
    assert name in (ROOT / "docs/man/milter-regex.conf.5.md").read_text()


def test_messages_of_a_session_do_not_know_of_each_other(tmp_path):
    client = Client(tmp_path, "reject envfrom /bad/ and header /Subject/ /Hello/").greeted()
    assert client.message() == "mail: ACCEPT"
    assert client.mail("<bad@example.net>") == "CONT"
    client.filter.abort(client.session)
    assert client.message() == "mail: ACCEPT"
    assert client.mail("<bad@example.net>") == "CONT"
    assert (client.rcpt(), client.data(), client.content(MESSAGE)) == ("CONT", "CONT", "554 5.7.1 Command rejected")


def test_a_refusal_is_about_its_recipient_and_content_rules_look_at_all_that_are_left(tmp_path):
    rule = 'reject "gone" envrcpt /gone@/ reject "only bob" envrcpt /bob@/ and body /second/'
    client = Client(tmp_path, rule).greeted()
    client.mail()
    assert [client.rcpt(one) for one in ("<gone@x>", "<bob@x>", "<gone@x>", "<carol@x>")] == [
        "554 5.7.1 gone",
        "CONT",
        "554 5.7.1 gone",
        "CONT",
    ]
    assert (client.data(), client.content(MESSAGE)) == ("CONT", "554 5.7.1 only bob")
    assert client.message("<carol@x>") == "data: ACCEPT"


def test_only_so_many_lines_of_a_body_are_looked_at(tmp_path):
    assert Client(tmp_path, "reject body /second/", lines_max=1).greeted().message() == "CONT"
    assert Client(tmp_path, "reject body /first/", lines_max=1).greeted().message() == "msg: 554 5.7.1 Command rejected"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"Subject: x\r\n\r\nlast", "554 5.7.1 Command rejected"),
        (b"Subject: x\r\n\r\n\r\nlast\r\n", "msg: 554 5.7.1 Command rejected"),
        (b"no header\r\nlast\r\n", "msg: 554 5.7.1 Command rejected"),
        (b"Subject: x\r\nlast: y\r\n", "CONT"),
        (b"Subject: x\r\n\r\nthe last\r\n", "CONT"),
        (b"", "CONT"),
    ],
)
def test_lines_of_a_body_are_those_after_the_header(tmp_path, data, said):
    assert Client(tmp_path, "reject body /^last$/").greeted().message(data=data) == said


@given(st.lists(st.integers(1, 5000), min_size=1), st.binary(max_size=300), st.integers(0, 5000))
def test_the_pieces_in_which_content_comes_do_not_matter(cuts, tail, filler):
    data = b"A: 1\r\nB: 2\r\n\tmore\r\n\r\n" + b"x" * filler + b"\r\n" + tail
    whole, parts = ContentLines(), ContentLines()

    def read(content, pieces):
        found = []
        for piece in pieces:
            body = content.feed(piece)
            found += [*content.fields(), *content.lines(body)] if content.header_done else []
        body = content.finish()
        return [*found, *content.fields(), *content.lines(body, last=True)]

    pieces, at = [], 0
    for size in cuts:
        pieces.append(data[at : at + size])
        at += size
    expected = read(whole, [data])
    assert read(parts, [*pieces, data[at:]]) == expected
    assert expected[:2] == [(b"A", b"1"), (b"B", b"2\n\tmore")]
    assert all(len(line) <= LINE_MAX_BYTES for line in expected[2:])


def test_the_program_reads_its_file_again_and_a_wrong_one_changes_nothing(tmp_path):
    program = FilterProgram("meta1g_filters.regex.main", tmp_path, "accept helo /[/\nreject helo /a/b\n")
    code, said = program.check()
    assert code == 78
    assert f"milter-regex: {program.file}:1:14: [ without ]" in said
    assert f"{program.file}:2:16: unknown flag b" in said
    program.file.write_text('reject "first" helo /a/\n')
    assert program.check() == (0, "")
    play = tmp_path / "play"
    play.write_text("connect 192.0.2.1\nhelo a => 554 5.7.1 first\n")
    with program:
        assert pmtest.main([program.place, str(play)]) == 0
        program.reload("reject (")
        program.wait_log("sevr=ERROR, func=pmilter.conf_wrong", "parentheses stand around")
        assert pmtest.main([program.place, str(play)]) == 0
        program.reload('reject "second" helo /a/\n')
        program.wait_log("func=pmilter.conf,")
        play.write_text("connect 192.0.2.1\nhelo a => 554 5.7.1 second\n")
        assert pmtest.main([program.place, str(play)]) == 0


def test_a_file_that_is_not_there_and_a_missing_socket_are_told(tmp_path):
    program = FilterProgram("meta1g_filters.regex.main", tmp_path, "")
    program.file.unlink()
    code, said = program.check()
    assert code == 78
    assert f"{program.file}: cannot read the configuration: no such file or directory" in said
    done = subprocess.run([sys.executable, "-m", program.module], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (64, "milter-regex: the socket is missing; see milter-regex --help\n")


def test_the_sample_is_right(tmp_path):
    client = Client(tmp_path, (ROOT / "contrib/filters/etc/milter-regex.conf").read_text()).greeted()
    attachment = b'Subject: x\r\n\r\nContent-Type: x; name="Invoice.EXE"\r\n'
    assert client.message(data=attachment) == "msg: 554 5.7.1 Executable attachment"
    assert client.message(data=b"Subject: Congratulations, you have won\r\n\r\nx\r\n") == "CONT subject looks like a lottery"
    assert client.message() == "CONT"
    assert client.helo("localhost") == "554 5.7.1 Malformed HELO (not a domain, no dot)"
    assert client.helo("mail.example.org") == "554 5.7.1 Spoofed HELO (a name of ours)"
    assert Client(tmp_path, (tmp_path / "rules").read_text(), address="127.0.0.1").connect() == "ACCEPT"
