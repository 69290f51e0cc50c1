"""Checks texts without files."""

from pathlib import Path

from meta1g.conf.check import check_text
from meta1g.conf.config import Config
from meta1g.conf.tree import Source

PATH = Path("/etc/meta1/t.conf")


def load(text: str, *, lenient: bool = False) -> Config:
    return check_text(Source("t.conf", text), PATH, lenient=lenient)
