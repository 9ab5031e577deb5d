"""The download menu of every page: the notebooks with their library, and the book on paper.

`book.zip` is made with every site. `book.pdf` needs a browser to print it, so that the menu offers
it only where it was made before the site (`make publish`), and then the site holds it.
"""

import shutil
from pathlib import Path


def printed_book(app):
    """Return the place of the printed book, beside the site."""
    return Path(app.outdir).with_name("book.pdf")


def offer_downloads(app, pagename, templatename, context, doctree):
    """Put the book's archive and its PDF into the theme's download menu, before printing."""
    offered = [("book.zip", "Notebooks and library (.zip)", "fas fa-file-zipper")]
    if printed_book(app).exists():
        offered.append(("book.pdf", "The whole book (.pdf)", "fas fa-file-pdf"))
    links = [
        {"type": "link", "url": context["pathto"](name, 1), "text": text, "icon": icon}
        for name, text, icon in offered
    ]
    printing = {
        "type": "javascript",
        "javascript": "window.print()",
        "text": "Print this page",
        "icon": "fas fa-print",
        "label": "download-pdf-button",
    }
    for button in context.get("header_buttons", []):
        if button.get("label") == "download-buttons":
            button.update(tooltip="Download", buttons=[*links, printing])


def copy_printed_book(app, exception):
    """Copy the printed book into the site that offers it."""
    if exception is None and app.builder.name == "html" and printed_book(app).exists():
        shutil.copy(printed_book(app), app.outdir)


def setup(app):
    """Register with Sphinx; the theme makes its menu at priority 501."""
    app.connect("html-page-context", offer_downloads, priority=600)
    app.connect("build-finished", copy_printed_book)
