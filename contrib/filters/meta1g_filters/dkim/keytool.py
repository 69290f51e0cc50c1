"""dkimkey: keys of DKIM, the records that publish them, and their change.

    dkimkey make example.org                   a new key, and the record to publish
    dkimkey show example.org                   the records of all keys
    dkimkey check example.org                  whether the published records fit the keys
    dkimkey rotate example.org                 new keys for those at work; what to publish, change and withdraw, and when
    dkimkey list                               all keys, and what is to be done with them

A key that others may still need stays: while its signatures are on the way its record has to be there.

Ref: docs/dkim.md; RFC 6376 3.6; RFC 8301; RFC 6781 is the model of the order: publish, use, withdraw.
"""

import argparse
import ipaddress
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NoReturn

from meta1g.base import cli, paths, sysexits
from meta1g.base.cli import CliError
from meta1g.base.clock import Clock, SystemClock
from meta1g.base.dataclass import dataclass
from meta1g_filters.dkim.keyrecord import ED25519, RSA, RSA_MAX_BITS, RSA_SIGN_MIN_BITS
from meta1g_filters.dkim.keys import (
    KeyFile,
    KeyFileError,
    KeyPlan,
    day,
    domains_of,
    key_files,
    make_key,
    public_octets,
    record_lines,
    write_key_file,
)
from meta1g_filters.dkim.signature import SignatureError, one_record
from meta1g_filters.dkim.tags import domain_name
from meta1g_filters.dns import FilterResolver

_PROG: Final = "dkimkey"
_DAY_S: Final = 86_400
#: Days until a new record is known everywhere, and until no signature of the old key is on the way any more.
LEAD_DAYS: Final = 2
KEEP_DAYS: Final = 14
_TTL_S: Final = 3600
_LETTERS: Final = {RSA: "s", ED25519: "e"}
_DAYS_MAX: Final = 3650
#: Options that not all commands take, and who takes which.
_OF_SOME: Final = {"-s": "selector", "-a": "kinds", "-b": "bits", "--lead": "lead", "--keep": "keep", "-n": "server"}
_TAKES: Final = {
    "make": {"-s", "-a", "-b"},
    "show": {"-s"},
    "check": {"-s", "-n"},
    "rotate": {"-s", "-b", "--lead", "--keep"},
    "list": set[str](),
}


@dataclass(frozen=True, slots=True)
class KeyOrder:
    """What the command line wants.

    Args:
        domain: whose keys; empty for all.
        directory: where they are.
        selector: of the key; empty for all, or for a new name.
        kinds: of new keys.
        bits: length of new RSA keys.
        lead_days: from publishing to signing.
        keep_days: from signing with the new key to withdrawing the record of the old one.
        server: name server to ask, and its port; none: those of the system.
    """

    domain: str
    directory: Path
    selector: str
    kinds: tuple[str, ...]
    bits: int
    lead_days: int
    keep_days: int
    server: tuple[tuple[str, int], ...]

    def files(self) -> list[KeyFile]:
        """Gives the keys that are meant.

        Raises:
            CliError: there are none, or one is wrong.
        """
        try:
            found = [one for domain in self._domains() for one in key_files(self.directory, domain)]
        except KeyFileError as error:
            raise CliError(str(error), sysexits.EX_DATAERR) from error
        found = [one for one in found if self.selector in ("", one.selector)]
        if not found:
            what = f"{self.domain}{f' with the selector {self.selector}' if self.selector else ''}"
            raise CliError(f"{self.directory}: no key of {what or 'any domain'}; dkimkey make makes one", sysexits.EX_NOINPUT)
        return found

    def _domains(self) -> list[str]:
        return [self.domain] if self.domain else domains_of(self.directory)


def main(argv: list[str], clock: Clock | None = None) -> int:
    """Runs the program; gives its exit code."""
    parser = _parser()
    args = parser.parse_intermixed_args(argv)
    useless = [
        option for option, name in _OF_SOME.items() if getattr(args, name) is not None and option not in _TAKES[args.command]
    ]
    if useless:
        parser.error(f"{args.command} takes no {', '.join(useless)}")
    try:
        order = _order(args)
    except ValueError as error:
        parser.error(str(error))
    return COMMANDS[args.command](order, (clock or SystemClock()).now())


