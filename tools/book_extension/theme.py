"""What the theme is told: the site's own MathJax, one header, no button that leads nowhere."""

import importlib.util
import shutil
from pathlib import Path

# MathJax's main file, its fonts, TeX packages loaded on demand, and speech for screen readers.
MATHJAX = [
    "tex-chtml.js",
    "output",
    "input/tex",
    "a11y",
    "sre/mathmaps/base.json",
    "sre/mathmaps/en.json",
]


def configure(app, config):
    """Use the site's own MathJax, never thebe, one header, and no buttons without an address."""
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
    app.connect("config-inited", configure, priority=900)
    app.connect("build-finished", copy_mathjax)
