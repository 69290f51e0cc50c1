"""The program milter-spamd.

Ref: milter-spamd(8).
"""

from typing import NoReturn

from meta1g.base import paths
from meta1g.pmilter import configured_parser, run_configured
from meta1g_filters.spamd.filter import NAME, SpamdFilter
from meta1g_filters.spamd.settings import CONFIG_NAME


def run() -> NoReturn:
    """Is the program of the shell."""
    file = paths.DEFAULT_CONFIG_DIRECTORY / CONFIG_NAME
    parser = configured_parser(NAME, "Has mail looked at by SpamAssassin: marks, refuses, drops or holds spam.", file)
    run_configured(parser, lambda options, log: SpamdFilter(options.file, log))


if __name__ == "__main__":
    run()
