"""Errata to the slides: a card for each, and a box in the chapter that shows it.

A box is an admonition of the class ``slide-check``. Its name, ``slide-check-NAME``, says which card
it belongs to, ``erratum-NAME``; the link from box to card is made here, the one from the card
stands in its last field. The build complains about either if it leads nowhere.
"""

from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from book_extension.labels import link

FIELDS = ["Slides", "They say", "What holds", "Where"]

logger = logging.getLogger(__name__)


class Erratum(SphinxDirective):
    """``{erratum} Title``: a section that is a card, with the fields of a definition list."""

    required_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar = {"name": directives.unchanged_required}
    has_content = True

    def run(self):
        """Build the card, or complain about a field that is missing."""
        title, messages = self.state.inline_text(self.arguments[0], self.lineno)
        card = nodes.section(classes=["erratum"])
        card += nodes.title(self.arguments[0], "", *title)
        self.add_name(card)
        self.state.nested_parse(self.content, self.content_offset, card)
        fields = [term.astext() for term in card.findall(nodes.term)]
        if fields != FIELDS:
            raise self.error(f"an erratum has the fields {FIELDS}, not {fields}")
        return [card, *messages]


def link_boxes(app, doctree):
    """End each box with a link to its card."""
    for box in doctree.findall(nodes.admonition):
        if "slide-check" not in box["classes"]:
            continue
        name = next(iter(box["names"]), "")
        if not name.startswith("slide-check-"):
            logger.warning("a slide check needs a name, slide-check-NAME", location=box)
            continue
        to_card = link(name.replace("slide-check", "erratum", 1), "In the list of errata")
        box += nodes.paragraph("", "", to_card, classes=["to-erratum"])


def setup(app):
    """Register with Sphinx."""
    app.add_directive("erratum", Erratum)
    app.connect("doctree-read", link_boxes)
