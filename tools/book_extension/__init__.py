"""Sphinx extension of this book: one module a subject, each with the rules it enforces."""

from book_extension import claims_page, figures, library, theme


def setup(app):
    """Register each subject with Sphinx."""
    for subject in (claims_page, figures, library, theme):
        subject.setup(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
