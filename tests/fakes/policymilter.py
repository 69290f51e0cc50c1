"""A policy milter on the library, a process of its own that answers by a script, which is read anew at each callback.

    python -m tests.fakes.policymilter SCRIPT unix:PATH

SCRIPT is a JSON object: for each callback a status as a number, a reply as text (`550 5.7.1 no`), or `hang`, `die`; for mail
and rcpt also an object of these by address.  `eom` may be an object {status, header [[change, position, field]], add, remove,
mail, replace [[piece, times]], quarantine}; `macros` true asks for all that there are, and they are heard too.  What it heard
is written to standard output, one JSON list for each session that is over.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from meta1g.pmilter import Function, HeaderChange, Pmilter, Pmm, Stage, Status, run_filter
from meta1g.pmilter.stages import MACRO_STAGES

ROOT = Path(__file__).parents[2]
WAIT_S = 30
HUNG = threading.Event()
STAGES = (Stage.CONNECT, Stage.HELO, Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT)


class ScriptedPolicy(Pmilter):
    """Answers by a script."""

    name = "scripted"
    functions = ~Function(0)
    path = Path()

    def negotiate(self, server):
        server.setmaclist(Stage.MAIL, Pmm.MAIL_TAID)
        server.setmaclist(Stage.DOT, Pmm.DOT_MSGID)
        for stage in STAGES if json.loads(self.path.read_text()).get("macros") else ():
            server.setmaclist(stage, *[one for one, stages in MACRO_STAGES.items() if stage in stages])
        return True

    def _answer(self, session, stage, *heard):
        self._hear(session, stage, *heard)
        return self._do(session, json.loads(self.path.read_text()).get(stage, 0))

    def _hear(self, session, stage, *heard):
        session.data = [*(session.data or []), [stage, *heard]]
        if json.loads(self.path.read_text()).get("macros"):
            name = {"eom": "DOT"}.get(stage, stage.upper())
            session.data.append(["macros", name, dict(session._macros)])
            session._macros.clear()

    def _do(self, session, what):
        if what == "hang":
            HUNG.wait()
        if what == "die":
            os._exit(1)
        if isinstance(what, str):
            session.setreply(what)
            return int(what[:3])
        return what

    def connect(self, session):
        return self._answer(session, "connect", session.client_addr)

    def helo(self, session, helo, ehlo):
        return self._answer(session, "helo", helo, ehlo)

    def mail(self, session, mail, args):
        return self._address(session, "mail", mail, args)

    def rcpt(self, session, rcpt, args):
        return self._address(session, "rcpt", rcpt, args)

    def _address(self, session, stage, address, args):
        self._hear(session, stage, address, *args)
        what = json.loads(self.path.read_text()).get(stage, 0)
        return self._do(session, what.get(address, 0) if isinstance(what, dict) else what)

    def rcpt_refused(self, session, rcpt, reply):
        self._answer(session, "refused", rcpt, str(reply))

    def data(self, session):
        return self._answer(session, "data")

    def msg(self, session, buf):
        return self._answer(session, "msg", buf.decode("latin-1")[:2000], len(buf))

    def eom(self, session):
        what = self._answer(session, "eom", bool(session.getmac(Pmm.MAIL_TAID)), session.getmac(Pmm.DOT_MSGID))
        if not isinstance(what, dict):
            return what
        for change, position, field in what.get("header", ()):
            session.hdr_mod(HeaderChange[change], field, position)
        for rcpt in what.get("add", ()):
            session.rcpt_add(rcpt)
        for rcpt in what.get("remove", ()):
            session.rcpt_del(rcpt)
        if "mail" in what:
            session.mail_set(what["mail"])
        if "replace" in what:
            session.msg_replace([piece.encode("latin-1") * times for piece, times in what["replace"]])
        if "quarantine" in what:
            session.quarantine(what["quarantine"])
        return self._do(session, what.get("status", Status.CONT))

    def msg_rplc_stat(self, session, reply):
        self._answer(session, "replaced", reply.code)

    def abort(self, session):
        self._answer(session, "abort")

    def close(self, session):
        print(json.dumps(session.data), flush=True)

    def unknown(self, session, cmd):
        return self._answer(session, "unknown", cmd)


class FakePolicy:
    """The filter as a test has it.

    Args:
        directory: for its socket and its script.
    """

    def __init__(self, directory):
        self.path = directory / "policy.sock"
        self._script = directory / "policy.json"
        self.place = f"unix:{self.path}"
        self.conf = f'socket {{ type = unix; path = "{self.path}"; }}'
        self.process = None
        self.script()

    def script(self, **answers):
        """Says what it answers from now on."""
        new = self._script.with_suffix(".new")
        new.write_text(json.dumps(answers))
        new.rename(self._script)

    def start(self):
        """Starts it and waits until it listens."""
        command = [sys.executable, "-m", "tests.fakes.policymilter", str(self._script), self.place]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started = "pmilter.start" in self.process.stderr.readline()
        if not started:
            self.stop()
        assert started
        return self

    def heard(self):
        """Waits for the end of a session and gives what it heard of it."""
        line = self.process.stdout.readline()
        assert line, "the filter has ended"
        return [tuple(one) for one in json.loads(line)]

    def stop(self):
        """Ends it."""
        with self.process as process:  # this closes its pipes and waits for it
            process.kill()

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()


if __name__ == "__main__":
    ScriptedPolicy.path = Path(sys.argv.pop(1))
    run_filter(ScriptedPolicy())
