"""The program authfilter.

Ref: authfilter(8).
"""

from typing import NoReturn

from meta1g.base import paths
from meta1g.pmilter import configured_parser, run_configured
from meta1g_filters.auth.filter import NAME, AuthFilter
from meta1g_filters.auth.settings import CONFIG_NAME


def run() -> NoReturn:
    """Runs the program (console script)."""
    file = paths.DEFAULT_CONFIG_DIRECTORY / CONFIG_NAME
    parser = configured_parser(NAME, "Checks who mail is from by SPF, DKIM and DMARC, and signs our own mail.", file)
    run_configured(parser, lambda options, log: AuthFilter(options.file, log))


if __name__ == "__main__":
    run()
