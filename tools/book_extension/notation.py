"""The list of symbols: each has an id, so that glossary, chapters and previews can lead to it."""

import re

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from book_extension.labels import set_label

NAME = re.compile(r"\[([a-z0-9-]+)\] ")


class Notation(SphinxDirective):
    """``{notation}``: a definition list whose terms, the symbols, begin with ``[name]``.

    The name makes the id ``notation-name``. First comes what a symbol means, then
    what the code calls it.
    """

    has_content = True

    def run(self):
        """Give every symbol its id, or complain about one without a name."""
        listing = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, listing)
        for term in listing.findall(nodes.term):
            name = NAME.match(term.astext())
            if name is None:
                raise self.error(f"a symbol begins with its [name], not with {term.astext()!r}")
            label = f"notation-{name[1]}"
            term["ids"].append(label)
            set_label(self.env, label, self.env.docname)
            term.replace(term[0], nodes.Text(term[0][name.end() :]))
        for definitions in listing.findall(nodes.definition_list):
            definitions["classes"].append("notation")
        return listing.children


def setup(app):
    """Register with Sphinx."""
    app.add_directive("notation", Notation)
