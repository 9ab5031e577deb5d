"""The chapters, as their notebooks and `_toc.yml` describe them."""

import base64
import io
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from docutils import nodes
from PIL import Image
from sphinx.addnodes import pending_xref
from sphinx.errors import ExtensionError

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Chapter:
    """What a chapter's notebook says about itself."""

    name: str

    @property
    def path(self):
        """The notebook's file."""
        return ROOT / "chapters" / f"{self.name}.ipynb"

    @cached_property
    def cells(self):
        """Its cells."""
        return json.loads(self.path.read_text(encoding="utf-8"))["cells"]

    @property
    def title(self):
        """Its first line."""
        return self.opening.partition("\n")[0].removeprefix("# ")

    @cached_property
    def opening(self):
        """The text of its first cell, where the box is."""
        return "".join(self.cells[0]["source"])

    def entry(self, name):
        """Return one entry of the box *Before you start*, as one line."""
        found = re.search(rf"^\*\*{name}\*\*:?\s(.*?)(?=\n\n|\n:::)", self.opening, re.M | re.S)
        if found is None:
            raise ExtensionError(f"chapters/{self.name}: no entry {name!r} in *Before you start*")
        return " ".join(found[1].split())

    @property
    def times(self):
        """How long it takes to read and to run, in words."""
        words = self.entry("Time")
        found = re.match(r"reading, (.*?); running, (.*?)(?: on .*?)?\.", words)
        if found is None:
            raise ExtensionError(f"chapters/{self.name}: no times to read and to run in {words!r}")
        return found.groups()

    @property
    def claims_label(self):
        """The label of its section of the claims page."""
        return f"claims-{self.name.replace('_', '-')}"

    @property
    def prerequisites(self):
        """Chapters to be read before: name → whether it is needed, or only helps."""
        return {
            name: not sentence.endswith(" helps")
            for sentence in re.split(r"\.(?= |$)", self.entry("You need"))
            for name in re.findall(r"\]\((\w+)\.ipynb\)", sentence)
        }

    def link(self):
        """Return a reference to its page, to be resolved when all pages are known."""
        options = {"refdomain": "std", "reftype": "doc", "refexplicit": True}
        target = f"/chapters/{self.name}"
        return pending_xref("", nodes.inline(text=self.title), reftarget=target, **options)

    def figure(self, name):
        """Return a figure that a cell has drawn, as an image, with its alternative text."""
        for cell in self.cells:
            settings = cell["metadata"].get("mystnb", {})
            if settings.get("figure", {}).get("name") == name:
                [data] = [o["data"]["image/png"] for o in cell["outputs"] if "data" in o]
                picture = Image.open(io.BytesIO(base64.b64decode("".join(data))))
                return picture.convert("RGB"), settings["image"]["alt"]
        raise ExtensionError(f"chapters/{self.name}: no figure {name!r}")


def chapters():
    """Return the chapters in the order of the book."""
    toc = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    return [Chapter(name) for name in re.findall(r"file: chapters/(\w+)", toc)]
