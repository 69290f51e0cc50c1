"""A filter on pymilter that does what recipes.py says for the sender, and writes down what it hears.

    /usr/bin/python3 filter.py SOCKET LOG

Each line of LOG is a JSON list: callback, its arguments, and values of macros, by name.
"""

import json
import sys

import Milter
from recipes import RECIPES, Recipe

VERDICTS = {"reject": Milter.REJECT, "tempfail": Milter.TEMPFAIL, "discard": Milter.DISCARD, "accept": Milter.ACCEPT}
MACROS = {
    "connect": ("j", "_", "{daemon_name}", "{client_addr}", "{client_name}", "{client_ptr}", "{client_resolve}"),
    "envfrom": ("{mail_addr}", "{mail_mailer}", "{auth_type}", "{auth_authen}"),
    "envrcpt": ("{rcpt_addr}", "{rcpt_mailer}"),
}
LOG = None


class Twin(Milter.Base):
    """Does as it is told."""

    def __init__(self):
        self.recipe = Recipe()

    def _hear(self, callback, *args):
        macros = {name: self.getsymval(name) for name in MACROS.get(callback, ())}
        LOG.write(json.dumps([callback, list(args), macros]) + "\n")
        LOG.flush()
        if callback != self.recipe.at:
            return Milter.CONTINUE
        if self.recipe.reply:
            self.setreply(*self.recipe.reply)
        return VERDICTS[self.recipe.verdict]

    def connect(self, hostname, family, hostaddr):
        return self._hear("connect", hostname, hostaddr[0] if hostaddr else None)

    def hello(self, hostname):
        return self._hear("hello", hostname)

    def envfrom(self, f, *params):
        self.recipe = RECIPES.get(f.strip("<>").partition("@")[0], Recipe())
        return self._hear("envfrom", f, *params)

    def envrcpt(self, to, *params):
        return self._hear("envrcpt", to, *params)

    def data(self):
        return self._hear("data")

    def header(self, field, value):
        return self._hear("header", field, value)

    def eoh(self):
        return self._hear("eoh")

    def body(self, chunk):
        return self._hear("body", chunk.decode("latin-1"))

    def unknown(self, cmd):
        return self._hear("unknown", cmd if isinstance(cmd, str) else cmd.decode("latin-1"))

    def eom(self):
        for method, *args in self.recipe.changes:
            getattr(self, method)(*args)
        return self._hear("eom")

    def abort(self):
        return self._hear("abort")

    def close(self):
        LOG.write('["close", [], {}]\n')
        LOG.flush()
        return Milter.CONTINUE


if __name__ == "__main__":
    LOG = open(sys.argv[2], "a")  # noqa: SIM115  as long as the process
    Milter.factory = Twin
    Milter.set_flags(
        Milter.ADDHDRS | Milter.CHGHDRS | Milter.CHGBODY | Milter.ADDRCPT | Milter.ADDRCPT_PAR | Milter.DELRCPT
        | Milter.CHGFROM | Milter.QUARANTINE
    )  # fmt: skip
    Milter.runmilter("twin", sys.argv[1], 600)
