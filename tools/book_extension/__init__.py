"""Sphinx extension of this book: one module a subject, each with the rules it enforces."""

from book_extension import bibliography, claims_page, errata, lectures, library, notation, theme

SUBJECTS = bibliography, claims_page, errata, lectures, library, notation, theme


def setup(app):
    """Register each subject with Sphinx."""
    for subject in SUBJECTS:
        subject.setup(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
