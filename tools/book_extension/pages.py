"""What every built page goes through before it is done.

Formulas are typeset, cells and solutions fold, images get their size and open in full, what no page
needs is left out, and a policy forbids the rest.
"""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup
from PIL import Image

from book_extension import cells, fonts, mathematics, security

# What the theme and Jupyter Book load on every page and this book does not need: formulas, icons
# and folds work without script, and search has its own page.
UNUSED = re.compile(
    r"fontawesome\.js|togglebutton|design-tabs|sphinx_highlight|mathjax|thebe|graphviz|sphinx-design"
    r"|searchtools|language_data|searchindex|proof\.css|exercise\.css"
)
UNUSED_INLINE = re.compile(r"toggle(?:Hint|OpenOnPrint|button)|MathJax|search_as_you_type")
# What must run before the first line is drawn; the others wait for the whole page.
AT_ONCE = re.compile(r"/(?:documentation_options|book)\.js")
# Names, signs and blanks in code, which have the colour of their surroundings.
PLAIN_CODE = re.compile(r'<span class="[npw]">([^<]*)</span>')
# A handler in an attribute would need a looser policy; `_static/book.js` listens instead.
ACTIONS = {"window.print()": "print", "toggleFullScreen()": "full-screen"}


def finish(app, exception):
    """Rewrite all pages of a finished build."""
    if exception is not None or app.builder.format != "html":
        return
    site = Path(app.outdir)
    static = site / "_static"
    paths = sorted(path for path in site.rglob("*.html") if static not in path.parents)
    soups = {path: BeautifulSoup(path.read_text("utf-8"), "html.parser") for path in paths}
    formulas = mathematics.typeset(soups, static)
    fonts.cut_icons(static, soups.values())
    for path, soup in soups.items():
        if soup.body is None:  # a redirection
            continue
        trim_head(soup)
        cells.fold(soup)
        name_controls(soup)
        end_proofs(soup)
        add_reading_switch(soup)
        size_images(soup, path)
        html = mathematics.insert(soup.decode(formatter="minimal"), formulas)
        html = PLAIN_CODE.sub(r"\1", html)
        path.write_text(security.secure(html), encoding="utf-8")
    for image in (site / "_images").glob("*.webp"):
        image.with_suffix(".png").unlink()
    fonts.embed_letters(static)
    sweep(site, soups)


def trim_head(soup):
    """Leave out what is unused or said twice, and add the style of formulas to pages with some."""
    for element in soup.find_all(["script", "link"]):
        address = element.get("src") or element.get("href") or ""
        if UNUSED.search(address) or UNUSED_INLINE.search(element.string or ""):
            element.decompose()
    for script in soup.head.find_all("script", src=True):
        if not AT_ONCE.search(script["src"]):
            script["defer"] = ""
    for repeated in soup.find_all("meta", attrs={"name": "viewport"})[1:]:
        repeated.decompose()
    root = soup.html["data-content_root"]
    soup.html["data-theme"] = "light"  # until a script knows better, if there is one
    if soup.select_one(".math, a.reference.internal"):  # formulas, or previews of some
        attributes = {"rel": "stylesheet", "href": f"{root}_static/{mathematics.STYLE}"}
        # Before the book's own style sheet, which has the last word.
        soup.head.find("link", rel="stylesheet").insert_before(
            soup.new_tag("link", attrs=attributes)
        )


def name_controls(soup):
    """Give every control one true name, and every id one place."""
    for button in soup.find_all(onclick=True):
        button["data-action"] = ACTIONS[button["onclick"]]
        del button["onclick"]
    for fold in soup.select("summary:has(> .toctree-toggle)"):
        fold["aria-label"] = f"Pages of {fold.find_parent('li').a.get_text(strip=True)}"
    # Sphinx-proof and sphinx-exercise give all their boxes the same ids.
    for section in soup.find_all("section", id=re.compile("^(proof|exercise|solution)-content$")):
        section.name = "div"
        del section["id"]
    for proof in soup.select("div#proof"):
        del proof["id"]
    for entry in soup.find_all(role=re.compile("^doc-biblioentry$")):
        entry["role"] = "listitem"  # its own role is no longer one


