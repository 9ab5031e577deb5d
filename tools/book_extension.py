"""Sphinx extension of this book.

Four rules it enforces on every build:

- the claims page is made from the registry (`lecturelib/claims.toml`) and from the lines that the
  chapters' stored outputs show, so it cannot say anything else;
- mathematics is typeset by a MathJax that lies in the site itself, without the parts nobody loads;
- no page carries the scripts of thebe, which would start code from other hosts;
- no button leads to the placeholder address that the repository has before it is published.
"""

import importlib.util
import json
import re
import shutil
import tomllib
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

# MathJax's main file, its fonts, TeX packages loaded on demand, and speech for screen readers.
MATHJAX = [
    "tex-chtml.js",
    "output",
    "input/tex",
    "a11y",
    "sre/mathmaps/base.json",
    "sre/mathmaps/en.json",
]
STATUSES = {
    "here": "checked in the chapter",
    "full-scale": "reproduced at full scale",
    "quoted": "quoted, not run by this book",
}


class ClaimsTable(SphinxDirective):
    """``{claims}``: one table per chapter, a row for each registered claim."""

    def run(self):
        """Write the tables as Markdown and let the page's own parser read them."""
        root = Path(self.env.srcdir)
        registry = root / "lecturelib" / "claims.toml"
        self.env.note_dependency(str(registry))
        # Not through lecturelib.claims: that needs torch, and building the book does not.
        claims = tomllib.loads(registry.read_text(encoding="utf-8"))
        lines, table = [], nodes.container(classes=["claims"])
        for chapter in dict.fromkeys(claim["chapter"] for claim in claims.values()):
            notebook = root / "chapters" / f"{chapter}.ipynb"
            self.env.note_dependency(str(notebook))
            demands = checked_demands(notebook)
            lines += [f"From {{doc}}`/chapters/{chapter}`:", ""]
            lines += ["| Claim | Source | Status |", "|---|---|---|"]
            for name, claim in claims.items():
                if claim["chapter"] == chapter:
                    status = STATUSES[claim["status"]]
                    if name in demands:
                        status += f": {demands[name]}"
                    lines.append(f"| {claim['statement']} | {claim['source']} | {status} |")
            lines.append("")
        self.state.nested_parse(StringList(lines, "claims"), self.content_offset, table)
        return [table]


def checked_demands(notebook):
    """Return what each claim's line in the stored outputs demanded, by the claim's name."""
    demands = {}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            for line in "".join(output.get("text", [])).splitlines():
                if match := re.fullmatch(r"✓ ([a-z0-9-]+): .*\. \((.+)\)", line):
                    demands[match[1]] = match[2]
    return demands


def skip_constants_and_imports(app, what, name, obj, skip, options):
    """Leave out of the API pages module constants, whose values are long, and what is imported."""
    return skip or getattr(obj, "type", None) == "data" or getattr(obj, "imported", False)


def configure(app, config):
    """Use the site's own MathJax, never thebe, one header, and no buttons without an address."""
    app.connect("autodoc-skip-member", skip_constants_and_imports)
    config.mathjax_path = "mathjax/tex-chtml.js"
    for listeners in list(app.events.listeners.values()):
        for listener in list(listeners):
            name = getattr(listener.handler, "__name__", "")
            if name in {"init_thebe_core", "update_thebe_context"}:
                app.disconnect(listener.id)
    options = config.html_theme_options
    # The theme's parent would draw a second header bar, with a second search field.
    options.update(navbar_start=[], navbar_center=[], navbar_end=[], navbar_persistent=[])
    if ".invalid/" in options.get("repository_url", ""):
        options.update(use_repository_button=False, repository_url="", launch_buttons={})


def copy_mathjax(app, exception):
    """Copy the parts of MathJax that a page can load into the built site."""
    if exception is not None or app.builder.format != "html":
        return
    [package] = importlib.util.find_spec("sphinx-mathjax-offline").submodule_search_locations
    for part in MATHJAX:
        source = Path(package, "static", "mathjax", part)
        target = Path(app.outdir, "_static", "mathjax", part)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)


def setup(app):
    """Register with Sphinx."""
    app.add_directive("claims", ClaimsTable)
    app.connect("config-inited", configure, priority=900)
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
