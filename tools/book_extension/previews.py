"""Previews: which links have one, and what pages show of one another.

A link to a box, an equation, a figure, a table, a citation, a term or a claim is marked with
``data-preview``. `_static/previews.js` shows what it leads to: from the page itself, or, since a
page opened from a folder may read no other, from a script that holds what others refer to.
"""

import copy
import json
import re
from collections import defaultdict
from html import unescape
from itertools import takewhile
from pathlib import Path
from urllib.parse import unquote

from bs4 import BeautifulSoup, SoupStrainer

PREVIEWED = (
    ".admonition:is(.definition, .theorem, .lemma, .corollary, .proposition, .exercise)[id], "
    ".slide-check[id], .erratum[id], div.math[id], figure[id], table[id], .citation[id], "
    "dl:is(.glossary, .notation) > dt[id], [id^=claim-]"
)
LINK = re.compile(r'<a\b(?=[^>]*\bclass="reference internal\b)[^>]*\bhref="([^"#]*)#([^"]+)"')


def unit(target):
    """Return what a preview shows of a target, fit to stand alone."""
    if target.name == "dt":
        whole = BeautifulSoup("", "html.parser").new_tag("dl", attrs=target.parent.attrs)
        siblings = target.find_next_siblings(True)
        descriptions = takewhile(lambda sibling: sibling.name == "dd", siblings)
        whole.extend(copy.copy(part) for part in [target, *descriptions])
        return whole
    whole = copy.copy(target)
    for part in [whole, *whole("td")]:  # rows and items make no sense without their table or list
        if part.name in {"tr", "td", "li"}:
            part.name = "div"
    return whole


def write_previews(app, exception):
    """Mark the links, and write for each page what others show of it."""
    if exception is not None or app.builder.format != "html":
        return
    pages, targets = {}, {}
    for name in app.env.found_docs:
        path = Path(app.builder.get_outfilename(name))
        pages[path] = path.read_text(encoding="utf-8")
        article = BeautifulSoup(pages[path], "html.parser", parse_only=SoupStrainer("article"))
        targets[path] = {element["id"]: element for element in article.select(PREVIEWED)}
    wanted = defaultdict(set)
    for path, html in pages.items():

        def mark(match, path=path):
            address, anchor = (unquote(unescape(part)) for part in match.groups())
            target = (path.parent / address).resolve() if address else path
            if anchor not in targets.get(target, {}):
                return match[0]
            if target != path:
                wanted[target].add(anchor)
            return f'{match[0]} data-preview=""'

        path.write_text(LINK.sub(mark, html), encoding="utf-8")
    for path, anchors in wanted.items():
        shown = [str(unit(target)) for name, target in targets[path].items() if name in anchors]
        page = path.relative_to(app.outdir)
        script = Path(app.outdir, "_previews", page).with_suffix(".js")
        script.parent.mkdir(parents=True, exist_ok=True)
        data = json.dumps("\n".join(shown), ensure_ascii=False)
        code = f"(window.bookPreviews ??= {{}})[{json.dumps(page.as_posix())}] = {data};\n"
        script.write_text(code, encoding="utf-8")


def setup(app):
    """Register with Sphinx."""
    # When the pages are as readers get them, their formulas typeset.
    app.connect("build-finished", write_previews, priority=700)