def end_proofs(soup):
    """Put a square where a proof ends, on the last line of its text."""
    for proof in soup.find_all("div", class_="proof"):
        if proof["class"] == ["proof", "admonition"]:
            last = proof.find_all(True, recursive=False)[-1]
            while last.name not in {"p", "pre"} and last.find_all(True, recursive=False):
                last = last.find_all(True, recursive=False)[-1]
            place = last if last.name == "p" else proof
            mark = {"class": "end-of-proof", "role": "img", "aria-label": "End of the proof"}
            place.append(soup.new_tag("span", attrs=mark, string="∎"))


def add_reading_switch(soup):
    """Put the switch between text alone and text with code into the header of a page with code."""
    header = soup.find(class_="article-header-buttons")
    if header is None or not soup.select_one("details.code"):
        return
    attributes = {"class": "reading-switch pst-js-only", "role": "group", "aria-label": "Reading"}
    switch = soup.new_tag("div", attrs=attributes)
    for value, words in {"text": "Text", "code": "Text + code"}.items():
        pressed = str(value == "code").lower()
        button = {"type": "button", "value": value, "aria-pressed": pressed}
        switch.append(soup.new_tag("button", attrs=button, string=words))
    header.insert(0, switch)


def size_images(soup, path):
    """Say how large images are, so that nothing moves when they come, and open figures in full."""
    for image in soup.select("article img:not([width])"):
        source = urlsplit(image["src"])
        if source.scheme or not source.path.endswith(".png"):
            continue
        file = path.parent / unquote(source.path)
        with Image.open(file) as picture:
            image["width"], image["height"] = picture.size
            if image.find_parent(class_="cell_output"):
                # Half as large as PNG, pixel by pixel the same.
                picture.save(file.with_suffix(".webp"), lossless=True, quality=60, method=2)
                image["src"] = image["src"].removesuffix(".png") + ".webp"
                for told in soup.find_all("meta", content=re.compile(f"/{re.escape(file.name)}$")):
                    told["content"] = told["content"].removesuffix(".png") + ".webp"
        image["loading"] = "lazy"
        open_in_full(soup, image)


def open_in_full(soup, image):
    """Link a figure's picture to itself: on a phone its letters are small."""
    figure = image.find_parent("figure")
    if figure is not None and image.find_parent("a") is None:
        number = figure.select_one(".caption-number")
        name = number.get_text(strip=True) if number else "Figure"
        attributes = {"class": "full-size", "aria-label": f"{name} in full size"}
        image.wrap(soup.new_tag("a", href=image["src"], attrs=attributes))


def sweep(site, soups):
    """Delete the static files that no page and no style sheet asks for."""
    static = site / "_static"
    wanted, sheets = set(), set()
    for path, soup in soups.items():
        for element in soup.find_all(["script", "link", "img", "a"]):
            address = urlsplit(element.get("src") or element.get("href") or "")
            if address.path and not address.scheme:
                wanted.add((path.parent / unquote(address.path)).resolve())
    while new := {path for path in wanted if path.suffix == ".css" and path.exists()} - sheets:
        sheets |= new
        for sheet in new:
            text = re.sub(r"/\*# sourceMappingURL=.*?\*/", "", sheet.read_text(encoding="utf-8"))
            sheet.write_text(text, encoding="utf-8")
            for address in re.findall(r"(?:url\(\s*|@import\s+)['\"]?([^'\")#?;]+)", text):
                if not address.startswith("data:"):
                    wanted.add((sheet.parent / unquote(address)).resolve())
    for path in sorted(static.rglob("*"), reverse=True):
        if path.is_file() and path.resolve() not in wanted:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def setup(app):
    """Register with Sphinx."""
    app.connect("build-finished", finish)
