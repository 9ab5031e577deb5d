"""Citations and bibliography name a source in one way: by authors and year."""

from collections import Counter
from itertools import count
from string import ascii_lowercase

from pybtex.plugin import register_plugin
from pybtex.style.formatting.plain import Style as PlainStyle
from pybtex.style.labels import BaseLabelStyle


def authors_and_year(entry):
    """Return the names that a citation shows, as in "Lu and Steinerberger, 2022"."""
    names = [" ".join(map(str, person.rich_last_names)) for person in entry.persons["author"]]
    shown = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
    return f"{shown}, {entry.fields['year']}"


class AuthorYearLabels(BaseLabelStyle):
    """Authors and year, with a letter where two sources would have the same label."""

    def format_labels(self, sorted_entries):
        """Return the labels, in the order of the entries."""
        labels = [authors_and_year(entry) for entry in sorted_entries]
        shared = {label: count() for label, times in Counter(labels).items() if times > 1}
        return [
            label + ascii_lowercase[next(shared[label])] if label in shared else label
            for label in labels
        ]


class AuthorYearStyle(PlainStyle):
    """The plain style, sorted by author, with these labels in place of numbers."""

    default_label_style = AuthorYearLabels


def setup(app):
    """Register with pybtex, from where the configuration names it."""
    register_plugin("pybtex.style.formatting", "author_year", AuthorYearStyle)
