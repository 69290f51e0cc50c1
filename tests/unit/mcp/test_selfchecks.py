"""Components that check themselves in one process: each is told for itself, and one that breaks off costs its own check."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from meta1g.base.sysexits import EX_CANTCREAT, EX_CONFIG, EX_OSERR, EX_SOFTWARE, EX_TEMPFAIL, EX_USAGE
from meta1g.mcp.selfchecks import Item, pack, unpack

COMPONENTS = ("qmgr", "smtps", "smtpc", "smar")
#: Python that every process of meta1g runs first: it takes the place of the check of one component.
BROKEN = """
import sys
if any("meta1g.mcp." in word for word in sys.orig_argv):
    import meta1g.{component}.check as module
    def main(argv, right=module.main):
        {action}
        return right(argv)
    module.main = main
"""


def sections(**options: str) -> tuple[str, ...]:
    return tuple(f"{name} {{ path = {name}; {options.get(name, '')} }}\n" for name in COMPONENTS)


@pytest.fixture
def checked(mcp):
    """Lets mcp check a configuration; gives exit code and lines."""

    def run(component: str = "", action: str = "", **options: str) -> tuple[int, list[str]]:
        if component:
            (mcp.directory / "sitecustomize.py").write_text(BROKEN.format(component=component, action=action))
            mcp.env["PYTHONPATH"] = os.pathsep.join([str(mcp.directory), str(Path.cwd())])
        mcp.start(*sections(**options), ready=False, arguments=("-c",))
        code = mcp.end()
        return code, [line.removeprefix("mcp: ") for line in mcp.errors.splitlines()]

    return run


@pytest.mark.parametrize(
    "items",
    [[], [Item("smar", False, ())], [Item("qmgr", True, ("-f", "0", "1")), Item("smar", False, ("smar", "", "-L"))]],
)
def test_what_is_to_be_checked_passes_through_a_command_line_unchanged(items):
    assert list(unpack(pack(items))) == items


def test_components_of_one_account_check_themselves_in_one_process(checked, mcp):
    action = f"open('{mcp.directory}/checks', 'a').write(str(__import__('os').getpid()) + ' ')"
    note = "".join(BROKEN.format(component=name, action=action) for name in COMPONENTS)
    (mcp.directory / "sitecustomize.py").write_text(note)
    mcp.env["PYTHONPATH"] = os.pathsep.join([str(mcp.directory), str(Path.cwd())])
    assert checked() == (0, [])
    pids = (mcp.directory / "checks").read_text().split()
    assert (len(pids), len(set(pids))) == (4, 1)


#: What a check of smar can tell of its process: its program, session, signals, descriptors, directory, environment.
FACTS = """
import json, os, signal, sys
if any("meta1g.mcp." in word for word in sys.orig_argv):
    import meta1g.smar.check as module
    def main(argv, right=module.main):
        code = right(argv)
        links = [f"/proc/self/fd/{number}" for number in range(100)]
        facts = {
            "forked": "meta1g.mcp.control" in sys.modules,
            "leads": os.getsid(0) == os.getpid(),
            "handled": [int(n) for n in signal.valid_signals() if callable(signal.getsignal(n)) and n != signal.SIGINT],
            "open": [os.readlink(link).split(":")[0] for link in links if os.path.lexists(link)],
            "cwd": os.getcwd(),
            "umask": os.umask(0),
            "quick": os.environ.get("META1G_QUICK_CHECK"),
            "notify": os.environ.get("NOTIFY_SOCKET"),
            "queue": bool(os.environ.get("META1G_QUEUE_ID")),
        }
        open("FILE", "a").write(json.dumps(facts) + "\\n")
        return code
    module.main = main
