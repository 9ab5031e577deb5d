"""Formulas in a line of text keep their punctuation: no line begins with its comma."""

import re

from docutils import nodes

OPENING = re.compile(r"[(\[]$")
CLOSING = re.compile(r"^[.,;:!?)\]]+")


def keep_punctuation(app, doctree):
    """Bind to each formula the bracket before it and the punctuation after it.

    A formula is a box of its own, after which a browser may break the line.
    """
    for formula in list(doctree.findall(nodes.math)):
        line, place = formula.parent, formula.parent.index(formula)
        before = line[place - 1] if place else None
        after = line[place + 1] if place + 1 < len(line) else None
        opening = OPENING.search(before) if isinstance(before, nodes.Text) else None
        closing = CLOSING.search(after) if isinstance(after, nodes.Text) else None
        if not opening and not closing:
            continue
        bound = nodes.inline(classes=["unbroken"])
        line.replace(formula, bound)
        if opening:
            bound += nodes.Text(opening[0])
            line.replace(before, nodes.Text(before[: opening.start()]))
        bound += formula
        if closing:
            bound += nodes.Text(closing[0])
            line.replace(after, nodes.Text(after[closing.end() :]))


def setup(app):
    """Register with Sphinx."""
    app.connect("doctree-read", keep_punctuation)
