"""smconf: checks a configuration file, and tells what is in force and what is possible.

    smconf FILE                nothing, and exit 0, if the file is right and this machine has what it asks for: a name, the
                               accounts, maps that SMAR comes to and whose entries are right
    smconf --text FILE         the same of the file alone, which may be for another machine
    smconf -n FILE             what the file gives, without defaults and comments
    smconf -p FILE             the effective configuration: every option, and where its value comes from
    smconf --json FILE         the same as JSON
    smconf --diff OLD NEW      what the two mean differently; exit 1 if anything
    smconf -h SECTION          the options of a section, such as `smtps` or `smtps tls`

Ref: MeTA1 smconf (modelled on).
"""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from meta1g import __version__
from meta1g.base import cli, paths, sysexits
from meta1g.conf import dump, manual
from meta1g.conf.config import Config, UnreadError
from meta1g.conf.load import ConfigError, load_file, templates_of

_PROG: Final = "smconf"


def main(argv: list[str]) -> int:
    """Runs the program; gives its exit code.

    Raises:
        ConfigError: the configuration is wrong.
        CliError: a section is asked for that does not exist.
    """
    parser = _parser()
    parser.add_argument("file", type=Path, nargs="?", default=paths.DEFAULT_CONFIG_FILE, metavar="FILE", help="the file")
    parser.add_argument("-p", "--print", action="store_true", dest="show", help="print the effective configuration")
    parser.add_argument("-n", "--given", action="store_true", help="print what the file gives, without defaults")
    parser.add_argument("--text", action="store_true", help="check the text alone: neither name, nor accounts, nor maps")
    parser.add_argument("--json", action="store_true", help="print the effective configuration as JSON")
    parser.add_argument("--diff", type=Path, nargs=2, metavar=("OLD", "NEW"), help="print what NEW means differently")
    parser.add_argument("-h", nargs="*", metavar="SECTION", dest="explain", help="explain the options of a section")
    parser.add_argument("-L", "--lenient", action="store_true", help="warn of unknown options instead of refusing them")
    args = parser.parse_args(argv)
    if args.explain is not None:
        return _explain(args.explain)
    if args.diff is not None:
        lines = dump.differences(*(_load(path, lenient=args.lenient) for path in args.diff))
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        return 1 if lines else sysexits.EX_OK
    if not (args.json or args.given or args.show or args.text):
        return _check(args.file, lenient=args.lenient)
    config = _load(args.file, lenient=args.lenient)
    if args.json:
        sys.stdout.write(json.dumps(dump.as_data(config), indent=2) + "\n")
    elif args.given:
        sys.stdout.write(dump.given(config))
    elif args.show:
        sys.stdout.write(dump.effective(config))
    return sysexits.EX_OK


def _parser() -> cli.Parser:
    """Makes the parser; -h explains a section here."""
    parser = cli.Parser(prog=_PROG, description="Checks a configuration file; silent if it is right.", add_help=False)
    parser.add_argument("--help", action="help", help="show this help message and exit")
    parser.add_argument("-V", "--version", action="version", version=f"{_PROG} of meta1g {__version__}")
    return parser


def _load(path: Path, *, lenient: bool) -> Config:
    config = load_file(path, lenient=lenient)
    for section in config.sections("qmgr"):
        templates_of(config, section)
    _warn(config)
    return config


def _check(path: Path, *, lenient: bool) -> int:
    """Checks a file and what it asks of this machine, and tells everything that is wrong."""
    texts: list[str] = []
    code = sysexits.EX_CONFIG
    try:
        config: Config | None = load_file(path, lenient=lenient)
    except ConfigError as error:
        config, texts, code = error.config, [error.cause], cli.code_of(error)
    if config is not None:
        from meta1g.tools import machine  # the maps have libraries that other uses of this program do without

        _warn(config)
        is_whole = not texts
        texts += [*_report_texts(config), *machine.problems(config, whole=is_whole)]
        warnings = [f"warning: {text}" for text in machine.map_warnings(config)]
        if is_whole:
            for text in machine.file_findings(config):
                (warnings if text.startswith("warning: ") else texts).append(text)
        for warning in warnings:
            sys.stderr.write(f"{_PROG}: {warning}\n")
    for text in texts:
        sys.stderr.write(f"{_PROG}: {text}\n")
    return code if texts else sysexits.EX_OK


def _report_texts(config: Config) -> Iterator[str]:
    """Gives what is wrong with the texts of reports."""
    for section in config.sections("qmgr"):
        with contextlib.suppress(UnreadError):  # told already
            try:
                templates_of(config, section)
            except ConfigError as error:
                yield error.cause


def _warn(config: Config) -> None:
    for warning in config.warnings:
        sys.stderr.write(f"{_PROG}: {warning}\n")


def _explain(words: list[str]) -> int:
    path = [part for word in words for part in word.replace(".", " ").split()]
    text = manual.section_help(path)
    if text is None:
        raise cli.CliError(f"there is no section {' '.join(path)}; {_PROG} -h lists the sections", sysexits.EX_USAGE)
    sys.stdout.write(text)
    return sysexits.EX_OK


def run() -> None:
    """Is the program of the shell."""
    sys.exit(cli.run_program(_PROG, main))


if __name__ == "__main__":
    run()
