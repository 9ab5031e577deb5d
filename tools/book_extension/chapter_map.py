"""The map of the chapters: a picture with links, an arrow for each prerequisite.

Who builds on whom is what each chapter's box *Before you start* says, so the map cannot differ.
"""

from html import escape
from textwrap import wrap

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from book_extension.chapters import chapters


class chapter_map(nodes.General, nodes.Element):
    """The map of the chapters, drawn when the addresses of the pages are known."""


class ChapterMap(SphinxDirective):
    """``{chapter-map}``: the chapters as a picture with links, an arrow for each prerequisite."""

    def run(self):
        """Return the map's node."""
        for chapter in chapters():
            self.env.note_dependency(str(chapter.path))
        return [chapter_map()]


def spread(wanted):
    """Move places apart, those further down, until any two are a row from each other."""
    placed = {}
    for key in sorted(wanted, key=wanted.get):
        placed[key] = max(wanted[key], max(placed.values(), default=-1) + 1)
    return placed


def mean(values):
    """Return the mean of some numbers, 0 if there are none."""
    values = list(values)
    return sum(values) / max(1, len(values))


def layered(prerequisites):
    """Return (column, row) of each chapter: right of all that it needs, near what it is joined to.

    The column with most chapters sets the rows; the others lean on it, outwards.
    """
    columns = {}
    for name, needed in prerequisites.items():  # in the order of the book, so that these are known
        columns[name] = 1 + max((columns[other] for other in needed), default=-1)
    members = {}
    for name, column in columns.items():
        members.setdefault(column, []).append(name)
    followers = {
        name: [other for other in prerequisites if name in prerequisites[other]]
        for name in prerequisites
    }
    order = {name: k for k, name in enumerate(prerequisites)}
    widest = max(members, key=lambda column: len(members[column]))
    ranked = sorted(members[widest], key=lambda name: mean(order[n] for n in prerequisites[name]))
    rows = {name: k for k, name in enumerate(ranked)}
    for column in sorted(members, key=lambda column: abs(column - widest)):
        if column != widest:
            joined = followers if column < widest else prerequisites
            rows |= spread(
                {name: mean(rows[n] for n in joined[name] if n in rows) for name in members[column]}
            )
    return {name: (columns[name], rows[name]) for name in prerequisites}


def box(x, y, width, height, chapter, address, before):
    """Return a chapter's box: a link named by the title and what it builds on."""
    lines = wrap(chapter.title, width // 9)
    name = f"{chapter.title}, after {' and '.join(before)}" if before else chapter.title
    text = " ".join(
        f'<tspan x="{x + width / 2:g}" y="{y + height / 2 + 20 * (k - (len(lines) - 1) / 2):g}">'
        f"{escape(line)}</tspan>"
        for k, line in enumerate(lines)
    )
    return (
        f'<a href="{address}" aria-label="{escape(name)}">'
        f'<rect x="{x:g}" y="{y:g}" width="{width}" height="{height}" rx="6"/>'
        f"<text>{text}</text></a>"
    )


def arrow(path, x, y, needed):
    """Return an edge along a path that ends at a point, from its left."""
    kind = "needed" if needed else "helps"
    return f'<path class="{kind}" d="{path}"/><path class="head" d="M{x:g} {y:g}l-8 -4v8z"/>'


def drawn(size, kind, edges, boxes):
    """Return the picture, the boxes above the edges."""
    width, height = size
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height:g}" width="{width}" height="{height:g}">'
        f"{''.join(edges)}{''.join(boxes)}</svg>"
    )


def wide_map(book, address):
    """Draw the map from left to right, for a wide page."""
    width, height, across, down = 192, 54, 254, 74
    places = layered({chapter.name: chapter.prerequisites for chapter in book})
    corners = {
        name: (1 + column * across, 1 + row * down) for name, (column, row) in places.items()
    }
    titles = {chapter.name: chapter.title for chapter in book}
    edges, boxes = [], []
    for chapter in book:
        x, y = corners[chapter.name]
        for other, needed in chapter.prerequisites.items():
            a, b = corners[other][0] + width, corners[other][1] + height / 2
            bend, end = (x - a) / 2, y + height / 2
            path = f"M{a:g} {b:g}C{a + bend:g} {b:g} {x - bend:g} {end:g} {x - 6:g} {end:g}"
            edges.append(arrow(path, x, end, needed))
        before = [titles[other] for other in chapter.prerequisites]
        boxes.append(box(x, y, width, height, chapter, address(chapter), before))
    right, bottom = (max(corner[k] for corner in corners.values()) for k in range(2))
    return drawn((right + width + 1, bottom + height + 1), "wide", edges, boxes)


def tall_map(book, address):
    """Draw the map for a phone: one chapter a row, the arrows at the left."""
    width, height, down, margin = 262, 54, 66, 78
    rows = {chapter.name: k for k, chapter in enumerate(book)}
    titles = {chapter.name: chapter.title for chapter in book}
    edges, boxes = [], []
    for chapter in book:
        row = rows[chapter.name]
        y, end = 1 + row * down, 1 + row * down + height / 2 - 7
        for other, needed in chapter.prerequisites.items():
            start = 1 + rows[other] * down + height / 2 + 7
            out = margin - 14 - 56 * (row - rows[other]) / (len(book) - 1)
            path = f"M{margin} {start:g}C{out:g} {start:g} {out:g} {end:g} {margin - 6} {end:g}"
            edges.append(arrow(path, margin, end, needed))
        before = [titles[other] for other in chapter.prerequisites]
        boxes.append(box(margin, y, width, height, chapter, address(chapter), before))
    return drawn((margin + width + 1, (len(book) - 1) * down + height + 2), "tall", edges, boxes)


def visit_chapter_map(writer, node):
    """Write the map twice; the style sheet shows the one that the page has room for."""
    book = chapters()

    def address(chapter):
        builder = writer.builder
        return builder.get_relative_uri(builder.current_docname, f"chapters/{chapter.name}")

    pictures = wide_map(book, address) + tall_map(book, address)
    writer.body.append(
        f'<nav class="chapter-map" aria-label="Map of the chapters">{pictures}</nav>'
    )
    raise nodes.SkipNode


def setup(app):
    """Register with Sphinx."""
    app.add_node(chapter_map, html=(visit_chapter_map, None))
    app.add_directive("chapter-map", ChapterMap)
