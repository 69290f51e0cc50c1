"""Manual pages, completion and docs/operating.md name every command, condition, option and answer of the programs."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from contrib.lib.completion import SHELLS
from contrib.lib.programs import actions, console_scripts, help_of, parser_of
from meta1g.qmgr.control.changing import VERBS
from meta1g.qmgr.control.listing import COUNTS
from meta1g.qmgr.control.selection import KEYS, STATES
from meta1g.tools import mailq, metaqueue, qmgrctl

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PROGRAMS = sorted(console_scripts())


def page(name: str) -> str:
    """What a manual page says, as one line without the requests of troff."""
    text = re.sub(r"\\f[BIPR]", "", (DOCS / f"man/{name}.8").read_text())
    for escape, meant in (
        ("\\-", "-"),
        ("\\(aq", "'"),
        ("\\(dq", '"'),
        ("\\(ga", "`"),
        ("\\(ha", "^"),
        ("\\(ti", "~"),
        ("\\&", ""),
    ):
        text = text.replace(escape, meant)
    return " ".join(re.sub(r"(?m)^\.[A-Za-z]+", "", text).split())


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_has_a_page_that_is_current(name):
    text = page(name)
    for action in actions(name):
        for word in (*action.option_strings, help_of(action, name)):
            assert " ".join(word.split()) in text, f"{word!r} is not in docs/man/{name}.8: contrib/docs renew"
    for part in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"):
        assert f" {part} " in text
    assert parser_of(name).prog == name


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_shell_completes_every_option(name):
    words = [word for action in actions(name) for word in action.option_strings]
    source = f"contrib/completion/bash/{name}"
    function = re.findall(r"^complete .*-F (\S+)", (ROOT / source).read_text(), re.M)[0]
    script = f'. "{source}"; COMP_WORDS=({name} -); COMP_CWORD=1; {function}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    printed = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert sorted(printed.stdout.split()) == sorted(words), f"contrib/docs renew; {printed.stderr}"


@pytest.mark.parametrize("name", PROGRAMS)
def test_zsh_knows_every_option_and_its_meaning(name):
    path = ROOT / f"contrib/completion/zsh/_{name}"
    text = path.read_text()
    assert text.startswith(f"#compdef {name}\n")
    known = re.findall(r"^  (?:\{(?P<several>[^}]+)\})?\"(?P<one>-[^[]+)?\[", text, re.M)
    found = [word for several, one in known for word in (several or one).split(",")]
    assert sorted(found) == sorted(word for action in actions(name) for word in action.option_strings)
    if shutil.which("zsh"):
        subprocess.run(["zsh", "-n", path], check=True, timeout=60)


def test_the_wheel_has_all_pages_and_completions():
    config = (ROOT / "setup.cfg").read_text()
    for line in ("share/man/man5 = docs/man/*.5", "share/man/man8 = docs/man/*.8"):
        assert line in config
    assert "share/bash-completion/completions = contrib/completion/bash/*" in config
    assert "share/zsh/site-functions = contrib/completion/zsh/*" in config
    for shell, form in SHELLS.items():
        found = sorted(path.name for path in (ROOT / "contrib/completion" / shell).iterdir())
        assert found == [form.format(name) for name in PROGRAMS]
    assert sorted(path.stem for path in (DOCS / "man").glob("*.8")) == PROGRAMS
    assert {path.name for path in (DOCS / "man").glob("*.5")} >= {"meta1.conf.5", "mailertable.5", "access.5", "aliases.5"}


def test_every_command_and_condition_is_described():
    operating = (DOCS / "operating.md").read_text()
    pages = {name: (DOCS / f"man/{name}.8.md").read_text() for name in ("qmgrctl", "metaqueue")}
    for word, sentence in qmgrctl.SENTENCES.items():
        assert f" {word} {sentence.arguments} ".replace("  ", " ") in page("qmgrctl")
        assert sentence.meaning in page("qmgrctl")
        assert f"`{word}`" in operating or f"qmgrctl {word}" in operating or f"--json {word}" in operating, word
    for key in KEYS:
        assert f"`{key}=`" in pages["qmgrctl"]
        assert f"`{key}=" in operating
    for word in (*(verb.done for verb in VERBS.values()), *STATES):
        assert word in operating
    for by in COUNTS:
        assert by in page("mailq")
    for word in (metaqueue._LIST, *metaqueue._COMMANDS):
        assert f"\n`{word}`" in pages["metaqueue"]


def test_the_tools_count_what_qmgr_can_count():
    assert set(mailq.BY) == set(COUNTS)