"""


def test_a_start_goes_on_in_what_mcp_has_loaded_and_a_reload_starts_python_anew_with_the_same_surroundings(mcp):
    (mcp.directory / "sitecustomize.py").write_text(FACTS.replace("FILE", f"{mcp.directory}/facts"))
    mcp.env["PYTHONPATH"] = os.pathsep.join([str(mcp.directory), str(Path.cwd())])
    section = sections()[-1]
    mcp.start(section)
    assert mcp.reload(section + "# again\n").exit_code == 0
    start, again = map(json.loads, (mcp.directory / "facts").read_text().splitlines())
    assert (start.pop("forked"), again.pop("forked")) == (True, False)
    assert start.pop("open") == ["/dev/null", "pipe", "pipe", "/memfd"]
    assert again.pop("open")[:3] == ["/dev/null", "pipe", "pipe"]
    assert start == again
    assert start | {"cwd": str(mcp.queue), "handled": [], "leads": True, "notify": None, "quick": "1"} == start


def test_what_several_components_find_is_told_in_the_order_of_the_file_and_named(checked):
    code, lines = checked(
        qmgr='log { file = "/nowhere/q"; }', smtps='log { file = "/nowhere/s"; }', smar='log { file = "/nowhere/a"; }'
    )
    assert [line.split(":")[0] for line in lines] == ["qmgr", "smtps", "smar"]
    assert [line for line in lines if "/nowhere" not in line] == []
    assert code != 0


@pytest.mark.parametrize(
    ("component", "action", "code", "text"),
    [
        ("smar", "__import__('os').kill(__import__('os').getpid(), 9)", EX_OSERR, "ended by SIGKILL: it said nothing"),
        ("qmgr", "__import__('os')._exit(0)", EX_OSERR, "ended with exit code 0: it said nothing"),
        ("smtps", "raise ZeroDivisionError('a bug')", 1, "ended with exit code 1: ZeroDivisionError: a bug"),
        ("qmgr", "raise SystemExit(2)", 2, "ended with exit code 2: it said nothing"),
        ("smar", "sys.stderr.write('\\0 1\\n' + 'x' * 100_000 + '\\nlast'); raise SystemExit(64)", EX_USAGE, "64: last"),
    ],
)
def test_a_check_that_breaks_off_is_told_and_the_others_are_checked_all_the_same(checked, component, action, code, text):
    others = {name: f'log {{ file = "/nowhere/{name}"; }}' for name in COMPONENTS if name != component}
    found, lines = checked(component, action, **others)
    by_name = {line.split(":")[0]: line for line in lines}
    assert by_name.keys() == set(COMPONENTS)
    assert text in by_name[component]
    assert all("/nowhere" in by_name[name] for name in others)
    assert found == (code if component == "qmgr" else EX_CANTCREAT)


def test_a_check_that_hangs_is_ended_and_the_others_are_checked_all_the_same(checked, mcp):
    mcp.prelude = "import meta1g.mcp.precheck as p; p.THOROUGH_LIMIT_S = 3.0"
    code, lines = checked("smtps", "__import__('signal').pause()", smar='log { file = "/nowhere/smar"; }')
    assert "smtps: its check did not end within 3 s" in lines
    assert any(line.startswith("smar: ") and "/nowhere" in line for line in lines)
    assert code == EX_TEMPFAIL


def test_each_check_reads_the_configuration_that_mcp_has_checked(tmp_path):
    """Not the file, which may have been edited since."""
    conf = tmp_path / "meta1.conf"
    conf.write_text("nonsense")
    items = [Item(name, False, ("-f", str(conf))) for name in COMPONENTS]
    read, write = os.pipe()
    os.write(write, f'queue_directory = "{tmp_path}/none";\n'.encode())
    os.close(write)
    with (tmp_path / "copy").open("w+") as copy, os.fdopen(read) as source:
        copy.write(source.read())
        copy.flush()
        result = subprocess.run(
            [sys.executable, "-m", "meta1g.mcp.selfchecks", *pack(items)],
            env={**os.environ, "META1G_CONFIG_FD": str(copy.fileno())},
            pass_fds=[copy.fileno()],
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert b"nonsense" not in result.stderr
    assert result.stderr.count(b"\0") == len(COMPONENTS)
    assert f"\0{EX_SOFTWARE}".encode() not in result.stderr
    assert result.stderr.count(f"\0{EX_CONFIG}\n".encode()) == len(COMPONENTS), result.stderr
