"""Wrong files and what is said about them: wrong/NAME.conf, wrong/NAME.txt."""

from pathlib import Path

import pytest

from meta1g.conf.load import ConfigError, load_file

WRONG = Path(__file__).parent / "wrong"
NAMES = sorted(path.stem for path in WRONG.glob("*.conf"))


@pytest.mark.parametrize("name", NAMES)
def test_the_error_message_is(name, monkeypatch):
    monkeypatch.chdir(WRONG)
    with pytest.raises(ConfigError) as caught:
        load_file(Path(f"{name}.conf"))
    assert caught.value.cause + "\n" == Path(f"{name}.txt").read_text()


def test_there_are_enough_of_them_and_none_is_without_its_message():
    assert len(NAMES) >= 60
    assert sorted(path.stem for path in WRONG.glob("*.txt")) == NAMES
