"""Exit codes are those of the table in docs/checking.md, by the kind of what is wrong, for every program."""

import os
import re
import shutil
import sys
import tempfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from meta1g.base import sysexits

ROOT = Path(__file__).parents[3]
NOBODY = 65534
#: Programs that read the configuration, with their command line before its name.
READERS = {
    "smconf --text": ["--text"],
    "smconf": [],
    "mapchk": ["-f"],
    "sm.check": ["-f"],
    "mcp": ["-c"],
    "smtps": ["--check", "-f"],
    "smtpc": ["--check", "-f"],
    "smar": ["--check", "-f"],
    "qmgr": ["--check", "-f"],
    "mailq": ["-f"],
    "qmgrctl": ["status", "-f"],
    "sm.reload": ["-f"],
    "metaqueue": ["list", "-f"],
    "metalog": ["a@b.example", "-f"],
    "tlsrpt": ["-f"],
    "authfilter": ["-c", "-f"],
    "milter-regex": ["-c", "-f"],
    "milter-spamd": ["-c", "-f"],
    "pmult": ["-c", "-f"],
}
CODES = {"missing.conf": sysexits.EX_CONFIG, "wrong.conf": sysexits.EX_CONFIG, "closed.conf": sysexits.EX_NOPERM}
#: They need the queue directory alone, and say nothing of other lines.
FORGIVEN = {(one, "wrong.conf") for one in ("mailq", "qmgrctl", "sm.reload")}


def end(program, *arguments, cwd):
    """Runs a program in a process of its own, as nobody if root runs the test; gives its exit code and what it said.

    The process is a copy of this one: a new one for each would need a minute for all their libraries.
    """
    run = entry_points(group="console_scripts")[program.split()[0]].load()
    said = cwd / "said"
    child = os.fork()
    if child == 0:
        _become(run, [program.split()[0], *map(str, arguments)], said)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said.read_text()


def _become(run, argv, said):
    code = 255
    try:
        sys.stderr = said.open("w")
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  the process ends
        os.chdir(said.parent)
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        sys.argv = argv
        code = run()
    except SystemExit as end:
        code = end.code
    finally:
        sys.stderr.flush()
        os._exit(code or 0)


@pytest.fixture(scope="module")
def etc():
    """Gives a directory that everybody may enter."""
    place = Path(tempfile.mkdtemp(prefix="meta1g-exit-"))
    place.chmod(0o755)
    (place / "wrong.conf").write_text("nonsense = 1;\n")
    (place / "closed.conf").write_text("hostname = gw.example.org;\n")
    (place / "secrets").write_text("gw.example.org joe secret\n")
    (place / "queue").mkdir()
    for name, text in (
        ("map", 'smar { mailertable { file = "secrets"; type = text; } }'),
        ("logins", 'smtpc { auth { file = "secrets"; } }'),
        ("authorities", 'smtpc { tls { CAcert_file = "secrets"; } }'),
        ("users", 'smtps { auth { password_file = "secrets"; } }'),
        ("texts", 'qmgr { dsn_templates = "secrets"; }'),
    ):
        (place / f"{name}.conf").write_text(f'hostname = gw.example.org; queue_directory = "{place}/queue";\n{text}\n')
    for name in ("closed.conf", "secrets"):
        (place / name).chmod(0)
    yield place
    shutil.rmtree(place)


def test_the_table_has_all_codes_by_their_names():
    text = (ROOT / "docs/checking.md").read_text().partition("\n## Exit codes")[2]
    rows = {name: int(code) for code, name in re.findall(r"^\| (\d+) \| (EX_\w+) \|", text, re.MULTILINE)}
    assert rows == {name: getattr(sysexits, name) for name in dir(sysexits) if name.startswith("EX_")}


def test_the_manual_pages_name_no_other_codes():
    known = {str(getattr(sysexits, name)) for name in dir(sysexits) if name.startswith("EX_")} | {"1", "126", "127"}
    for page in sorted((ROOT / "docs/man").glob("*.8")):
        said = page.read_text().partition(".SH EXIT STATUS")[2].partition(".SH")[0]
        assert set(re.findall(r"(?<![\w.])\d+(?=[;,:. ])", said)) <= known, page.name


@pytest.mark.parametrize(("program", "name"), [(one, name) for one in READERS for name in CODES if (one, name) not in FORGIVEN])
@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_a_configuration_that_is_missing_wrong_or_closed(program, name, etc):
    found, said = end(program, *READERS[program], etc / name, cwd=etc)
    assert (found, f"{name}:" in said) == (CODES[name], True), said


@pytest.mark.parametrize(
    ("program", "name"),
    [("smar", "map"), ("mapchk", "map"), ("smtpc", "logins"), ("smtpc", "authorities"), ("smtps", "users"), ("qmgr", "texts")],
)
def test_a_file_that_the_account_may_not_read(program, name, etc):
    found, said = end(program, *READERS[program], etc / f"{name}.conf", cwd=etc)
    assert (found, "secrets" in said) == (sysexits.EX_NOPERM, True), said


@pytest.mark.parametrize(
    "program", [*(name for name in READERS if " " not in name), "createmap", "log2time", "runas", "statit"]
)
def test_a_command_line_that_is_wrong(program, etc):
    found, said = end(program, "--nonsense", cwd=etc)
    assert found == sysexits.EX_USAGE, said
    assert said.startswith(f"{program}: ")
