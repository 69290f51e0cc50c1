"""Sphinx: one manual, from the Markdown files of this directory, as HTML, PDF, text and manual pages (contrib/docs)."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import meta1g  # noqa: E402
from contrib.lib import manual  # noqa: E402

project = "meta1g"
author = "the authors of meta1g"
project_copyright = "the authors of meta1g; BSD-3-Clause"
version = release = meta1g.__version__
language = "en"

extensions = ["myst_parser", "contrib.lib.manual"]
root_doc = "index"
exclude_patterns = ["README*"]
man_pages = manual.man_pages(ROOT / "docs" / "man")

myst_enable_extensions = ["deflist", "attrs_block"]
myst_heading_anchors = 3
# samples are what users write, not programs
highlight_language = "none"
smartquotes = False
# pages are current or they are not; a date of their making would make them all different
today = " "
numfig = False

html_theme = "alabaster"
html_title = "meta1g"
html_static_path = ["style"]
html_css_files = ["manual.css"]
html_theme_options = {
    "description": "A mail gateway: MeTA1, the mail transfer agent, done again in Python",
    "fixed_sidebar": True,
    "body_max_width": "none",
    "page_width": "1200px",
    "sidebar_width": "250px",
    "show_powered_by": False,
}
html_show_sourcelink = False
html_copy_source = False
html_use_index = False
html_domain_indices = False

text_sectionchars = '=-~^"*'
man_make_section_directory = False
man_show_urls = False
