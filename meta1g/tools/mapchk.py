"""mapchk: checks maps, or tells what they answer.

    mapchk FILE                   every entry of a text file, or of a map file made by createmap, is right
    mapchk -a FILE                the same, and it is an access map: every key needs a tag
    mapchk -u USE FILE            the same for another use: mailertable, aliases, local_user_map, tls_policy, conf_map,
                                  server_names
    mapchk -f CONF                all maps of a configuration, each for what it is used for
    mapchk -k KEY FILE            the value of exactly this key, exit 1 if it is not there
    mapchk -q QUESTION -f CONF    every key that is looked up for a question, in order, with its answer, and the verdict
    mapchk -q QUESTION FILE       the same with one map alone

    questions     client:IP  mail:ADDRESS  rcpt:ADDRESS      as an SMTP client meets them, with -c CLIENT and -s SENDER
                  cltaddr:IP  from:ADDRESS  to:ADDRESS ...   one tag of the access map
                  mailertable:DOMAIN  aliases:ADDRESS  local_user_map:ADDRESS  tls_policy:DOMAIN  auth_sender:USER
                  password_map:USER  conf_map:IP  server_names:NAME

Without -a, -u and -f, a file named access, mailertable, aliases, users or tls_policy is for that, and of others each entry is
taken for what it looks like: a key with a tag belongs to an access map, a value such as lmtp: or 26^[192.0.2.1] to a
mailertable.

Ref: MeTA1 mapchk, from its name (modelled on); access map tags of MeTA1.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

from meta1g.base import cli, sysexits
from meta1g.base.selfcheck import Findings
from meta1g.conf.load import load_file
from meta1g.db.mapfile import MapFile
from meta1g.maps.textmap import read_entries
from meta1g.smar import questions
from meta1g.smar.check import look_at_maps
from meta1g.smar.entries import ACCESS, KEYS, EntryRules
from meta1g.smar.mapcheck import KINDS_READ, check_map, check_server_names, entries_of, kind_of, use_of
from meta1g.smar.trace import Mail, QuestionError, resolve_of
from meta1g.tools import mapquestions

_PROG: Final = "mapchk"
_NOT_FOUND: Final = 1
_DB_SUFFIX: Final = ".db"
#: A client that nobody knows: documentation has the network (RFC 5737).
_STRANGER: Final = "192.0.2.1"


def main(argv: list[str]) -> int:
    """Runs the program; gives its exit code.

    Raises:
        PermError, CliError: the map cannot be read.
    """
    args = _arguments(argv)
    if args.question is not None:
        return _trace(args)
    if args.key is not None:
        return _ask(args.file, args.key.lower())
    found = Findings(_PROG)
    if args.file is None:
        _configured(args.conf, found)
    else:
        for text in check_file(args.file, args.use, args.kind):
            found.add(text, sysexits.EX_DATAERR)
    return found.finish()


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = cli.parser(_PROG, "Checks maps, silent if all entries are right; or tells what they answer.")
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE", help="a map file of createmap (NAME.db), or a text file")
    parser.add_argument("-f", dest="conf", type=Path, metavar="CONF", help="the maps of this configuration, as it uses them")
    uses = parser.add_mutually_exclusive_group()
    uses.add_argument("-a", dest="use", action="store_const", const=ACCESS, help="it is an access map: every key has a tag")
    uses.add_argument("-u", dest="use", choices=sorted(KEYS), metavar="USE", help=f"what it is for: {', '.join(sorted(KEYS))}")
    parser.add_argument("-t", dest="kind", choices=KINDS_READ, help="type of the file; its name and first key tell without it")
    parser.add_argument("-k", "--key", metavar="KEY", help="print the value of a key; exit 1 if it is not there")
    parser.add_argument("-q", dest="question", metavar="QUESTION", help="tell all look-ups, such as from:user@example.org")
    parser.add_argument("-c", dest="client", default=_STRANGER, metavar="IP", help="client of a question (default: a stranger)")
    parser.add_argument("-n", dest="name", default="", metavar="NAME", help="confirmed name of the client")
    parser.add_argument("-r", dest="resolve", metavar="RESULT", help="result of its look-up: ok, no, forged, temp")
    parser.add_argument("-e", dest="ehlo", default="", metavar="NAME", help="what the client calls itself")
    parser.add_argument("-s", dest="sender", default="", metavar="ADDRESS", help="sender of a question (default: <>)")
    found = parser.parse_args(argv)
    if (found.file is None) == (found.conf is None):
        parser.error("name a map, or a configuration with -f")
    if found.key is not None and found.file is None:
        parser.error("-k needs a map; a configuration is asked with -q")
    return found


def check_file(path: Path, use: str | None, kind: str | None) -> list[str]:
    """Gives what is wrong with a map.

    Args:
        path: a map file of createmap, if its name ends with `.db`, else a text file.
        use: what it is for; None to tell it by its name or entries.
        kind: its type; None to tell it by its name or first key.

    Raises:
        PermError: it cannot be read.
    """
    type_name = kind or kind_of(path)
    rules = EntryRules(use=use_of(path) if use is None else use, kind=type_name)
    return check_map(entries_of(path, type_name), [rules])


def _configured(conf: Path, found: Findings) -> None:
    config = load_file(conf)
    for smar in config.sections("smar") or (config.section("smar"),):
        look_at_maps(found, config, smar, entries=True, code=sysexits.EX_DATAERR)
    for qmgr in config.sections("qmgr"):
        look_at_maps(found, config, qmgr, entries=True, whole=False, code=sysexits.EX_DATAERR)
    for smtps in config.sections("smtps"):
        for text in check_server_names(config, smtps):
            found.add(text, sysexits.EX_DATAERR)


def _trace(args: argparse.Namespace) -> int:
    try:
        name = args.name.lower()
        resolve = resolve_of(args.resolve or ("ok" if name else "no"))
        mail = Mail(client=args.client, name=name, resolve=resolve, ehlo=args.ehlo, sender=args.sender)
        lines = _answer(args, mail)
    except QuestionError as error:
        raise cli.CliError(str(error), sysexits.EX_USAGE) from None
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return sysexits.EX_OK


def _answer(args: argparse.Namespace, mail: Mail) -> list[str]:
    use, colon, key = args.question.partition(":")
    use = use.lower()
    own = args.use or use_of(args.file) if args.file is not None else ""
    if own in mapquestions.USES and use != own:
        use, colon, key = own, ":", args.question
    if colon and use in mapquestions.USES:
        if args.conf is not None:
            return mapquestions.of_configuration(load_file(args.conf), use, key.strip(), mail)
        return mapquestions.of_file(args.file, args.kind or kind_of(args.file), use, key.strip(), mail)
    if args.conf is not None:
        return questions.of_configuration(load_file(args.conf), args.question, mail)
    return questions.of_file(args.file, args.kind or kind_of(args.file), args.use, args.question, mail)


def _ask(path: Path, wanted: str) -> int:
    value = _value(path, wanted)
    if value is None:
        return _NOT_FOUND
    sys.stdout.write(f"{value}\n")
    return sysexits.EX_OK


def _value(path: Path, wanted: str) -> str | None:
    if path.suffix != _DB_SUFFIX:
        return {key.lower(): value for _, key, value in read_entries(path)}.get(wanted)
    opened = MapFile.open_checked(path)
    try:
        raw = opened.get(wanted.encode())
    finally:
        opened.close()
    return None if raw is None else raw.decode("utf-8", "replace")


def run() -> None:
    """Is the program of the shell."""
    sys.exit(cli.run_program(_PROG, main))


if __name__ == "__main__":
    run()