def _order(args: argparse.Namespace) -> KeyOrder:
    """Reads what the parser could not.

    Raises:
        ValueError: a value makes no sense.
    """
    domain = domain_name(args.domain or "")
    if "." not in domain and (args.domain or args.command != "list"):
        raise ValueError(f"{args.domain} is no domain" if args.domain else f"{args.command} needs a domain")
    selector, kinds = args.selector or "", tuple(dict.fromkeys(args.kinds or (RSA,)))
    if selector and ("." in selector or domain_name(selector) != selector):
        raise ValueError(f"{selector} is no selector: letters in lower case, digits, - and _")
    if selector and len(kinds) > 1:
        raise ValueError("-s names one key, so it goes with one -a")
    bits = RSA_SIGN_MIN_BITS if args.bits is None else args.bits
    if not RSA_SIGN_MIN_BITS <= bits <= RSA_MAX_BITS:
        raise ValueError(f"-b is at least {RSA_SIGN_MIN_BITS} (RFC 8301) and at most {RSA_MAX_BITS}")
    lead, keep = (LEAD_DAYS if args.lead is None else args.lead), (KEEP_DAYS if args.keep is None else args.keep)
    return KeyOrder(domain, args.directory, selector, kinds, bits, lead, keep, args.server or ())


def _days(text: str) -> int:
    if not text.isdecimal() or int(text) > _DAYS_MAX:
        raise argparse.ArgumentTypeError(f"{text} is no number of days")
    return int(text)


def _server(text: str) -> tuple[tuple[str, int], ...]:
    address, _, port = text.partition("@")
    try:
        ipaddress.ip_address(address)
        return ((address, int(port or 53)),)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is no ADDRESS or ADDRESS@PORT") from error


def _parser() -> cli.Parser:
    parser = cli.parser(_PROG, "Makes, shows, checks and changes the keys that sign mail by DKIM.")
    add = parser.add_argument
    directory = paths.DEFAULT_CONFIG_DIRECTORY / "keys"
    add("-d", dest="directory", type=Path, default=directory, metavar="DIRECTORY", help="where the keys are")
    add("-s", dest="selector", metavar="SELECTOR", help="name of the key (default: all; make: a new one by the day)")
    add("-a", dest="kinds", action="append", choices=tuple(_LETTERS), help="make: kind (default: rsa); again for one more")
    add("-b", dest="bits", type=int, metavar="BITS", help=f"length of a new RSA key (default: {RSA_SIGN_MIN_BITS})")
    add("--lead", type=_days, metavar="DAYS", help=f"rotate: from publishing to signing (default: {LEAD_DAYS})")
    add("--keep", type=_days, metavar="DAYS", help=f"rotate: from then to withdrawing old records (default: {KEEP_DAYS})")
    add("-n", dest="server", type=_server, metavar="ADDRESS[@PORT]", help="check: name server (default: those of the system)")
    add("command", choices=tuple(COMMANDS), metavar="COMMAND", help=", ".join(COMMANDS))
    add("domain", nargs="?", metavar="DOMAIN", help="domain whose mail is signed, for all but list")
    return parser


# -- the commands


def _make(order: KeyOrder, now: float) -> int:
    """Makes a key of each kind."""
    made = [_new(order, kind, KeyPlan(now)) for kind in order.kinds]
    _print_records("publish", made)
    _print_sections(made)
    return sysexits.EX_OK


def _show(order: KeyOrder, now: float) -> int:
    """Prints the records."""
    _print_records("", order.files())
    return sysexits.EX_OK


def _list(order: KeyOrder, now: float) -> int:
    """Prints keys and what is to be done."""
    files = order.files()
    for one in files:
        replaced = [new for new in files if (new.domain, new.plan.replaces) == (one.domain, one.selector)]
        print(f"{one.name}  {one.meaning}  {'; '.join(_state(one, replaced, now))}")
    return sysexits.EX_OK


def _state(one: KeyFile, replaced: list[KeyFile], now: float) -> Iterator[str]:
    begins = one.plan.signs_from_s
    if begins is not None and begins > now:
        yield f"signs from {day(begins)} on; its record has to be there"
    elif not replaced:
        yield "signs"
    for new in replaced:
        ends, gone = new.plan.signs_from_s or now, new.plan.withdraw_at_s or now
        if ends > now:
            yield f"signs until {day(ends)}, then {new.selector} does"
        elif gone > now:
            yield f"signs no more; withdraw its record on {day(gone)}"
        else:
            yield f"withdraw its record, and remove {one.path}"


