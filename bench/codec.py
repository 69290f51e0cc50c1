"""What the records of one message cost: the twelve frames of a relayed message, written and read, best of several rounds.

Usage: python -m bench.codec
"""

import time
from collections.abc import Callable

from meta1g.rcb import codec
from meta1g.rcb.protocols import PROTOCOLS
from meta1g.rcb.schema import Message
from tests.unit.rcb import reference
from tests.unit.rcb.samples import sparse

NAMES = (
    "NewSession", "CheckClient", "NewTransaction", "CheckMail", "NewRecipient", "CheckRcpt",
    "CloseTransaction", "Stat", "Resolve", "Route", "Deliver", "DeliveryResult",
)  # fmt: skip
ROUNDS, RUNS = 7, 400


def best_us(function: Callable[[], object]) -> float:
    """Gives the shortest time of a run, microseconds."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(RUNS):
            function()
        best = min(best, (time.perf_counter() - start) / RUNS * 1e6)
    return best


def main() -> None:
    """Prints both codecs."""
    table = {rt: cls for pair in PROTOCOLS for side in (pair.from_client, pair.from_server) for rt, cls in side.items()}
    named = {cls.__name__: cls for cls in table.values()}
    messages: list[Message] = [sparse(named[name]) for name in NAMES if name in named]
    bodies = [codec.encode(msg, 7)[4:] for msg in messages]
    for name, one in (("generated", codec), ("reference", reference)):
        written = best_us(lambda one=one: [one.encode(msg, 7) for msg in messages])
        read = best_us(lambda one=one: [one.decode(table, body) for body in bodies])
        print(f"{name:10} {len(messages)} messages: encode {written:6.1f} us, decode {read:6.1f} us")


if __name__ == "__main__":
    main()
