"""A journald of our own keeps the fields of our lines, and metalog reads what journalctl prints."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.manual.blocks import ROOT, shown

pytestmark = pytest.mark.system

JOURNALD = "/lib/systemd/systemd-journald"
#: A /run that nobody else sees, a journald, two processes that log, and what is asked of the journal.
SCRIPT = f"""
mount --make-rprivate /
mount -t tmpfs none /run
mkdir -p /run/systemd/journal /run/log/journal
echo 0123456789abcdef0123456789abcdef > /run/machine-id
mount --bind /run/machine-id /etc/machine-id
{JOURNALD} &
journald=$!
trap 'kill $journald; wait $journald' EXIT
until [ -S /run/systemd/journal/socket ]; do sleep 0.05; done
"$1" -c "$2" "$3"
journalctl --sync || true
until journalctl -t qmgr --no-pager -q | grep -q qmgr.deferred; do sleep 0.05; done
journalctl META1G_EVENT=smtps.rcpt_refused -o cat --output-fields=META1G_CLIENT --no-pager
{{}}
"""
PROGRAM = """
import pathlib, sys
from meta1g.base import startup
from tests.unit.conf.text import load
config = load("log { protocol = journal; }")
for module, event, stat, keys in (
    ("smtps", "smtps.rcpt_refused", "550 5.1.6 moved away", {"ss_sess": "S0006613ABF309B8300", "client": "192.0.2.7"}),
    ("qmgr", "qmgr.deferred", "450 4.2.1 busy", {"rcpt_idx": 0, "delay_ms": 5.0, "tries": 1}),
):
    log = startup.open_log(module, config.glob, config.section(module), pathlib.Path("/run"))
    log.notice(event, stat, ss_ta="S0006613ABF309B8400", mail="a@client.example", rcpt=sys.argv[1], reply=int(stat[:3]), **keys)
    log.close()
"""


@pytest.mark.parametrize("page", ["metalog.md", "man/metalog.8.md"])
def test_metalog_reads_what_journalctl_prints(tmp_path, page):
    if os.geteuid() != 0 or not Path(JOURNALD).exists() or shutil.which("journalctl") is None:
        pytest.skip("journald is not installed, or we are not root, who may give it a place of its own")
    command = shown(page, "with journald").strip()
    path = f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-ec", SCRIPT.format(command), "bash", sys.executable, PROGRAM, command.split()[-1]],
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "SYSTEMD_PAGER": "cat"},
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    field, *story = done.stdout.splitlines()
    assert field == "192.0.2.7"
    assert any("refused at RCPT: 550 5.1.6 moved away" in line for line in story), done
