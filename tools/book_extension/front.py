"""The front page: cover, a card for each chapter, and how to cite the book.

What it says is taken from where it is decided: titles, times and figures from the chapters; the
number of claims from their registry; version, date and authors from `CITATION.cff`.
"""

import os
from html import escape
from pathlib import Path

import yaml
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from book_extension.chapters import ROOT, chapters
from book_extension.labels import link
from lecturelib.claims import registry

THUMBNAIL = 660, 400  # pixels at most: twice what a card shows


def html(text):
    """Return a node of raw HTML."""
    return nodes.raw("", text, format="html")


class Cover(SphinxDirective):
    """``{cover} picture``: square frames side by side in one picture, each with a title and words.

    The content is a line ``title: alternative text`` for each frame, then an empty line and the
    caption. Every frame is an image of its own, so that they can stand in rows on a phone.
    """

    required_arguments = 1
    has_content = True

    def run(self):
        """Return the figure."""
        gap = self.content.index("")
        titles = dict(line.split(": ", 1) for line in self.content[:gap])
        parts = [html('<figure class="cover"><div class="frames">')]
        for k, (title, alt) in enumerate(titles.items()):
            classes = ["dark-light", f"frame-{k}"]  # the theme puts no white panel behind the first
            image = nodes.image(uri=self.arguments[0], alt=alt, classes=classes)
            words = html(f"<figcaption>{escape(title)}</figcaption></figure>")
            parts += [html("<figure>"), image, words]
        caption = nodes.Element()
        self.state.nested_parse(self.content[gap + 1 :], self.content_offset + gap + 1, caption)
        return [*parts, html("</div><figcaption>"), *caption, html("</figcaption></figure>")]


class ChapterCards(SphinxDirective):
    """``{chapter-cards}``: a card for each chapter.

    The content is YAML: for each chapter the name of its figure, and a sentence on it.
    """

    has_content = True

    def run(self):
        """Return the list of cards."""
        said = yaml.safe_load("\n".join(self.content))
        book = chapters()
        if said.keys() != {chapter.name for chapter in book}:
            raise self.error(f"cards are of {[*said]}, chapters {[c.name for c in book]}")
        cards = nodes.bullet_list(classes=["cards"])
        cards += [self.card(chapter, **said[chapter.name]) for chapter in book]
        return [cards]

    def card(self, chapter, figure, sentence):
        """Return one card: figure, title, sentence, times, and a link to the chapter's claims."""
        self.env.note_dependency(str(chapter.path))
        picture, alt = chapter.figure(figure)
        reading, running = chapter.times
        count = sum(claim.chapter == chapter.name for claim in registry().values())
        facts = nodes.paragraph(classes=["facts"])
        facts += nodes.Text(f"{reading} to read, {running} to run, ".capitalize())
        facts += link(chapter.claims_label, f"{count} claims")
        return nodes.list_item(
            "",
            nodes.image(uri=self.thumbnail(picture, chapter.name), alt=alt),
            nodes.paragraph("", "", chapter.link(), classes=["title"]),
            nodes.paragraph(text=sentence),
            facts,
        )

    def thumbnail(self, picture, name):
        """Store a small copy of a picture beside the site; return its address for Sphinx."""
        folder = Path(self.env.app.outdir).parent / "thumbnails"
        folder.mkdir(parents=True, exist_ok=True)
        picture.thumbnail(THUMBNAIL)
        picture.quantize(64).save(folder / f"{name}.png", optimize=True)
        return f"/{Path(os.path.relpath(folder, self.env.srcdir)).as_posix()}/{name}.png"


def bibtex(citation):
    """Return the book's entry for a bibliography, from the fields of `CITATION.cff`."""
    fields = {
        "title": f"{{{citation['title']}}}",
        "author": " and ".join(
            f"{{{person['name']}}}"
            if "name" in person
            else f"{person['family-names']}, {person['given-names']}"
            for person in citation["authors"]
        ),
        "year": str(citation["date-released"].year),
        "note": f"Version {citation['version']}",
    }
    if ".invalid/" not in (address := citation.get("url", ".invalid/")):
        fields["url"] = address
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"@book{{lowdimensional{fields['year']},\n{lines}}}"


class Citation(SphinxDirective):
    """``{citation}``: version and date of the book, and its BibTeX entry to copy."""

    def run(self):
        """Return the lines."""
        path = ROOT / "CITATION.cff"
        self.env.note_dependency(str(path))
        citation = yaml.safe_load(path.read_text(encoding="utf-8"))
        date = citation["date-released"]
        version = f"This is version {citation['version']} of {date.day} {date:%B %Y}."
        entry = bibtex(citation)
        return [
            nodes.paragraph(text=version, classes=["version"]),
            nodes.literal_block(entry, entry, language="bibtex"),
        ]


def setup(app):
    """Register with Sphinx."""
    app.add_directive("cover", Cover)
    app.add_directive("chapter-cards", ChapterCards)
    app.add_directive("citation", Citation)
