"""Feeds damaged configurations to the parser: whatever comes, only the configuration error may come back.

    python -m tests.fuzz.conf_fuzz 100000

The unit tests run 2,000 of them.
"""

import random
from functools import cache
from pathlib import Path

from meta1g.conf.check import check_text
from meta1g.conf.errors import ConfigError
from meta1g.conf.tree import Source
from tests.fuzz.runner import damaged, main

SAMPLES = Path(__file__).parents[1] / "compat" / "samples"
WRONG = Path(__file__).parents[1] / "unit" / "conf" / "wrong"
PIECES = [
    *(
        "{",
        "}",
        "=",
        ";",
        ",",
        '"',
        "'",
        "\\",
        "#",
        "\n",
        " ",
        "{ ",
        " }\n",
        "= {",
        "};",
        ";;",
        "\x00",
        "\x1f",
        "\u00a0",
        "\u2028",
        "é",
    ),
    *("smtps", "qmgr", "smar", "map", "flags", "dont_", "no_", "!", "5m3s", "99999999999999999999", "-1", "0x", "08", "1e9"),
    *('"a" "b"', '"\\', "\\\n", "/*", "*/", "//", "::1", "10.0.0.0/8", "listen_socket {", "type = unix;", "name = x;", "TLS"),
]
RIGHT, WRONG_TEXT = "right", "wrong"


@cache
def corpus() -> list[str]:
    """Gives the texts to damage: samples that are right, and the wrong ones of the unit tests."""
    files = [*sorted(SAMPLES.glob("*.conf")), *sorted(WRONG.glob("*.conf"))]
    return [file.read_bytes().decode("utf-8", "replace") for file in files]


def attempt(text: str, *, lenient: bool = False) -> str:
    """Checks a text; anything but a configuration or its error is raised.

    Returns:
        RIGHT or WRONG_TEXT.
    """
    try:
        config = check_text(Source("fuzz.conf", text), Path("/etc/meta1/fuzz.conf"), lenient=lenient)
    except ConfigError as error:
        right_error(error, text)
        return WRONG_TEXT
    for section in config.all_sections:
        assert all(item.row.name for item in section.items())
    return RIGHT


def right_error(error: ConfigError, text: str) -> None:
    """Asserts that an error points into the text."""
    assert error.problems, text
    assert all(0 <= problem.pos <= len(text) for problem in error.problems), text
    assert error.cause.startswith("fuzz.conf:"), error.cause


def text(rng: random.Random) -> tuple[str]:
    """Damages and checks a text."""
    texts = corpus()
    return (attempt(damaged(rng.choice(texts), rng, PIECES, texts, 6), lenient=rng.random() < 0.5),)


TARGETS = {"text": text}


if __name__ == "__main__":
    raise SystemExit(main(__doc__, TARGETS))
