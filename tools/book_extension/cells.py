"""Code cells fold to a line that says what they do; solutions and hints are native folds too.

Every fold is a `details` element that works without script. A cell's line is its own comment, or
what its syntax says; it names the claims that the cell checks. Cells are open in the page as built:
`_static/book.js` closes them for readers who want text only.
"""

import ast
import re

from book_extension.claims_page import CHECKED


def fold(soup):
    """Fold the code cells of a page, then its solutions and hints."""
    for cell in soup.select("div.cell:has(.cell_input)"):
        fold_cell(soup, cell)
    for box in soup.select("div.admonition.dropdown"):
        box.name = "details"
        title = box.find(class_="admonition-title")
        summary = soup.new_tag("summary", attrs={"class": "admonition-title"})
        summary.string = " ".join(title.get_text().split())
        title.replace_with(summary)


def fold_cell(soup, cell):
    """Put a cell's code into a named fold, and with it the lines that only say what was checked."""
    code = cell.find(class_="cell_input")
    details = cell.find("details")
    if details is None:
        details = code.wrap(soup.new_tag("details", attrs={"class": "code", "open": ""}))
    else:
        details["class"] = "code hidden-code"
        details.summary.decompose()
    source = code.get_text()
    printed = cell.select(".output.stream")
    checked = CHECKED.findall("\n".join(block.get_text() for block in printed))
    details.insert(0, summary(soup, cell, source, checked))
    for block in printed:
        if all(CHECKED.match(line) for line in block.get_text().strip().splitlines()):
            details.append(block.extract())
    output = cell.find(class_="cell_output")
    if output is not None and not output.get_text(strip=True) and not output.find(True):
        output.decompose()


def summary(soup, cell, source, checked):
    """Return the line to which a cell folds."""
    element = soup.new_tag("summary")
    what = soup.new_tag("span", attrs={"class": "what"})
    what.string = purpose(source, figures(cell))
    element.append(what)
    lines = len(source.strip().splitlines())
    about = soup.new_tag("span", attrs={"class": "lines"})
    about.string = f"{lines} line{'s' * (lines > 1)}"
    element.extend([" ", about])
    if checked:
        names = soup.new_tag("span", attrs={"class": "checked"})
        names.string = "✓ " + ", ".join(checked)
        element.extend([" ", names])
    return element


def figures(cell):
    """Return the numbers of the figures that a cell draws."""
    return [number.get_text(strip=True) for number in cell.select("figcaption .caption-number")]


def purpose(source, numbers):
    """Say what a cell does: by its figure, its leading comment, or what it defines or computes."""
    if numbers:
        return f"Code of {', '.join(numbers)}"
    if comment := re.match(r"\s*#\s*(.+)", source):
        return comment[1].strip()
    try:
        statements = ast.parse(source).body
    except SyntaxError:  # a line magic of IPython
        return "Code"
    if any(isinstance(node, ast.ImportFrom | ast.Import) for node in statements):
        return "Set-up: imports, seed, device"
    defined = [node.name for node in statements if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    if defined:
        return f"Define {listed(defined)}"
    computed = list(dict.fromkeys(name for node in statements for name in assigned(node)))
    if computed:
        return f"Compute {listed(computed)}"
    if "claims.check" in source:
        return "Check"
    return "Show " + ("a table" if ".table(" in source or "print(" in source else "the result")


def listed(names):
    """Return names as words, the first of many only."""
    return ", ".join(names[:4]) + " …" * (len(names) > 4)


def assigned(node):
    """Return the names that a statement assigns, not those that begin with an underscore."""
    targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
    names = [inner.id for t in targets if t for inner in ast.walk(t) if isinstance(inner, ast.Name)]
    return [name for name in names if not name.startswith("_")]