def _rotate(order: KeyOrder, now: float) -> int:
    """Makes a new key for each that is at work, and says what to do on which day."""
    files = order.files()
    taken = {one.plan.replaces for one in files} | {one.selector for one in files if (one.plan.signs_from_s or 0) > now}
    old = [one for one in files if one.selector not in taken]
    if not old:
        raise CliError(f"all keys of {order.domain} are being changed; see dkimkey list", sysexits.EX_DATAERR)
    begins = now + order.lead_days * _DAY_S
    gone = begins + order.keep_days * _DAY_S
    new = [_new(order, one.kind, KeyPlan(now, one.selector, begins, gone)) for one in old]
    _print_records(f"{day(now)}: publish", new)
    print(f"{day(begins)}: when `dkimkey check {order.domain}` finds nothing, sign with the new instead of the old")
    _print_sections(new)
    for one in old:
        print(f"{day(gone)}: withdraw {one.name}, and remove {one.path}")
    return sysexits.EX_OK


def _check(order: KeyOrder, now: float) -> int:
    """Compares keys and records."""
    resolver, codes = FilterResolver(order.server), {sysexits.EX_OK}
    for one in order.files():
        code, text = _fits(one, resolver)
        codes.add(code)
        print(f"{one.name}: {text}")
    return max(codes)


def _fits(one: KeyFile, resolver: FilterResolver) -> tuple[int, str]:
    """Tells whether what DNS has is the record of a key; blocks: yes (DNS)."""
    try:
        record = one_record(resolver.txt(one.name))
    except SignatureError as error:
        return sysexits.EX_TEMPFAIL if error.word == "temperror" else sysexits.EX_DATAERR, error.reason
    if misfit := record.misfit(one.kind):
        return sysexits.EX_DATAERR, misfit
    if record.key is None or public_octets(record.key) != public_octets(one.key.public_key()):
        return sysexits.EX_DATAERR, f"another key than in {one.path}"
    return sysexits.EX_OK, "fits; but t=y says that it is a test" if record.is_test else "fits"


COMMANDS: Final[dict[str, Callable[[KeyOrder, float], int]]] = {
    "make": _make,
    "show": _show,
    "check": _check,
    "rotate": _rotate,
    "list": _list,
}


# -- what they share


def _new(order: KeyOrder, kind: str, plan: KeyPlan) -> KeyFile:
    """Makes a key under a selector that is free.

    Raises:
        CliError: the file is there, or cannot be written.
    """
    wanted = [order.selector] if order.selector and not plan.replaces else _selectors(kind, plan)
    try:
        for selector in wanted:
            if not (order.directory / f"{order.domain}.{selector}.pem").exists():
                return write_key_file(order.directory, order.domain, selector, make_key(kind, order.bits), plan)
    except FileNotFoundError as error:
        text = f"{order.directory}: no such directory; run mkdir -m 750 {order.directory}, and give it the group of the filter"
        raise CliError(text, sysexits.EX_CANTCREAT) from error
    except OSError as error:
        raise CliError(f"{error.filename or order.directory}: {error.strerror}", sysexits.EX_CANTCREAT) from error
    raise CliError(f"{order.directory}/{order.domain}.{wanted[-1]}.pem is there already", sysexits.EX_CANTCREAT)


def _selectors(kind: str, plan: KeyPlan) -> list[str]:
    """Gives names by kind and day."""
    name = f"{_LETTERS[kind]}{day(plan.made_at_s or 0).replace('-', '')}"
    return [name, *(f"{name}{letter}" for letter in "bcdefghij")]


def _print_records(what: str, files: list[KeyFile]) -> None:
    for one in files:
        print(f"{what} {one.meaning}:" if what else f"; {one.meaning}")
        print("\n".join(record_lines(one.name, one.record(), _TTL_S)))


def _print_sections(files: list[KeyFile]) -> None:
    """Prints what authfilter.conf needs."""
    print(f"domain {files[0].domain} {{")
    for one in files:
        print(f'  key {one.selector} {{ file = "{one.path}"; }}')
    print("}")


def run() -> NoReturn:
    """Runs the program (console script)."""
    cli.end_program(_PROG, main)


if __name__ == "__main__":
    run()
