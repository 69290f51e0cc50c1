"""The programs of this package run, and an input that breaks something can be repeated."""

from importlib import import_module
from pathlib import Path

import pytest

from tests.fuzz.runner import asserting, damaged, main, run

HERE = Path(__file__).parent
PROGRAMS = sorted(path.stem for path in HERE.glob("*_fuzz.py"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_runs_and_stands_among_the_long_commands(name, capsys):
    module = import_module(f"tests.fuzz.{name}")
    only = list(module.TARGETS)[-1]
    assert main(module.__doc__, module.TARGETS, ["30", "--seed", "1", "--only", only]) == 0
    assert "30 inputs, seed 1" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(module.__doc__, module.TARGETS, ["--help"])
    assert ended.value.code == 0
    assert f"python -m tests.fuzz.{name}" in capsys.readouterr().out
    for page in ("CONTRIBUTING", "docs/building.md"):
        assert f"python -m tests.fuzz.{name}" in (HERE.parents[1] / page).read_text()


def test_what_breaks_something_is_repeated_by_its_number():
    def odd(rng):
        assert rng.random() < 0.99

    with pytest.raises(AssertionError) as failed:
        run(asserting(odd), 10_000, 1)
    words = failed.value.__notes__[0].partition(": ")[2].split()
    with pytest.raises(AssertionError):
        main("", asserting(odd), words)


def test_each_kind_of_damage_is_done():
    import random

    data = [damaged(b"abc", random.Random(number), [b"P"], [b"xyz"], 1) for number in range(1000)]
    assert {b"aPbc", b"axyzbc", b"ab", b"ababc"} <= {*data}
