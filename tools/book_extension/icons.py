"""The icon font holds the icons that the site draws, and no others.

The theme brings two thousand in several formats, and a script that draws them a second time. Its
style sheets draw from the font alone, so the script goes (see `pages`) and the font is cut.
"""

import re

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

NAMED = re.compile(r"\.(fa-[a-z0-9-]+)\{--fa:\"\\([0-9a-f]+)\"\}")
FACE = re.compile(r"@font-face\{[^}]*Font Awesome[^}]*\}")


def cut(static, soups):
    """Cut the solid face to what is used, and leave out the other faces and formats."""
    path = static / "styles" / "pydata-sphinx-theme.css"
    style = path.read_text(encoding="utf-8")
    sheets = style + (static / "styles" / "sphinx-book-theme.css").read_text(encoding="utf-8")
    used = {name for soup in soups for e in soup.select("[class*=fa-]") for name in e["class"]}
    named = {name: int(code, 16) for name, code in NAMED.findall(style)}
    drawn = {int(code, 16) for code in re.findall(r"(?<!--fa:)\"\\(f[0-9a-f]{3})\"", sheets)}
    font = TTFont(static / "vendor" / "fontawesome" / "webfonts" / "fa-solid-900.woff2")
    subset = Subsetter(Options(flavor="woff2", layout_features=[]))
    subset.populate(unicodes={named[name] for name in used & named.keys()} | drawn)
    subset.subset(font)
    font.flavor = "woff2"
    font.save(static / "icons.woff2")
    solid = (
        "@font-face{font-display:block;font-family:Font Awesome\\ 6 Free;font-style:normal;"
        'font-weight:900;src:url(../icons.woff2) format("woff2")}'
    )
    faces = iter([solid])
    style = FACE.sub(lambda _: next(faces, ""), style)
    path.write_text(style, encoding="utf-8")
