"""The list of assignments, made from their notebooks for students.

Each is offered as a file; where the book has a public address, also in Colab.
"""

import re

import nbformat
from docutils import nodes
from repository import ADDRESS
from sphinx.addnodes import download_reference
from sphinx.util.docutils import SphinxDirective

from book_extension.chapters import ROOT

COLAB = "https://colab.research.google.com/github"


class Assignments(SphinxDirective):
    """``{assignments}``: of each notebook in `assignments` its title, question, time and links."""

    def run(self):
        """Return a section for each notebook."""
        repository = self.env.config.html_theme_options.get("repository_url", "")
        sections = []
        for path in sorted((ROOT / "assignments").glob("*.ipynb")):
            self.env.note_dependency(str(path))
            opening = nbformat.read(path, as_version=4).cells[0].source
            title, question = opening.removeprefix("# ").split("\n\n")[:2]
            section = nodes.section(ids=[f"assignment-{path.stem}"])
            section += nodes.title(text=title)
            section += nodes.paragraph(text=" ".join(question.split()))
            time = re.search(r"^\*\*Time\*\*:\s+([^.]+)\.", opening, re.MULTILINE)
            if time is None:
                raise self.error(f"{path.name} does not say its **Time**")
            section += nodes.paragraph(text=f"Time: {' '.join(time[1].split())}.")
            section += self.links(path.name, repository)
            sections.append(section)
        return sections

    def links(self, name, repository):
        """Return a paragraph with the ways to get a notebook."""
        target = f"/assignments/{name}"
        file = download_reference("", "", nodes.literal(text=name), reftarget=target)
        paragraph = nodes.paragraph("", "", nodes.Text("Take it home: "), file)
        if address := ADDRESS.fullmatch(repository):
            colab = f"{COLAB}/{address[1]}/{address[2]}/blob/main/assignments/{name}"
            opened = nodes.reference("", "Open it in Colab", refuri=colab)
            paragraph += [nodes.Text(". "), opened]
        paragraph += nodes.Text(".")
        return paragraph


def setup(app):
    """Register with Sphinx."""
    app.add_directive("assignments", Assignments)
