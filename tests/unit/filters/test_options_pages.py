"""The pages of options of the filters are what their tables give."""

from importlib import import_module

import pytest

from tests.sources import FILTERS, ROOT

PACKAGES = sorted(path.parent.name for path in FILTERS.glob("*/options.py"))
PAGES = sorted(ROOT.glob("docs/filter-*-options.md"))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_page_of_options_is_current(package):
    module = import_module(f"meta1g_filters.{package}.options")
    (page,) = (path for path in PAGES if f"`python -m {module.__name__}`" in path.read_text())
    assert page.read_text() == module.markdown()
    assert module.markdown.__doc__ == f"Gives docs/{page.name}."


def test_every_page_has_its_tables():
    assert len(PAGES) == len(PACKAGES) >= 3
