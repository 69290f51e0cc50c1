"""What all programs of this package have in common: damage, many inputs one after the other, and the command line.

    python -m tests.fuzz.NAME [COUNT] [--seed N] [--begin N] [--only TARGET ...]

A target takes a source of chance, makes an input, feeds it, and gives the words that it counts by; anything that it raises is
what is looked for.  Each input has a number and depends on nothing else than that and the seed, so `--begin` repeats it.
"""

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

Target = Callable[[random.Random], Iterable[str]]
Text = TypeVar("Text", str, bytes)
#: Octets, or characters, that are cut out or copied at once.
_LENGTHS = (0, 0, 1, 1, 2, 5, 20, 80)


def damaged(data: Text, rng: random.Random, pieces: Sequence[Text], others: Sequence[Text], most: int = 4) -> Text:
    """Damages a text in 1 to `most` places: something is cut out, doubled, or takes the place of something.

    Args:
        data: the text.
        rng: chance.
        pieces: what may be put in.
        others: texts that parts may be copied from.
        most: places.
    """
    for _ in range(rng.randint(1, most)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice(_LENGTHS))
        other = rng.choice(others)
        begin = rng.randrange(len(other) + 1)
        odd = (
            bytes((rng.randrange(256),))
            if isinstance(data, bytes)
            else chr(rng.choice((rng.randrange(128), rng.randrange(0x3000))))
        )
        put = rng.choice((data[:0], data[at:end] * 2, rng.choice(pieces), other[begin : begin + rng.choice((1, 10, 300))], odd))
        data = data[:at] + put + data[end:]  # type: ignore[operator]
    return data


def run(targets: Mapping[str, Target], count: int, seed: int, begin: int = 0) -> Counter[str]:
    """Feeds `count` inputs to the targets in turn; gives how often each word came, behind the name of its target."""
    names = list(targets)
    seen: Counter[str] = Counter()
    for number in range(begin, begin + count):
        name = names[number % len(names)]
        try:
            words = targets[name](random.Random(f"{seed} {number}"))
        except Exception as error:
            error.add_note(f"{name}, repeated by: 1 --seed {seed} --begin {number} --only {' '.join(names)}")
            raise
        seen.update(f"{name} {word}" for word in words)
    return seen


def asserting(*looks: Callable[[random.Random], object]) -> dict[str, Target]:
    """Makes targets of functions that tell by asserting; what they give is counted if it is True."""

    def target(look: Callable[[random.Random], object], rng: random.Random) -> Iterable[str]:
        return ["right"] if look(rng) in (True, None) else []

    return {look.__name__: partial(target, look) for look in looks}


def main(about: str | None, targets: Mapping[str, Target], argv: list[str] | None = None) -> int:
    """Runs a program of this package; gives its exit code."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", nargs="?", type=int, default=100_000, help="inputs; 100,000 if not given")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--begin", type=int, default=0, metavar="N", help="number of the first input")
    parser.add_argument(
        "--only", nargs="+", choices=list(targets), default=list(targets), metavar="TARGET", help=", ".join(targets)
    )
    options = parser.parse_args(argv)
    start = time.monotonic()
    seen = run({name: targets[name] for name in options.only}, options.count, options.seed, options.begin)
    sys.stdout.write(
        f"{options.count} inputs, seed {options.seed}, {time.monotonic() - start:.1f} s; {dict(sorted(seen.items()))}\n"
    )
    return 0
