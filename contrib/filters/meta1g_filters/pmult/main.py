"""The program pmult.

Ref: pmult(8).
"""

from typing import NoReturn

from meta1g.base import paths
from meta1g.pmilter import configured_parser, run_configured
from meta1g_filters.pmult.filter import NAME, PmultFilter
from meta1g_filters.pmult.settings import CONFIG_NAME


def run() -> NoReturn:
    """Runs the program (console script)."""
    file = paths.DEFAULT_CONFIG_DIRECTORY / CONFIG_NAME
    parser = configured_parser(NAME, "A policy milter that asks any number of filters of sendmail 8.", file)
    run_configured(parser, lambda options, log: PmultFilter(options.file, log))


if __name__ == "__main__":
    run()
