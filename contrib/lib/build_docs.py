"""Builds the manual: `contrib/docs [html] [pdf] [text] [man]`, all four if none is named; any warning is an error.

    build/docs/html/index.html   build/docs/manual.pdf   build/docs/manual.txt   build/docs/man/NAME.SECTION

`contrib/docs renew` makes the manual pages and the completions of the shell anew where they are installed from (docs/man,
contrib/completion); whoever builds `man` is told of those that are not current.  Sources are read once for all formats.
"""

import argparse
import logging
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import docutils_namespace, patch_docutils

import meta1g
from contrib.lib.completion import SHELLS, completion
from contrib.lib.programs import ROOT, console_scripts

DOCS: Final = ROOT / "docs"
BUILD: Final = ROOT / "build" / "docs"
COMPLETIONS: Final = ROOT / "contrib" / "completion"
FORMATS: Final = ("html", "text", "man", "pdf")
_BUILDERS: Final = {"html": "html", "text": "text", "man": "man", "pdf": "singlehtml"}
#: Chapters and what is below them; a page has an anchor that no other one has, sections may share theirs.
_HEADINGS: Final = re.compile(
    r'<span id="(?P<document>document-[^"]+)"></span>'
    r'|<section id="(?P<section>[^"]+)">\n<h(?P<level>[23])>(?P<title>.*?)<a class="headerlink"'
)
_LONG_NAMES: Final = re.compile(r'(?<=<span class="pre">)[^<]{20,}(?=</span>)')


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
        app.build(force_all=True)
    if app.statuscode:
        raise SystemExit(f"contrib/docs: {wanted}: mend what is named above")
    return app.env


def chapters(env: BuildEnvironment, page: str) -> Iterator[str]:
    """Gives a page and all that stand below it, in the order of the manual."""
    yield page
    for below in env.toctree_includes.get(page, []):
        yield from chapters(env, below)


def breakable(page: str) -> str:
    """Lets long paths and names go on in another line, so that they do not take the room of other columns of a table."""
    return _LONG_NAMES.sub(lambda match: re.sub(r"([/_])(?=\w)", r"\1<wbr>", match[0]), page)


def with_contents(page: str) -> str:
    """Gives the page of the whole manual with a table of contents behind its title."""
    lines, document = [], ""
    for match in _HEADINGS.finditer(page):
        if match["document"]:
            document = match["document"]
            continue
        lines.append(f'<li class="level{match["level"]}"><a href="#{document or match["section"]}">{match["title"]}</a></li>')
        document = ""
    title, end, rest = page.partition('</h1>\n<div class="toctree-wrapper')
    version = f'<p class="version">Version {meta1g.__version__}</p>'
    return f'{title}</h1>{version}<ul class="contents">{"".join(lines)}</ul>\n{end.removeprefix("</h1>")}{rest}'


class Faults(logging.Handler):
    """Collects what WeasyPrint could not do, such as links that lead nowhere; style for screens that it skips is none of it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Takes one message."""
        self.texts.append(record.getMessage())


def print_pdf(page: Path, made: Path) -> Path:
    """Makes a PDF of the manual in one HTML page, and gives its file.

    Raises:
        SystemExit: a link, picture or style in it is wrong.
    """
    from weasyprint import HTML, LOGGER

    faults = Faults()
    LOGGER.addHandler(faults)
    HTML(string=breakable(with_contents(page.read_text())), base_url=str(page)).write_pdf(made)
    if faults.texts:
        raise SystemExit("\n".join(["contrib/docs: pdf: mend this", *faults.texts]))
    return made


def make(wanted: str, *, fresh: bool) -> Path:
    """Makes one format and gives its file or directory."""
    env = build(wanted, fresh=fresh)
    if wanted == "text":
        made = BUILD / "manual.txt"
        texts = (BUILD / "text" / f"{page}.txt" for page in chapters(env, "index"))
        made.write_text("\n\n\n".join(path.read_text() for path in texts))
        return made
    if wanted == "pdf":
        return print_pdf(BUILD / "singlehtml" / "index.html", BUILD / "manual.pdf")
    return BUILD / wanted


def installed() -> Iterator[tuple[Path, str]]:
    """Gives the files that are made from others and installed, and what they have to contain; `man` was made before."""
    for page in sorted((BUILD / "man").glob("*.[1-9]")):
        yield DOCS / "man" / page.name, page.read_text()
    for program in console_scripts():
        for shell, name in SHELLS.items():
            yield COMPLETIONS / shell / name.format(program), completion(program, shell)


def renew() -> None:
    """Writes what is installed, and removes what is not any more."""
    wanted = dict(installed())
    for path in {*(DOCS / "man").glob("*.8"), *COMPLETIONS.glob("*/*")} - {*wanted}:
        path.unlink()
    for path, text in wanted.items():
        path.write_text(text)


def check_installed() -> None:
    """Looks whether what is installed is current.

    Raises:
        SystemExit: something is not.
    """
    old = [str(path.relative_to(ROOT)) for path, text in installed() if not path.exists() or path.read_text() != text]
    if old:
        raise SystemExit(f"contrib/docs: not current: {', '.join(old)}; run contrib/docs renew")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="contrib/docs", description="Builds the manual, without warnings.")
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=f"{', '.join(FORMATS)}, all if none is named; or renew")
    wanted = parser.parse_args().formats or FORMATS
    if unknown := {*wanted} - {*FORMATS, "renew"}:
        parser.error(f"unknown: {', '.join(unknown)}")
    shutil.rmtree(BUILD / "man", ignore_errors=True)
    for number, name in enumerate(wanted):
        began = time.monotonic()
        made = make("man" if name == "renew" else name, fresh=number == 0)
        print(f"{name}: {made.relative_to(ROOT)} ({time.monotonic() - began:.1f} s)", flush=True)
    if "renew" in wanted:
        renew()
    elif "man" in wanted:
        check_installed()


if __name__ == "__main__":
    sys.exit(main())
