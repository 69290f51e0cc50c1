"""Builds the manual: `contrib/docs [html] [pdf] [text] [man]`, all four if none is named; any warning is an error.

    build/docs/html/index.html   build/docs/manual.pdf   build/docs/manual.txt   build/docs/man/NAME.SECTION

`contrib/docs renew` puts the manual pages and the completions of the shell to where they are installed from (docs/man,
contrib/completion).  The pages are read once for all formats.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import docutils_namespace, patch_docutils

from contrib.lib.programs import ROOT

DOCS: Final = ROOT / "docs"
BUILD: Final = ROOT / "build" / "docs"
FORMATS: Final = ("html", "text", "man", "pdf")
_BUILDERS: Final = {"html": "html", "text": "text", "man": "man", "pdf": "singlehtml"}


def build(wanted: str, *, fresh: bool) -> BuildEnvironment:
    """Runs one builder of Sphinx.

    Args:
        wanted: one of FORMATS.
        fresh: reads all pages again.

    Raises:
        SystemExit: there were warnings, which stand on standard error.
    """
    builder = _BUILDERS[wanted]
    with patch_docutils(str(DOCS)), docutils_namespace():
        app = Sphinx(
            DOCS,
            DOCS,
            BUILD / builder,
            BUILD / "doctrees",
            builder,
            status=None,
            freshenv=fresh,
            warningiserror=True,
        )
        app.build()
    if app.statuscode:
        raise SystemExit(f"contrib/docs: {wanted}: mend what is named above")
    return app.env


def chapters(env: BuildEnvironment, page: str) -> Iterator[str]:
    """Gives a page and all that stand below it, in the order of the manual."""
    yield page
    for below in env.toctree_includes.get(page, []):
        yield from chapters(env, below)


def make(wanted: str, *, fresh: bool) -> Path:
    """Makes one format and gives its file or directory."""
    env = build(wanted, fresh=fresh)
    if wanted == "text":
        made = BUILD / "manual.txt"
        texts = (BUILD / "text" / f"{page}.txt" for page in chapters(env, "index"))
        made.write_text("\n\n\n".join(path.read_text() for path in texts))
        return made
    if wanted == "pdf":
        from weasyprint import HTML

        made = BUILD / "manual.pdf"
        HTML(BUILD / "singlehtml" / "index.html").write_pdf(made)
        return made
    return BUILD / wanted


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="contrib/docs", description="Builds the manual, without warnings.")
    parser.add_argument("formats", nargs="*", choices=[*FORMATS, []], metavar="FORMAT", help=", ".join(FORMATS))
    options = parser.parse_args()
    if not options.formats:
        shutil.rmtree(BUILD, ignore_errors=True)
    for number, wanted in enumerate(options.formats or FORMATS):
        began = time.monotonic()
        made = make(wanted, fresh=number == 0)
        print(f"{wanted}: {made.relative_to(ROOT)} ({time.monotonic() - began:.1f} s)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
