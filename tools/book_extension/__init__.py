"""Sphinx extension of this book: one module a subject, each with the rules it enforces."""

from book_extension import (
    addresses,
    chapter_map,
    claims_page,
    downloads,
    front,
    library,
    pages,
    previews,
    search,
    theme,
)

SUBJECTS = (
    addresses,
    chapter_map,
    claims_page,
    downloads,
    front,
    library,
    pages,
    previews,
    search,
    theme,
)


def setup(app):
    """Register each subject with Sphinx."""
    for subject in SUBJECTS:
        subject.setup(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
