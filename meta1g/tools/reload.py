"""sm.reload: lets mcp take over its configuration as it is now, and waits for the result.

    sm.reload            says nothing and ends with 0 if the new configuration is in force
    sm.reload -v         tells what has changed

Anything else is told line by line, the exit code is that of the mistake, and everything goes on with the old configuration.
SIGHUP to mcp does the same; its result stands in the log of mcp and in the status.

Ref: our choice.
"""

import sys
from pathlib import Path
from typing import Any, Final

from meta1g.base import cli, paths, sysexits
from meta1g.conf.load import load_file
from meta1g.tools.ctlclient import ControlClient

_PROG: Final = "sm.reload"
#: Of what a component has looked at and what prevents nothing; it is told whatever is asked for.
_WARNING: Final = ": warning: "
#: Stops of 10 s each for those that depend on each other, and starts as long again; our choice.
_TIMEOUT_S: Final = 180


def reload(queue: Path, conf: Path) -> dict[str, Any]:
    """Orders a reload and waits for its result.

    Args:
        queue: the queue directory of mcp.
        conf: the configuration file; mcp refuses another one than its own.

    Returns:
        `number` of the reload, `time` of its end, `lines` that tell what has changed.

    Raises:
        CommandFailedError: nothing has changed; the text says why.
        CliError: mcp cannot be reached.
    """
    with ControlClient(queue / paths.MCP_STATUS_SOCKET, "mcp", timeout_s=_TIMEOUT_S) as client:
        answer: dict[str, Any] = client.ask("reload", str(conf))
        return answer


def main(argv: list[str]) -> int:
    """Runs the program; gives its exit code.

    Raises:
        ConfigError: the configuration cannot be read at all; mcp was not asked.
        CliError: mcp refuses the configuration, or cannot be reached.
    """
    parser = cli.parser(_PROG, "Lets mcp take over its configuration as it is now; a mistake changes nothing and is told.")
    parser.add_argument("-f", dest="file", type=Path, default=paths.DEFAULT_CONFIG_FILE, help="configuration file")
    parser.add_argument("-v", dest="verbose", action="store_true", help="tell what has changed")
    options = parser.parse_args(argv)
    conf = options.file.absolute()
    answer = reload(load_file(conf, lenient=True).queue_directory, conf)
    if options.verbose:
        print("\n".join(answer["lines"]))
    else:
        sys.stderr.writelines(f"{_PROG}: {line}\n" for line in answer["lines"] if _WARNING in line)
    return sysexits.EX_OK


def run() -> None:
    """Runs the program (console script)."""
    sys.exit(cli.run_program(_PROG, main))


if __name__ == "__main__":
    run()
