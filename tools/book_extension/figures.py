"""Interactive figures are figures of the book: numbered, captioned, referred to by name.

In a notebook an interactive figure is one piece of html that brings its own caption, script and
style (`lecturelib/explore`). On a page it becomes a figure like any other, which ``{numref}`` finds
as ``fig-NAME``; its caption is the page's, with formulas; and script and style are loaded once, as
files, and only where they are needed.
"""

import re
from pathlib import Path

from bs4 import BeautifulSoup
from docutils import nodes
from sphinx.transforms import SphinxTransform

ASSETS = Path(__file__).resolve().parents[2] / "lecturelib" / "explore" / "assets"
FORMULA = re.compile(r"\$([^$]+)\$")


def inline(text):
    """Return the nodes of a text with formulas between dollar signs."""
    parts = FORMULA.split(text)  # text, formula, text, …
    return [
        nodes.math(text=part) if place % 2 else nodes.Text(part)
        for place, part in enumerate(parts)
        if part
    ]


class InteractiveFigures(SphinxTransform):
    """Put each interactive figure into a figure node, with its caption and its name."""

    default_priority = 400  # before Sphinx lists the names of a page

    def apply(self):
        """Replace what the chapters' outputs hold."""
        for raw in list(self.document.findall(nodes.raw)):
            if raw.get("format") != "html" or "data-explore=" not in raw.astext():
                continue
            html = BeautifulSoup(raw.astext(), "html.parser")
            content = html.find(attrs={"data-explore": True})
            figure = nodes.figure(names=[content["id"].replace("explore-", "fig-", 1)])
            # Numbers that other machines measure otherwise are marked in what is stored.
            figure += nodes.raw("", re.sub("[⟨⟩]", "", str(content)), format="html")
            if caption := html.find("figcaption"):
                figure += nodes.caption("", "", *inline(caption.get_text()))
            self.document.note_explicit_target(figure)
            raw.replace_self(figure)


def add_assets(app, pagename, templatename, context, doctree):
    """Load script and style on the pages that have an interactive figure."""
    if doctree and any("data-explore=" in raw.astext() for raw in doctree.findall(nodes.raw)):
        for name in sorted(path.name for path in ASSETS.iterdir()):
            if name.endswith(".js"):
                app.add_js_file(name, loading_method="defer")
            else:
                app.add_css_file(name)


def configure(app, config):
    """Copy script and style into the built site."""
    config.html_static_path.append(str(ASSETS))


def setup(app):
    """Register with Sphinx."""
    app.connect("config-inited", configure)
    app.add_transform(InteractiveFigures)
    app.connect("html-page-context", add_assets)
