"""Fonts hold what the site draws, and no others.

The theme brings two thousand icons in several formats, and a script that draws them a second time.
Its style sheets draw from the font alone, so the script goes (see `pages`) and the font is cut, as
MathJax's are.
"""

import base64
import re

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

ICON = re.compile(r"((?:\.fa-[\w-]+:before,?)+)\{content:\"[^\"]*\"\}")
FACE = re.compile(r"@font-face\{[^}]*Font Awesome[^}]*\}")


def cut(font, characters, path):
    """Save a font, cut to the glyphs of some characters, as WOFF2; whole if it has none of them."""
    font = TTFont(font)
    if font.getBestCmap().keys() & set(map(ord, characters)):
        options = Options(layout_features=[])
        options.drop_tables += ["FFTM"]  # times of a font editor
        subset = Subsetter(options)
        subset.populate(text=characters)
        subset.subset(font)
    font.flavor = "woff2"
    font.save(path)


def drawn_characters(style):
    r"""Return all that a style sheet quotes: as it is, or escaped as in `"\2211"`."""
    quoted = " ".join(re.findall(r'"((?:[^"\\\n]|\\.)*)"', style))
    return re.sub(r"\\([0-9A-Fa-f]{1,6}) ?", lambda found: chr(int(found[1], 16)), quoted)


def cut_icons(static, soups):
    """Cut the solid face and the rules to the icons in use; leave out other faces and formats."""
    path = static / "styles" / "pydata-sphinx-theme.css"
    used = {name for soup in soups for e in soup.select("[class*=fa-]") for name in e["class"]}

    def unless_unused(rule):
        return rule[0] if used & set(re.findall(r"\.([\w-]+):", rule[1])) else ""

    solid = (
        "@font-face{font-display:block;font-family:Font Awesome\\ 6 Free;font-style:normal;"
        'font-weight:900;src:url(../icons.woff2) format("woff2")}'
    )
    faces = iter([solid])
    style = ICON.sub(unless_unused, path.read_text(encoding="utf-8"))
    style = FACE.sub(lambda _: next(faces, ""), style)
    path.write_text(style, encoding="utf-8")
    style += (static / "styles" / "sphinx-book-theme.css").read_text(encoding="utf-8")
    solid = static / "vendor" / "fontawesome" / "webfonts" / "fa-solid-900.woff2"
    cut(solid, drawn_characters(style), static / "icons.woff2")


def embed_letters(static):
    """Put the letters into the style sheet: they are there when the first line is drawn."""
    sheet = static / "book.css"
    style = sheet.read_text(encoding="utf-8")
    for face in sorted((static / "fonts").glob("*-latin-*.woff2")):
        letters = base64.b64encode(face.read_bytes()).decode()
        style = style.replace(f"fonts/{face.name}", f"data:font/woff2;base64,{letters}")
    sheet.write_text(style, encoding="utf-8")
