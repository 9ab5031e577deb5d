"""What all interactive figures share: a name, one piece of html, a script and a style."""

import json
import re
from html import escape
from importlib import resources

from lecturelib import checks

ASSETS = resources.files(__package__) / "assets"


def asset(name: str) -> str:
    """Read the script or the style that come with the package."""
    return (ASSETS / name).read_text(encoding="utf-8")


def checked_name(name: str) -> str:
    """Return the name of a figure, or say what it must be."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", checks.text("name", name)):
        expected = "lowercase letters and digits, joined by single hyphens"
        raise checks.wrong("name", expected, name)
    return name


def checked_caption(caption: str) -> str:
    """Return a caption, which may be empty."""
    if not isinstance(caption, str):
        raise checks.wrong("caption", "a string", caption, TypeError)
    return caption


def figure_html(kind: str, name: str, caption: str, lines: list[str], data: dict) -> str:
    """Wrap what a figure shows: with its data, its caption, the script and the style.

    The book takes out the inner element and gives it a number; there the script, the style and the
    caption are the page's. Jupyter and Colab show all of it.
    """
    stored = json.dumps(data, ensure_ascii=False)
    stored = stored.replace("<", "\\u003c")  # "</script>" must not end the element
    return "\n".join(
        [
            '<figure class="explore-figure">',
            f'<div class="explore" id="explore-{name}" data-explore="{kind}">',
            *lines,
            f'<script type="application/json">{stored}</script>',
            "</div>",
            *([f"<figcaption>{escape(caption)}</figcaption>"] if caption else []),
            f"<style>\n{asset('explore.css')}</style>",
            f"<script>\n{asset('explore.js')}</script>",
            "</figure>",
        ]
    )
