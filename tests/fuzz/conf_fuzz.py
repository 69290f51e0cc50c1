"""Feeds damaged configurations to the parser: whatever comes, only the configuration error may come back.

    python -m tests.fuzz.conf_fuzz [COUNT] [SEED]

The unit tests run 2,000 of them.
"""

import random
import sys
import time
from pathlib import Path

from meta1g.conf.check import check_text
from meta1g.conf.errors import ConfigError
from meta1g.conf.tree import Source

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
MUTATIONS_MAX = 6
RIGHT, WRONG_TEXT = "right", "wrong"


def corpus() -> list[str]:
    """Gives the texts to damage: samples that are right, and the wrong ones of the unit tests."""
    files = [*sorted(SAMPLES.glob("*.conf")), *sorted(WRONG.glob("*.conf"))]
    return [file.read_bytes().decode("utf-8", "replace") for file in files]


def mutate(text: str, texts: list[str], rng: random.Random) -> str:
    """Damages a text in a few places."""
    for _ in range(rng.randint(1, MUTATIONS_MAX)):
        at = rng.randrange(len(text) + 1)
        end = min(len(text), at + rng.choice((0, 1, 1, 2, 5, 20, 100)))
        what = rng.randrange(5)
        if what == 0:
            text = text[:at] + text[end:]
        elif what == 1:
            text = text[:at] + rng.choice(PIECES) + text[end:]
        elif what == 2:
            text = text[:at] + text[at:end] * 2 + text[end:]
        elif what == 3:
            other = rng.choice(texts)
            start = rng.randrange(len(other) + 1)
            text = text[:at] + other[start : start + rng.randrange(80)] + text[end:]
        else:
            text = text[:at] + chr(rng.choice((rng.randrange(128), rng.randrange(0x3000)))) + text[end:]
    return text


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


def run(count: int, seed: int) -> dict[str, int]:
    """Damages and checks count texts; gives how many were still right."""
    rng = random.Random(seed)
    texts = corpus()
    seen = {RIGHT: 0, WRONG_TEXT: 0}
    for number in range(count):
        text = mutate(rng.choice(texts), texts, rng)
        try:
            seen[attempt(text, lenient=number % 2 == 0)] += 1
        except Exception:
            sys.stderr.write(f"seed {seed}, number {number}: {text!r}\n")
            raise
    return seen


def main(argv: list[str]) -> int:
    """Runs the command."""
    count = int(argv[0]) if argv else 100_000
    seed = int(argv[1]) if len(argv) > 1 else random.randrange(1 << 32)
    start = time.monotonic()
    seen = run(count, seed)
    sys.stdout.write(f"{count} texts, seed {seed}, {time.monotonic() - start:.1f} s: {seen}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
