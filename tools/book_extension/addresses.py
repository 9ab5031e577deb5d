"""Where the site stands, and what others are told about its pages.

The rule: the address of the site follows from the repository's, as GitHub Pages has it. Canonical
links, the site map and what a shared link shows need an address; while the repository's is the
placeholder they are left out, and a page says only its title and what it is about.
"""

import textwrap
from html import escape
from pathlib import Path

from docutils import nodes
from repository import site_address


def configure(app, config):
    """Tell Sphinx the address, unless the configuration names another: canonical links follow."""
    repository = config.html_theme_options.get("repository_url", "")
    config.html_baseurl = config.html_baseurl or site_address(repository)


def description(doctree):
    """Return the beginning of a page's first paragraph."""
    for section in doctree.findall(nodes.section):
        for paragraph in section.children:
            if isinstance(paragraph, nodes.paragraph):
                return textwrap.shorten(paragraph.astext(), 300, placeholder=" …")
    return ""


def first_image(app, doctree):
    """Return the place in the site of a page's first image, and its text."""
    copied = set(app.builder.images.values())
    for image in doctree.findall(nodes.image):
        name = Path(image["uri"]).name
        if name in copied:
            return f"{app.builder.imagedir}/{name}", image.get("alt", "")
    return None


def describe(app, pagename, templatename, context, doctree):
    """Say in a page's head what the page is, for search engines and for links that are shared."""
    if doctree is None:
        return
    about = description(doctree)
    named = {"description": about} if about else {}
    shared = {
        "og:type": "website" if pagename == app.config.root_doc else "article",
        "og:site_name": app.config.html_title,
        "og:title": app.env.titles[pagename].astext(),
        "og:description": about,
    }
    base = app.config.html_baseurl
    if base:
        shared["og:url"] = base + app.builder.get_target_uri(pagename)
        if found := first_image(app, doctree):
            place, text = found
            shared.update({"og:image": base + place, "og:image:alt": text})
    tags = [f'<meta name="{name}" content="{escape(value)}" />' for name, value in named.items()]
    tags += [
        f'<meta property="{name}" content="{escape(value)}" />'
        for name, value in shared.items()
        if value
    ]
    context["metatags"] = "\n    ".join([context.get("metatags", ""), *tags])


def write_site_map(app, exception):
    """List the pages for search engines."""
    base = app.config.html_baseurl
    if exception is not None or app.builder.name != "html" or not base:
        return
    pages = (base + app.builder.get_target_uri(page) for page in sorted(app.env.found_docs))
    entries = "".join(f"  <url><loc>{escape(page)}</loc></url>\n" for page in pages)
    Path(app.outdir, "sitemap.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{entries}</urlset>\n',
        encoding="utf-8",
    )


def write_front_door(app, exception):
    """Lead from the bare address to the first page.

    Jupyter Book writes the redirection and nothing else, and a browser that finds no icon named
    asks the root of the server for one.
    """
    if exception is not None or app.builder.name != "html":
        return
    first = escape(app.builder.get_target_uri(app.config.root_doc))
    icon = escape(f"_static/{Path(app.config.html_favicon).name}")
    Path(app.outdir, "index.html").write_text(
        f'<!DOCTYPE html>\n<html lang="{app.config.language or "en"}">\n<head>\n'
        f'<meta charset="utf-8">\n<title>{escape(app.config.html_title)}</title>\n'
        f'<link rel="icon" href="{icon}">\n'
        f'<meta http-equiv="refresh" content="0; url={first}">\n</head>\n</html>\n',
        encoding="utf-8",
    )


def setup(app):
    """Register with Sphinx; the theme's options are settled at priority 900."""
    app.connect("config-inited", configure, priority=901)
    app.connect("html-page-context", describe)
    app.connect("build-finished", write_site_map)
    app.connect("build-finished", write_front_door)
