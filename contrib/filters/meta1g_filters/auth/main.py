"""The programs authfilter and dmarcrpt; each says what to do if the extra `filters` is missing.

Ref: authfilter(8), dmarcrpt(8).
"""

import sys
from typing import NoReturn

from meta1g.base import cli, paths
from meta1g.pmilter import configured_parser, run_configured
from meta1g_filters.extra import require


def run() -> NoReturn:
    """Runs authfilter (console script)."""
    require("authfilter")
    from meta1g_filters.auth.filter import NAME, AuthFilter
    from meta1g_filters.auth.settings import CONFIG_NAME

    file = paths.DEFAULT_CONFIG_DIRECTORY / CONFIG_NAME
    parser = configured_parser(NAME, "Checks who mail is from by SPF, DKIM and DMARC, and signs our own mail.", file)
    run_configured(parser, lambda options, log: AuthFilter(options.file, log))


def run_dmarcrpt() -> NoReturn:
    """Runs dmarcrpt (console script)."""
    require("dmarcrpt")
    from meta1g_filters.auth.dmarcrpt import main

    sys.exit(cli.run_program("dmarcrpt", main))


if __name__ == "__main__":
    run()
