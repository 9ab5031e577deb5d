"""Every mention of a lecture by its number leads to the page that introduces the lectures."""

import re

from docutils import nodes

from book_extension.labels import link

PAGE = "backmatter/lectures"
# The lectures are 000 to 004. A part of 10 000, of 0.001 or of an identifier is no lecture.
MENTION = re.compile(r"(?:\b[Ll]ecture\s+)?(?<![\d-])(?<!\d[\s.,])\b(00[0-4])\b(?![.,]?\d)")
# What is not prose, and what leads somewhere already.
CLOSED = (
    nodes.literal,
    nodes.literal_block,
    nodes.math,
    nodes.math_block,
    nodes.pending,
    nodes.raw,
    nodes.reference,
    nodes.title,
)


def linked(text):
    """Return the nodes of a text, its mentions of lectures made links; none if it has none."""
    parts, end = [], 0
    for mention in MENTION.finditer(text):
        parts += [nodes.Text(text[end : mention.start()])]
        parts += [link(f"lecture-{mention[1]}", mention[0])]
        end = mention.end()
    return [*parts, nodes.Text(text[end:])] if parts else []


def is_closed(node):
    """Tell whether a node stands within code, mathematics, a title or a link."""
    while node is not None:
        if isinstance(node, CLOSED) or "reftype" in getattr(node, "attributes", {}):
            return True
        node = node.parent
    return False


def link_lectures(app, doctree):
    """Link the mentions of a page, unless it is the page they would lead to."""
    if app.env.docname == PAGE:
        return
    for text in list(doctree.findall(nodes.Text)):
        parts = linked(text.astext())
        if parts and not is_closed(text.parent):
            text.parent.replace(text, parts)


def setup(app):
    """Register with Sphinx."""
    app.connect("doctree-read", link_lectures)
