"""The claims page, and the links between its rows and the lines that check them.

The page is made from the registry (`lecturelib/claims`) and the lines that the chapters' stored
outputs show, so it cannot say anything else. A ✓ line in a chapter links to its row, the row links
back, and so does every ``{claim}`` in the text, which must name a registered claim.
"""

import json
import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.util.docutils import ReferenceRole, SphinxDirective

ROOT = Path(__file__).resolve().parents[2]
# The book is built where the library is not installed: its registry needs no other package.
sys.path.insert(0, str(ROOT))

from lecturelib.claims import STATUSES, registry  # noqa: E402

CHECKED = re.compile(r"^[✓∴] ([a-z0-9-]+)(?=: )", re.MULTILINE)
COLUMNS = {"Claim": 40, "Source": 22, "Measured": 14, "Bar": 10, "Control": 14}


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


class ClaimRole(ReferenceRole):
    """``{claim}`name``` or ``{claim}`words of the sentence <name>```: a link to the claim's row."""

    def run(self):
        """Return the link, or complain about a name that is not registered."""
        if self.target not in registry():
            message = f"claim {self.target!r} is not registered in lecturelib/claims"
            error = self.inliner.reporter.error(message, line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, error)], [error]
        content = nodes.inline if self.has_explicit_title else nodes.literal
        return [link(f"claim-{self.target}", content(text=self.title, classes=["claim"]))], []


class ClaimsPage(SphinxDirective):
    """``{claims}``: a section for each chapter, in the order of the book, a row for each claim."""

    def run(self):
        """Build the sections from the registry and the stored outputs."""
        chapters = {}
        for claim in registry().values():
            chapters.setdefault(claim.chapter, []).append(claim)
        for path in (ROOT / "lecturelib" / "claims").iterdir():
            self.env.note_dependency(str(path))
        ordered = re.findall(r"file: chapters/(\w+)", (ROOT / "_toc.yml").read_text("utf-8"))
        sections = [self.section(chapter, chapters[chapter]) for chapter in ordered]
        contents = nodes.bullet_list()
        for section, chapter in zip(sections, ordered, strict=True):
            counts = dict.fromkeys(STATUSES, 0)
            for claim in chapters[chapter]:
                counts[claim.status] += 1
            words = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
            title = section.next_node(nodes.title).astext()
            entry = nodes.reference("", title, refid=section["ids"][0], internal=True)
            contents += nodes.list_item(
                "", nodes.paragraph("", "", entry, nodes.Text(f": {words}"))
            )
        return [contents, *sections]

    def section(self, chapter, claims):
        """Return one chapter's section: title, link, table."""
        notebook = ROOT / "chapters" / f"{chapter}.ipynb"
        self.env.note_dependency(str(notebook))
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        title = "".join(cells[0]["source"]).partition("\n")[0].removeprefix("# ")
        section = nodes.section(ids=[f"claims-{chapter.replace('_', '-')}"])
        section += nodes.title(text=title)
        to_chapter = pending_xref(
            "",
            nodes.inline(text=title),
            refdomain="std",
            reftype="doc",
            reftarget=f"/chapters/{chapter}",
            refexplicit=True,
        )
        section += nodes.paragraph("", "", nodes.Text("From the chapter "), to_chapter)
        body = nodes.tbody()
        shown = checked_lines(cells)
        for claim in claims:
            body += self.row(claim, shown.get(claim.name))
        head = nodes.thead("", table_row(nodes.paragraph(text=name) for name in COLUMNS))
        columns = [nodes.colspec(colwidth=width) for width in COLUMNS.values()]
        group = nodes.tgroup("", *columns, head, body, cols=len(COLUMNS))
        section += nodes.table("", group, classes=["claims"])
        return section

    def row(self, claim, shown):
        """Return a claim's row, its name a link to the line that checks it."""
        name = nodes.literal(text=claim.name)
        statement = nodes.paragraph(text=claim.statement)
        if shown is None:
            about = nodes.paragraph("", "", name, nodes.Text(f": {STATUSES[claim.status]}"))
            measured = ["", "", ""]
        else:
            about = nodes.paragraph("", "", link(f"check-{claim.name}", name))
            if claim.status != "checked":
                about += nodes.Text(f": {STATUSES[claim.status]}")
            measured = demand_parts(claim, shown)
        cells = [[statement, about], *(nodes.paragraph(text=t) for t in (claim.source, *measured))]
        row = table_row(cells)
        row["ids"].append(f"claim-{claim.name}")
        set_label(self.env, f"claim-{claim.name}", self.env.docname)
        return row


def table_row(cells):
    """Return a row of cells, each a node or a list of nodes."""
    return nodes.row(
        "", *(nodes.entry("", *(cell if isinstance(cell, list) else [cell])) for cell in cells)
    )


def checked_lines(cells):
    """Return what the stored outputs show of each claim, by the claim's name."""
    lines = {}
    for cell in cells:
        for output in cell.get("outputs", []):
            for line in "".join(output.get("text", [])).splitlines():
                if match := CHECKED.match(line):
                    lines[match[1]] = line
    return lines


def demand_parts(claim, line):
    """Split a claim's line into what was measured, the bar and the control."""
    demand = line.split(f"{claim.statement} ({claim.quantity}: ", 1)[1].removesuffix(")")
    demand, _, control = (
        demand.partition(f"; {claim.control} ") if claim.control else (demand, "", "")
    )
    marked = re.fullmatch(r"⟨(.*?)⟩ (.*)", demand)
    measured, bar = marked.groups() if marked else (demand, f"= {demand}")
    shown = f"{claim.control}: {control.strip('⟨⟩')}" if control else ""
    return f"{claim.quantity}: {measured}", bar, shown


def link_checked_lines(app, doctree):
    """Make the names in a chapter's ✓ lines links to their rows, and targets of links back."""
    for block in doctree.findall(nodes.literal_block):
        text = block.astext()
        if not CHECKED.search(text):
            continue
        children, end = [], 0
        for match in CHECKED.finditer(text):
            name = match[1]
            if name not in registry():
                continue
            children.append(nodes.Text(text[end : match.start(1)]))
            target = nodes.inline(ids=[f"check-{name}"])
            target += link(f"claim-{name}", name)
            children.append(target)
            set_label(app.env, f"check-{name}", app.env.docname)
            end = match.end(1)
        block.children = []
        block.extend([*children, nodes.Text(text[end:])])
        block.rawsource = ""  # a block that shows its source would be drawn without its links


def setup(app):
    """Register with Sphinx."""
    app.add_role("claim", ClaimRole())
    app.add_directive("claims", ClaimsPage)
    app.connect("doctree-read", link_checked_lines)
