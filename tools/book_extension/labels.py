"""Labels that the book's own directives set and link to."""

from docutils import nodes
from sphinx.addnodes import pending_xref


def link(target, content):
    """Return a reference to a label, to be resolved when all pages are known."""
    if isinstance(content, str):
        content = nodes.inline(text=content)
    options = {"refdomain": "std", "reftype": "ref", "reftarget": target, "refexplicit": True}
    return pending_xref("", content, **options, refwarn=True)


def set_label(env, name, docname):
    """Make an id of a page a target that every page can link to."""
    standard = env.get_domain("std")
    standard.anonlabels[name] = docname, name
    standard.labels[name] = docname, name, name
