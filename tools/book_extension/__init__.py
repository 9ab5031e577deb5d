"""Sphinx extension of this book: one module a subject, each with the rules it enforces."""

from book_extension import chapter_map, claims_page, front, library, pages, previews, search, theme


def setup(app):
    """Register each subject with Sphinx."""
    for subject in (chapter_map, claims_page, front, library, pages, previews, search, theme):
        subject.setup(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
