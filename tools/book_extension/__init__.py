"""Sphinx extension of this book: one module a subject, each with the rules it enforces."""

from importlib import import_module

SUBJECTS = (
    "addresses",
    "assignments",
    "bibliography",
    "chapter_map",
    "claims_page",
    "downloads",
    "errata",
    "figures",
    "front",
    "lectures",
    "library",
    "notation",
    "pages",
    "previews",
    "search",
    "theme",
)


def setup(app):
    """Register each subject with Sphinx."""
    for subject in SUBJECTS:
        import_module(f"book_extension.{subject}").setup(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
