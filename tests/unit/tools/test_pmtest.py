"""pmtest against a filter that runs as a program, over a Unix socket and over a port."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from contrib.lib.gateway import ROOT, free_port
from meta1g.base import sysexits
from meta1g.base.cli import CliError
from meta1g.tools import pmtest

DEADLINE_S = 20
FUNCTIONS = "HDR_MOD RCPT_ADD RCPT_DEL MAIL_SET MSG_RPLC QUARANTINE"
FILTER = '''
from meta1g.pmilter import Function, HeaderChange, Pmm, Pmilter, Stage, Status, run_filter

class Sample(Pmilter):
    """Says no to Bob."""

    name = "sample"
    functions = ~Function(0)
    heard = 0

    def negotiate(self, server):
        server.setmaclist(Stage.HELO, Pmm.TLS_VERSION)
        return True

    def helo(self, session, helo, ehlo):
        return Status.CONT if session.getmac(Pmm.TLS_VERSION) else Status.SSD

    def rcpt(self, session, rcpt, args):
        session.setreply("550 5.7.1 Bob wants no mail") if "bob" in rcpt else None
        return Status.PERM if "bob" in rcpt else Status.CONT

    def rcpt_refused(self, session, rcpt, reply):
        self.heard += 1

    def msg(self, session, buf):
        session.data = (session.data or b"") + buf
        return Status.SKIP if b"enough" in buf else Status.CONT

    def unknown(self, session, cmd):
        session.setreply("502 5.5.1 what is " + cmd)
        return 502

    def eom(self, session):
        session.hdr_mod(HeaderChange.APPEND, "X-Size: %d" % len(session.data or b""))
        session.rcpt_add("new@example.org")
        session.rcpt_del("old@example.org")
        session.mail_set("<other@example.org>")
        session.quarantine("looks odd")
        session.msg_replace([b"Subject: \\x01new\\r\\n\\r\\n", b"body\\r\\n"])
        return Status.DISCARD

    def signal(self, signum):
        open(self.mark, "w").close()

if __name__ == "__main__":
    import sys
    Sample.mark = sys.argv.pop()
    run_filter(Sample())
'''


@contextlib.contextmanager
def running(tmp_path, place):
    """Starts the filter; gives its process once it listens."""
    program = tmp_path / "sample.py"
    program.write_text(FILTER)
    process = subprocess.Popen(
        [sys.executable, program, place, str(tmp_path / "mark")],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    with process:  # this closes its pipe, whatever becomes of it
        try:
            assert "pmilter.start" in process.stderr.readline()
            yield process
        finally:
            process.terminate()
            assert process.wait(DEADLINE_S) == 0
            rest = process.stderr.read()
    assert "pmilter.stop" in rest
    assert "pmilter.server" in rest


DIALOGUE = """
# everything that there is
macro TLS_VERSION TLSv1.3
connect 192.0.2.1 client.example => cont
ehlo client.example => cont
mail <a@example.org> SIZE=10 => cont
rcpt <ann@example.org> => cont
rcpt <bob@example.org> => 550 5.7.1 Bob
refused <cy@example.org> 550 5.1.1 who? => cont
data
file {message} => cont
text this is enough => skip
text more
unknown XYZZY => 502 5.5.1 what is XYZZY
dot => discard
mail <b@example.org>
abort
close
"""


@pytest.mark.parametrize("kind", ["unix", "inet"])
def test_a_dialogue_is_played_and_told(tmp_path, capsys, kind):
    place = f"unix:{tmp_path}/sock" if kind == "unix" else f"inet:{free_port()}@127.0.0.1"
    (tmp_path / "message").write_bytes(b"Subject: x\n\nline\n" + b"y" * 70 + b"\r\n")
    (tmp_path / "dialogue").write_text(DIALOGUE.format(message=tmp_path / "message"))
    with running(tmp_path, place):
        assert pmtest.main([place, str(tmp_path / "dialogue")]) == 0
    assert capsys.readouterr().out.splitlines()[0:] == [
        f"filter sample wants CNNCT EHLO MAIL RCPT MSG DOT UNKN RCPT_ST; changes {FUNCTIONS}",
        "macro TLS_VERSION TLSv1.3: -",
        "connect 192.0.2.1 client.example: cont",
        "ehlo client.example: cont",
        "mail <a@example.org> SIZE=10: cont",
        "rcpt <ann@example.org>: cont",
        "rcpt <bob@example.org>: 550 5.7.1 Bob wants no mail",
        "refused <cy@example.org> 550 5.1.1 who?: cont",
        "data: -",
        f"file {tmp_path}/message: cont",
        "text this is enough: skip",
        "text more: -",
        "unknown XYZZY: 502 5.5.1 what is XYZZY",
        "  header append 0: X-Size: 108",
        "  add rcpt <new@example.org>",
        "  remove rcpt <old@example.org>",
        "  mail <other@example.org>",
        "  quarantine looks odd",
        "  message| Subject: \\x01new",
        "  message| ",
        "  message| body",
        "dot: discard",
        "mail <b@example.org>: cont",
        "abort: -",
        "close: -",
    ]


def test_what_is_not_as_expected_is_told_with_its_line(tmp_path, capsys):
    place = f"unix:{tmp_path}/sock"
    (tmp_path / "dialogue").write_text("connect 192.0.2.1\n\nhelo x => cont\n")
    with running(tmp_path, place) as process:
        assert pmtest.main([place, str(tmp_path / "dialogue")]) == sysexits.EX_DATAERR
        assert "helo x: 421\nline 3: expected cont\n" in capsys.readouterr().out
        for text, message in (
            ("connect 192.0.2.1\nehello x", "line 2: no step 'ehello'"),
            ("connect 192.0.2.1\nrefused <a@b> 250 ok", "line 2: not a reply"),
            ("macro NO x", "line 1: no macro 'NO'"),
            ("connect 192.0.2.1\nfile /nowhere/x", "line 2: /nowhere/x: No such file"),
            ("helo x", "line 1: the filter, at PmHelo: closed the connection"),
        ):
            (tmp_path / "dialogue").write_text(text)
            with pytest.raises(CliError, match=message):
                pmtest.main([place, str(tmp_path / "dialogue")])
        process.send_signal(signal.SIGHUP)
        while not (tmp_path / "mark").exists():
            assert process.poll() is None


def test_nobody_there_is_told(tmp_path):
    (tmp_path / "dialogue").touch()
    with pytest.raises(CliError, match="cannot reach the filter"):
        pmtest.main([f"unix:{tmp_path}/sock", str(tmp_path / "dialogue")])
