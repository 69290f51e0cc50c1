"""Reads a configuration file; the only file of this package that opens one.

Ref: MeTA1 README, chapter on configuration; `-f FILE` of all programs.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meta1g.conf.check import check_text
from meta1g.conf.config import Config, Section
from meta1g.conf.errors import ConfigError, error_of
from meta1g.conf.tree import Problem, Source

if TYPE_CHECKING:
    from meta1g.conf.templates import Templates

__all__ = ["Config", "ConfigError", "Section", "load_file", "load_templates", "read_source", "templates_of"]

#: Largest configuration file; our choice: fifty times the largest that makes sense.
FILE_MAX_BYTES: Final = 16 << 20
_BY_OPTION: Final = "name the configuration file by -f"
_REPORT_TEXTS: Final = Path(__file__).with_name("report_texts.txt")


def load_file(path: Path, *, lenient: bool = False, data: bytes | None = None) -> Config:
    """Reads and checks a configuration file.

    Args:
        path: the file.
        data: its content, if somebody has read it already; the file itself is not read then.
        lenient: options that nobody knows become `warnings`, except those that concern TLS, AUTH, access or relaying.

    Raises:
        ConfigError: the file cannot be read, or is wrong; the cause tells everything that is.
    """
    source = read_source(path) if data is None else _source(path, data)
    return check_text(source, Path(path), lenient=lenient)


def load_templates(path: Path | None = None) -> "Templates":
    """Reads the texts of reports.

    Args:
        path: the operator's file; without one, the texts that meta1g comes with.

    Raises:
        ConfigError: the file cannot be read, or is wrong; the cause tells everything that is.
    """
    from meta1g.conf.templates import parse  # only QMGR needs it

    own = parse(read_source(_REPORT_TEXTS), {})
    return own if path is None else parse(read_source(path, "dsn_templates names it"), own)


def templates_of(config: Config, section: Section) -> "Templates":
    """Gives the texts of reports that a section qmgr asks for.

    Raises:
        ConfigError: as load_templates().
    """
    return load_templates(
        config.configuration_directory / section.get("dsn_templates") if section.given("dsn_templates") else None
    )


def read_source(path: Path, named: str = _BY_OPTION) -> Source:
    """Reads a file of UTF-8 text.

    Args:
        path: the file.
        named: says how another one is read.

    Raises:
        ConfigError: it cannot be read, is too large, or is no text.
    """
    return _source(path, _read(path, named), named)


def _read(path: Path, named: str = _BY_OPTION) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(FILE_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)).lower()
        raise ConfigError(f"{path}: cannot read the configuration: {reason}; {_advice(error, named)}") from error


def _source(path: Path, data: bytes, named: str = _BY_OPTION) -> Source:
    if len(data) > FILE_MAX_BYTES:
        raise ConfigError(f"{path}: is larger than {FILE_MAX_BYTES >> 20} MB; {named}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        source = Source(str(path), data.decode("utf-8", "replace"))
        pos = len(data[: error.start].decode("utf-8", "replace"))
        raise error_of(source, [Problem(pos, f"byte {data[error.start]:#04x} is no UTF-8; save the file as UTF-8")]) from error
    return Source(str(path), text)


def _advice(error: Exception, named: str) -> str:
    if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return named
    if isinstance(error, PermissionError):
        return "let the account of this program read it, by its mode or group"
    return "check the file"
