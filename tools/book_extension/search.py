"""Search that needs no server: the book's entries as a script, and a page that looks through them.

A section of a page is an entry; what has a name of its own (a theorem, an exercise, a glossary
term, a claim, a routine) is an entry apart from it. Outputs and lines that import are left out. In
an entry's text a newline ends a block, and a formula, in plain letters, stands between two tabs: a
link to words of the page must not cross either, for a browser would not find them there.
"""

import json
import re
import shutil
import unicodedata
from itertools import takewhile
from pathlib import Path

from bs4 import BeautifulSoup
from pylatexenc.latex2text import LatexNodes2Text

FOLDER = Path(__file__).parent
ASSETS = [
    FOLDER / "vendor" / "minisearch" / "minisearch.js",
    FOLDER / "vendor" / "minisearch" / "LICENSE.txt",
    FOLDER / "assets" / "search.js",
    FOLDER / "assets" / "search.css",
]
# What Sphinx copies for the search that is not built.
UNUSED = ["searchtools.js", "language_data.js"]

# What becomes an entry, and of which kind: the search page ranks by it.
ENTRIES = {
    "section:has(> h1, > h2, > h3, > h4, > h5, > h6)": "section",
    ".proof.definition[id]": "definition",
    ".proof:is(.theorem, .lemma, .corollary, .proposition)[id]": "statement",
    ".exercise[id]": "exercise",
    ".solution[id]": "solution",
    "dl.glossary > dt[id]": "term",
    "dl.notation > dt[id]": "symbol",
    ".citation[id]": "source",
    "[id^=claim-]": "claim",
    "dt.sig[id]": "library",
}
HEADING = "h1, h2, h3, h4, h5, h6, .admonition-title, dt, .label"
# Kinds whose name is their anchor, behind a prefix.
NAMED = {"claim": "claim-", "library": "lecturelib."}
UNREAD = ".headerlink, .eqno, .cell_output, div.math, summary, button, nav, script, style"
BLOCKS = "p, li, dt, dd, td, th, div, section, figcaption, pre, blockquote, h1, h2, h3, h4, h5, h6"
IMPORT = re.compile(r"^(?:>>> )?(?:import|from) (?:[^(\n]*\([^)]*\)|[^\n]*)\n?", re.MULTILINE)
FORMULAS = LatexNodes2Text(math_mode="text")


def plain_formula(tex):
    r"""Return a formula in plain letters: ``\mathcal{NC}_1`` is what a reader calls NC1."""
    # A fraction on one line needs its brackets.
    tex = re.sub(r"\\[dt]?frac\{([^{}]{2,})\}", r"\\frac{(\1)}", tex)
    tex = re.sub(r"(\\[dt]?frac(?:\{[^{}]*\}|\w))\{([^{}]{2,})\}", r"\1{(\2)}", tex)
    tex = re.sub(r"\\neq?(?![a-zA-Z])", "≠", tex)
    letters = FORMULAS.latex_to_text(tex.strip().removeprefix(r"\(").removesuffix(r"\)"))
    return unicodedata.normalize("NFKC", letters).replace("_", "").strip()


def mark_text(article):
    """Turn a page into what is read: blocks end in newlines, formulas stand between tabs."""
    for element in article.select(UNREAD):
        captions = [caption.extract() for caption in element.select("figcaption")]
        element.replace_with(*captions)
    code = {id(string) for block in article("pre") for string in block.find_all(string=True)}
    for string in article.find_all(string=True):
        if id(string) not in code:
            string.replace_with(re.sub(r"\s+", " ", string))
    for formula in article.select("span.math"):
        formula.string = f"\t{plain_formula(formula.get_text())}\t"
    for block in article.select(BLOCKS):
        block.insert(0, "\n")
        block.append("\n")


def text_of(element):
    """Return the text of a marked element, without empty lines."""
    lines = (re.sub(" +", " ", line).strip(" ") for line in element.get_text().split("\n"))
    return "\n".join(line for line in lines if line)


def title_of(element):
    """Return the title of a marked element in one line."""
    title = element.select_one(HEADING)
    return " ".join(text_of(title).replace("\t", "").split()) if title else ""


def with_its_descriptions(term):
    """Return an element that holds a term and what is said of it."""
    siblings = term.find_next_siblings(True)
    descriptions = list(takewhile(lambda sibling: sibling.name == "dd", siblings))
    whole = term.wrap(BeautifulSoup("", "html.parser").new_tag("div"))
    whole.extend(descriptions)
    return whole


def entries(html, address):
    """Return the entries of a page, in its order."""
    article = BeautifulSoup(html, "html.parser").find("article")
    mark_text(article)
    found = []
    # From the last to the first: an entry within an entry is taken out before the one around it.
    for element in reversed(article.select(", ".join(ENTRIES))):
        kind = next(kind for selector, kind in ENTRIES.items() if element.css.match(selector))
        anchor = element["id"]
        above = [title_of(section) for section in reversed(element.find_parents("section"))]
        if element.name == "dt":
            element = with_its_descriptions(element)
        element.extract()
        title = anchor.removeprefix(NAMED[kind]) if kind in NAMED else title_of(element)
        if kind != "claim":  # which has no heading
            element.select_one(HEADING).extract()
        code = "\n".join(block.extract().get_text().strip() for block in element.select("pre"))
        # A definition sets in bold what it defines.
        defined = [text_of(term) for term in element("strong")] if kind == "definition" else []
        if kind == "section":
            kind = "reference" if "backmatter/" in address else "section" if above else "chapter"
        found.append(
            {
                "kind": kind,
                "address": f"{address}#{anchor}",
                "above": list(filter(None, above)),
                "title": title,
                "defined": " ".join(defined),
                "text": text_of(element),
                "code": IMPORT.sub("", code).strip(),
            }
        )
    return found[::-1]


def leave_out_sphinx_search(app):
    """Build neither Sphinx's index nor its search page, and find this book's templates."""
    app.builder.search = False


def add_page(app):
    """Give the site its search page."""
    yield "search", {}, "search.html"


def write_entries(app, exception):
    """Write the entries of all pages, and what looks through them, into the built site."""
    if exception is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir, "_search")
    folder.mkdir(exist_ok=True)
    for asset in ASSETS:
        shutil.copy(asset, folder)
    for unused in UNUSED:
        Path(app.outdir, "_static", unused).unlink(missing_ok=True)
    found = []
    for name in sorted(app.env.found_docs):
        page = Path(app.builder.get_outfilename(name)).read_text(encoding="utf-8")
        found += entries(page, app.builder.get_target_uri(name))
    data = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    Path(folder, "entries.js").write_text(f"window.bookEntries = {data};\n", encoding="utf-8")


def configure(app, config):
    """Let the book's own templates come before the theme's."""
    config.templates_path.append(str(FOLDER / "templates"))


def setup(app):
    """Register with Sphinx."""
    app.connect("config-inited", configure)
    app.connect("builder-inited", leave_out_sphinx_search)
    app.connect("html-collect-pages", add_page)
    # Before formulas are typeset: their letters are read from TeX.
    app.connect("build-finished", write_entries, priority=400)
