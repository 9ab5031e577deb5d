"""The claims page, and the links between its rows and the lines that check them.

The page is made from the registry (`lecturelib/claims`) and the lines that the chapters' stored
outputs show, so it cannot say anything else. A ✓ line in a chapter links to its row, the row links
back, and so does every ``{claim}`` in the text, which must name a registered claim.
"""

import re
import sys
from collections import Counter

from docutils import nodes
from sphinx.util.docutils import ReferenceRole, SphinxDirective, SphinxRole

from book_extension.chapters import ROOT, Chapter, chapters
from book_extension.labels import link, set_label

# The book is built where the library is not installed: its registry needs no other package.
sys.path.insert(0, str(ROOT))

from lecturelib.claims import STATUSES, registry

CHECKED = re.compile(r"^[✓∴] ([a-z0-9-]+)(?=: )", re.MULTILINE)
LECTURE = re.compile(r"\b00[0-4]\b")
MARKS = {"checked": "✓", "full-scale": "✓", "arithmetic": "∴", "quoted": "“"}


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


class ClaimsCountRole(SphinxRole):
    """``{claims-count}`checked, full-scale```: how many claims have one of these statuses."""

    def run(self):
        """Return the number, or complain about a word that is no status."""
        statuses = set(self.text.split(", "))
        if unknown := statuses - STATUSES.keys():
            message = f"no status of a claim: {', '.join(sorted(unknown))}"
            error = self.inliner.reporter.error(message, line=self.lineno)
            return [self.inliner.problematic(self.rawtext, self.rawtext, error)], [error]
        return [nodes.Text(str(sum(c.status in statuses for c in registry().values())))], []


class CheckedLine(SphinxDirective):
    """``{checked-line} name``: what a chapter prints where it checks a claim."""

    required_arguments = 1

    def run(self):
        """Return the line, the claim's name a link to its row."""
        [name] = self.arguments
        if name not in registry() or registry()[name].status == "quoted":
            raise self.error(f"claim {name!r} is not one that a chapter checks")
        chapter = Chapter(registry()[name].chapter)
        self.env.note_dependency(str(chapter.path))
        mark, _, rest = checked_lines(chapter)[name].partition(name)
        to_claim = link(f"claim-{name}", name)
        line = nodes.paragraph("", "", nodes.Text(mark), to_claim, nodes.Text(rest))
        return [nodes.block_quote("", line, classes=["checked-line"])]


class ClaimsPage(SphinxDirective):
    """``{claims}``: a section for each chapter, in the order of the book, an item for each claim.

    The items are folded below the section's counts; a browser opens a fold for a link or a search
    that leads into it. `_static/claims.js` filters by the classes and texts that are written here.
    """

    def run(self):
        """Build the sections from the registry and the stored outputs."""
        claims = {}
        for claim in registry().values():
            claims.setdefault(claim.chapter, []).append(claim)
        for path in (ROOT / "lecturelib" / "claims").iterdir():
            self.env.note_dependency(str(path))
        controls = nodes.container(classes=["claims-filter"])
        sections = [self.section(chapter, claims[chapter.name]) for chapter in chapters()]
        return [controls, *sections]

    def section(self, chapter, claims):
        """Return one chapter's section: title, counts, and folded below them the claims."""
        self.env.note_dependency(str(chapter.path))
        name = chapter.claims_label
        section = nodes.section(ids=[name], classes=["claims-section"])
        section += nodes.title(text=chapter.title)
        set_label(self.env, name, self.env.docname)
        counts = Counter(claim.status for claim in claims)
        words = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])
        opening = f"<summary>{len(claims)} claims: {words}</summary>"
        section += nodes.raw("", f'<details class="claims">{opening}', format="html")
        section += nodes.paragraph("", "", nodes.Text("From the chapter "), chapter.link())
        shown = checked_lines(chapter)
        items = nodes.bullet_list(classes=["claims"])
        items += [self.item(claim, shown.get(claim.name)) for claim in claims]
        section += items
        section += nodes.raw("", "</details>", format="html")
        return section

    def item(self, claim, shown):
        """Return a claim's item: what it states, what was measured, and who says so."""
        lectures = LECTURE.findall(claim.source) or ["none"]
        classes = ["claim", f"status-{claim.status}", *(f"lecture-{name}" for name in lectures)]
        item = nodes.list_item(ids=[f"claim-{claim.name}"], classes=classes)
        mark = f'<span class="mark" aria-hidden="true">{MARKS[claim.status]}</span>'
        mark = nodes.raw("", mark, format="html")
        item += nodes.paragraph(
            "", "", mark, nodes.Text(f" {claim.statement}"), classes=["statement"]
        )
        name = nodes.literal(text=claim.name)
        if shown is not None:
            item += parts(demand_parts(claim, shown), "measurement", labelled=True)
            name = link(f"check-{claim.name}", name)
        about = {"name": name, "status": STATUSES[claim.status], "source": claim.source}
        item += parts(about, "about")
        set_label(self.env, f"claim-{claim.name}", self.env.docname)
        return item


def parts(contents, kind, labelled=False):
    """Return a paragraph of parts, each of the class that names it, perhaps behind a label."""
    paragraph = nodes.paragraph(classes=[kind])
    for name, content in contents.items():
        part = nodes.inline(classes=[name])
        if labelled:
            part += [nodes.inline(text=name, classes=["label"]), nodes.Text(" ")]
        part += nodes.Text(content) if isinstance(content, str) else content
        paragraph += [part, nodes.Text(" ")]
    return paragraph


def checked_lines(chapter):
    """Return what a chapter's stored outputs show of each claim, by the claim's name."""
    lines = {}
    for cell in chapter.cells:
        for output in cell.get("outputs", []):
            for line in "".join(output.get("text", [])).splitlines():
                if match := CHECKED.match(line):
                    lines[match[1]] = line
    return lines


def demand_parts(claim, line):
    """Split a claim's line into what was measured, the bar and the control, where there is one."""
    demand = line.split(f"{claim.statement} ({claim.quantity}: ", 1)[1].removesuffix(")")
    demand, _, control = (
        demand.partition(f"; {claim.control} ") if claim.control else (demand, "", "")
    )
    marked = re.fullmatch(r"⟨(.*?)⟩ (.*)", demand)
    measured, bar = marked.groups() if marked else (demand, f"= {demand}")
    shown = {"measured": f"{claim.quantity}: {measured}", "bar": bar}
    return shown | ({"control": f"{claim.control}: {control.strip('⟨⟩')}"} if control else {})


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
    app.add_role("claims-count", ClaimsCountRole())
    app.add_directive("checked-line", CheckedLine)
    app.add_directive("claims", ClaimsPage)
    app.connect("doctree-read", link_checked_lines)
