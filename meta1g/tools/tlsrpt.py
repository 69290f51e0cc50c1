"""tlsrpt: shows what is counted for reports about TLS and not yet sent.

    tlsrpt [--json] [-f FILE | --queue-directory DIRECTORY] [DOMAIN]

It reads the files of smar, which are at most a minute old, and changes nothing.

Ref: RFC 8460 4 (what is counted).
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from meta1g.base import cli, paths, sysexits
from meta1g.base.cli import CliError
from meta1g.base.logtext import sanitize
from meta1g.tls.rptday import DayError, RptDay, day_from
from meta1g.tls.tlsrpt import RptCount, policy_content

_PROG: Final = "tlsrpt"
_SUFFIX: Final = ".rpt"


def days_in(directory: Path) -> Iterator[RptDay]:
    """Gives all days that there are, oldest first.

    Raises:
        CliError: the directory, or a file in it, cannot be read.
    """
    try:
        found = sorted(path for path in directory.iterdir() if path.suffix == _SUFFIX)
    except OSError as error:
        raise CliError(
            f"{directory}: {error.strerror}; call it as root or as the account of smar", sysexits.EX_NOINPUT
        ) from error
    for path in found:
        try:
            yield day_from(path.stem, path.read_bytes())
        except FileNotFoundError:  # sent meanwhile
            continue
        except (OSError, DayError) as error:
            raise CliError(f"{path}: {error}", sysexits.EX_DATAERR) from error


def _print_text(day: str, domain: str, count: RptCount) -> None:
    print(f"{day}  {sanitize(domain)}  {count.policy.kind}  good {count.good}  failed {count.bad}")
    for failure, sessions in count.failures:
        facts = (failure.result, f"{failure.mx_host}[{failure.mx_ip}]" if failure.mx_ip else "", failure.reason)
        print(f"    {sessions}  " + "  ".join(sanitize(str(one)) for one in facts if one))


def _print_json(day: str, domain: str, count: RptCount) -> None:
    print(json.dumps({"day": day, "domain": domain, **policy_content(count)}))


def main(argv: list[str]) -> int:
    """Runs the program; gives its exit code.

    Raises:
        CliError, ConfigError: there is nothing to read, or it is damaged.
    """
    parser = cli.parser(_PROG, "Shows what is counted for reports about TLS and not yet sent.")
    parser.add_argument("-f", dest="file", type=Path, default=paths.DEFAULT_CONFIG_FILE, help="configuration file")
    parser.add_argument("--queue-directory", type=Path, help="queue directory, if it is not the one that FILE names")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, with what a report says of a policy")
    parser.add_argument("domain", nargs="?", default="", help="only what is counted for this domain")
    options = parser.parse_args(argv)
    queue = options.queue_directory
    if queue is None:
        from meta1g.conf.load import load_file

        queue = load_file(options.file).queue_directory
    show = _print_json if options.json else _print_text
    for day in days_in(queue / paths.TLSRPT_DIRECTORY):
        for domain in day.domains():
            if options.domain.lower() in ("", domain):
                for count in day.counts(domain):
                    show(day.day, domain, count)
    return sysexits.EX_OK


def run() -> None:
    """Runs the program (console script)."""
    sys.exit(cli.run_program(_PROG, main))


if __name__ == "__main__":
    run()
