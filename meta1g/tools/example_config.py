"""The configuration that sm.setup installs if there is none.

Ref: meta1.conf(5); example of meta1.conf(5) (names and grouping as there).
"""

from pathlib import Path
from typing import Final

from meta1g.base.logsyslog import JOURNAL_SOCKET, SYSLOG_SOCKET, listens
from meta1g.tools.selfsigned import CERT, KEY

_TEXT: Final = """\
# Configuration of meta1g, a mail gateway.  Check it with: smconf {conf}
#
# Components start from the last section to the first.  Explanations of all options: smconf -h SECTION.

{queue_line}
# hostname = "mx.example.org";          # name in greetings and headers; the system's if it is not given
{log_line}

qmgr {{
  start_action = wait;
  path = qmgr;
  arguments = "qmgr -f {conf}";
  restart_dependencies = {{ smtps, smtpc, smar }};
}}

smtps {{
  listen_socket {{ type = inet; port = 25; }}
  start_action = pass;
  pass_fd_socket = smtps/smtpsfd;
  path = smtps;
  arguments = "smtps -f {conf}";
  {cdb_line}
  {tls_line}
}}

smtpc {{
  start_action = wait;
  path = smtpc;
  arguments = "smtpc -f {conf}";
}}

smar {{
  start_action = wait;
  path = smar;
  arguments = "smar -f {conf}";
  restart_dependencies = {{ smtps, qmgr }};

  relay_from = {{ 127.0.0.1, "::1" }};     # clients that may send mail anywhere through this machine
  # relay_to = {{ example.org }};         # domains that everybody may send mail to through this machine
  # mailertable {{ file = "mailertable.db"; }}
  #                                     # where mail goes: createmap {etc}/mailertable.db < {etc}/mailertable
}}
"""


def log_line(journal: Path = JOURNAL_SOCKET, syslog: Path = SYSLOG_SOCKET) -> str:
    """Gives the `log` section for this machine: journald if it listens, syslog if that does, else a file for each component."""
    if listens(journal):
        return "log { facility = mail; protocol = journal; }      # see it with: journalctl -f META1G_EVENT=qmgr.delivered"
    if listens(syslog):
        return "log { facility = mail; }"
    return (
        "# log { facility = mail; }             # nobody listens at /dev/log: lines go to COMPONENT.log in the queue directory"
    )


def example(conf: Path, queue: Path, cdb_gid: int | None, *, tls: bool = False) -> str:
    """Gives the text.

    Args:
        conf: where it is going to stand.
        queue: the queue directory.
        cdb_gid: group of content files; None if everything runs as one account.
        tls: there is a certificate, see selfsigned.py.
    """
    return _TEXT.format(
        conf=conf,
        etc=conf.parent,
        log_line=log_line(),
        tls_line=f"{'' if tls else '# '}tls {{ cert_file = {CERT}; key_file = {KEY}; }}",
        queue_line=f'queue_directory = "{queue}";',
        cdb_line="# CDB_gid = 262;" if cdb_gid is None else f"CDB_gid = {cdb_gid};      # group that smtpc reads content with",
    )
