"""What people read after grading: tables for Canvas and Moodle, a page a student, the class."""

import csv
import html
import io
import os
import re
from itertools import combinations
from pathlib import Path

import numpy as np

__all__ = ["copies", "discrimination", "fill_canvas", "fill_moodle", "student_page", "write"]

STYLE = """<style>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .6rem; text-align: left;
  border-bottom: 1px solid color-mix(in srgb, currentColor 25%, transparent); }
pre { overflow: auto; max-height: 20rem; } .bar { display: inline-block; height: .8em;
  background: currentColor; opacity: .5; } td.number { text-align: right; }
</style>"""
LOW = 0.2  # discrimination below which a question is worth a look
# Headers of the columns of Moodle's grading worksheet in some languages.
GRADES = {"grade", "bewertung", "note", "calificación", "valutazione", "nota", "cijfer", "grau"}


def write(results, assignment, out, *, before, lacking, page, canvas=None, moodle=None):
    """Write all tables and pages of a class.

    Parameters
    ----------
    results : list of dict
        What `score` returned.
    assignment : Assignment
        Whose they are.
    out : Path
        The folder.
    before : dict
        File → its earlier result or None, of those that were graded now.
    lacking : list of str
        What the sandbox could not keep a submission from doing.
    page : callable
        Result → name of the student's page.
    canvas, moodle : Path, optional
        Exports to be filled.
    """
    out = Path(out)
    names = [question.name for question in assignment.questions]
    rows = [["student", "name", "number", "file", *names, "score", "of", "by a person", "notes"]]
    for result in results:
        points = {question["name"]: question["points"] for question in result["questions"]}
        rows.append(
            [
                *(result[key] for key in ("student", "name", "number", "file")),
                *(_number(points.get(name, 0.0)) for name in names),
                _number(result["score"]),
                _number(result["of"]),
                _number(result["by_a_person"]),
                "; ".join(result["notes"]),
            ]
        )
        _put(out / "students" / page(result), student_page(result, assignment))
    _put(out / "questions.csv", _csv(rows))
    alike = copies(results)
    pairs = [["file", "other file", "question", "numbers", "why"]]
    _put(out / "copies.csv", _csv([*pairs, *alike]))
    changed = changes(results, before)
    if changed:
        header = ["student", "file", "question", "before", "now", "because"]
        _put(out / "changes.csv", _csv([header, *changed]))
    else:
        (out / "changes.csv").unlink(missing_ok=True)
    title = assignment.title
    lost = []
    if canvas is None:
        _put(out / "canvas.csv", _new_canvas(results, title))
    else:
        text, lost = fill_canvas(Path(canvas).read_text("utf-8-sig"), results, title)
        _put(out / "canvas.csv", text)
    if moodle is None:
        table = [["Name", "Identifier", "Email address", title]]
        table += [[r["name"], r["number"], r["student"], _number(r["score"])] for r in results]
        _put(out / "moodle.csv", _csv(table))
    else:
        text, unknown = fill_moodle(Path(moodle).read_text("utf-8-sig"), results)
        _put(out / "moodle.csv", text)
        lost = [*lost, *unknown]
    _put(out / "summary.html", _summary(results, assignment, alike, changed, lacking, lost, page))


def changes(results, before):
    """Return what is not as it was: rows of student, file, question, points before, now, why."""
    rows = []
    for result in results:
        old = before.get(result["file"])
        if old is None:
            continue
        why = [
            f"the {what} changed"
            for what, key in (("submission", "digest"), ("tests", "tests"))
            if old.get(key) != result.get(key)
        ]
        points = {question["name"]: question["points"] for question in old["questions"]}
        for question in result["questions"]:
            was = points.get(question["name"])
            if was is None or abs(was - question["points"]) > 1e-9:
                row = [result["student"], result["file"], question["name"]]
                row += ["" if was is None else _number(was), _number(question["points"])]
                rows.append([*row, ", ".join(why)])
    return rows


def copies(results):
    """Find submissions that a person should compare.

    Two that have the same numbers although each student has data of their own, at least one of them
    being wrong; and two that are of one student.

    Parameters
    ----------
    results : list of dict
        What `score` returned.

    Returns
    -------
    list of list
        File, other file, question, the numbers, why.
    """
    rows, owners, numbers = [], {}, {}
    for result in results:
        owners.setdefault(result["student"], []).append(result["file"])
        for question in result["questions"]:
            if question["numbers"]:
                passed = all(test["passed"] for test in question["tests"])
                entry = (result["file"], result["student"], passed)
                numbers.setdefault((question["name"], question["numbers"]), []).append(entry)
    for student, files in owners.items():
        for one, other in combinations(files, 2):
            rows.append([one, other, "", "", f"both begin as {student}"])
    for (question, shown), entries in numbers.items():
        for one, other in combinations(entries, 2):
            if one[1] != other[1] and not (one[2] and other[2]):
                why = "the same numbers, although their data differ"
                rows.append([one[0], other[0], question, shown.partition(" #")[0], why])
    return rows


def discrimination(results, name):
    """Return how a question's points go with the points of all others.

    Parameters
    ----------
    results : list of dict
        What `score` returned.
    name : str
        Of the question.

    Returns
    -------
    float or None
        The correlation over students, from -1 to 1; None if all have the same points in it or in
        the others.
    """
    own, rest = [], []
    for result in results:
        points = {question["name"]: question["points"] for question in result["questions"]}
        if name in points:
            own.append(points[name])
            rest.append(result["score"] - points[name])
    if len(own) < 3 or np.std(own) < 1e-9 or np.std(rest) < 1e-9:
        return None
    return float(np.corrcoef(own, rest)[0, 1])


def student_page(result, assignment):
    """Return the page of one student: points, hints, what went wrong.

    Parameters
    ----------
    result : dict
        What `score` returned.
    assignment : Assignment
        Whose it is.

    Returns
    -------
    str
    """
    parts = [f"<h1>{_text(assignment.title)}</h1><p>{_text(result['student'])}, "]
    parts += [f"<code>{_text(result['file'])}</code></p>"]
    total = f"{_number(result['score'])} of {_number(result['of'])} points"
    if result["by_a_person"]:
        total += f"; up to {_number(result['by_a_person'])} more are given by a person"
    parts += [f"<p><strong>{total}</strong></p>"]
    if result["notes"]:
        notes = "".join(f"<li>{_text(note)}</li>" for note in result["notes"])
        parts += [f"<h2>To note</h2><ul>{notes}</ul>"]
    for question in result["questions"]:
        parts += [f"<h2>{_text(question['name'])}: {_text(question['title'])}</h2>"]
        given = []
        if question["of"]:
            given += [f"{_number(question['points'])} of {_number(question['of'])} points by tests"]
        if question["by_a_person"]:
            given += [f"up to {_number(question['by_a_person'])} points by a person"]
        line = ", ".join(given)
        parts += [f"<p>{line}{'' if question['done'] else ' (not done)'}</p><table>"]
        for test in question["tests"]:
            mark = "✓" if test["passed"] else "✗"
            points = f"{_number(test['points'])} / {_number(test['of'])}" if test["of"] else ""
            parts += [
                f"<tr><td>{mark}</td><td>{_text(test['looks_at'])}</td>"
                f"<td>{points}</td><td>{_text(test['hint'])}</td></tr>"
            ]
        parts += ["</table>"]
    if result["cells"]:
        parts += ["<h2>Cells that failed</h2><table>"]
        for cell in result["cells"]:
            parts += [f"<tr><td>code cell {cell['cell']}</td><td>{_text(cell['error'])}</td></tr>"]
        parts += ["</table>"]
    if result["output"].strip():
        parts += [f"<h2>What was printed</h2><pre>{_text(result['output'])}</pre>"]
    return _page(assignment.title, parts)


def fill_canvas(text, results, title):
    """Fill an exported gradebook of Canvas.

    Parameters
    ----------
    text : str
        The export, CSV.
    results : list of dict
        What `score` returned.
    title : str
        Of the assignment; the column is "TITLE" or "TITLE (NUMBER)", and is added if there is none.

    Returns
    -------
    text : str
        The filled export.
    lost : list of str
        What a person should know: submissions that no row belongs to.

    Raises
    ------
    ValueError
        If it is no such export.
    """
    rows = list(csv.reader(io.StringIO(text)))
    if not rows or "Student" not in rows[0] or "ID" not in rows[0]:
        raise ValueError("the gradebook must be an export of Canvas, with columns Student and ID")
    header = rows[0]
    pattern = re.compile(re.escape(title) + r"( \(\d+\))?")
    at = next((i for i, name in enumerate(header) if pattern.fullmatch(name.strip())), None)
    if at is None:
        at = len(header)
        for row in rows:
            row.append("")
        header[at] = title
    keys = [header.index(n) for n in ("ID", "SIS User ID", "SIS Login ID") if n in header]

    def name_words(name):
        return sorted(re.findall(r"\w+", name.lower()))

    def fits(row, result):
        ids = {row[key].strip().lower() for key in keys if key < len(row)} - {""}
        if result["number"]:
            return result["number"] in ids
        return (
            result["student"] in ids
            or result["student"].partition("@")[0] in ids
            or name_words(row[header.index("Student")]) == name_words(result["name"])
        )

    students = [
        row
        for row in rows[1:]
        if len(row) > at and not row[0].strip().startswith("Points Possible")
    ]
    lost = []
    for row in rows[1:]:
        if row and row[0].strip().startswith("Points Possible") and not row[at].strip():
            row[at] = _number(results[0]["of"] + results[0]["by_a_person"]) if results else ""
    for result in results:
        own = [row for row in students if fits(row, result)]
        if len(own) == 1:
            own[0][at] = _number(result["score"])
        else:
            lost.append(f"{result['file']}: {len(own)} rows of the Canvas gradebook belong to it")
    return _csv(rows, guard=False), lost


def _new_canvas(results, title):
    """Return a table that Canvas imports: it finds students by number, login or name."""
    most = _number(results[0]["of"] + results[0]["by_a_person"]) if results else ""
    header = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", title]
    rows = [header, ["    Points Possible", "", "", "", "", most]]
    for result in results:
        login = result["student"] if "@" in result["student"] else ""
        rows.append([result["name"], result["number"], "", login, "", _number(result["score"])])
    return _csv(rows)


def fill_moodle(text, results):
    """Fill a grading worksheet of Moodle.

    Parameters
    ----------
    text : str
        The worksheet, CSV, in any language whose column of grades is known.
    results : list of dict
        What `score` returned.

    Returns
    -------
    text : str
        The filled worksheet.
    lost : list of str
        Submissions that no row belongs to.

    Raises
    ------
    ValueError
        If there is no column of grades, or a grade is above the worksheet's maximum, since Moodle
        would then refuse the whole file.
    """
    rows = list(csv.reader(io.StringIO(text)))
    header = [name.strip().lower() for name in rows[0]] if rows else []
    at = next((i for i, name in enumerate(header) if name in GRADES), None)
    if at is None:
        raise ValueError(
            "the worksheet must have a column of grades; rename its header to Grade "
            f"(its columns are {', '.join(header) or 'none'})"
        )
    most = next((i for i, name in enumerate(header) if "max" in name), None)
    lost = []
    for result in results:
        own = []
        for row in rows[1:]:
            cells = {cell.strip().lower() for cell in row}
            number = re.search(r"(\d+)$", row[0].strip()) if row else None
            if result["number"]:
                fits = number is not None and number[1] == result["number"]
            else:
                fits = result["student"] in cells or result["name"].strip().lower() in cells
            if fits and len(row) > at:
                own.append(row)
        if len(own) != 1:
            lost.append(f"{result['file']}: {len(own)} rows of the Moodle worksheet belong to it")
            continue
        if most is not None and own[0][most].strip():
            limit = float(own[0][most].replace(",", "."))
            if result["score"] > limit + 1e-9:
                raise ValueError(
                    f"the worksheet allows {limit:g} points, and {result['file']} has "
                    f"{result['score']:g}: raise the maximum in Moodle, and export again"
                )
        own[0][at] = _number(result["score"])
    return _csv(rows, guard=False), lost


def _summary(results, assignment, alike, changed, lacking, lost, page):
    of = results[0]["of"] if results else 0.0
    scores = [result["score"] for result in results]
    parts = [f"<h1>{_text(assignment.title)}: the class</h1>"]
    if lacking:
        parts += ["<h2>Not isolated</h2><ul>"]
        parts += [*(f"<li>{_text(sentence)}</li>" for sentence in lacking), "</ul>"]
    if scores:
        parts += [
            f"<p>{len(scores)} submissions; mean {np.mean(scores):.2f}, median "
            f"{np.median(scores):.2f} of {_number(of)} points.</p>"
        ]
    parts += ["<h2>Questions</h2><table><tr><th>question</th><th>mean</th><th>full points</th>"]
    parts += ["<th>from none to all</th><th>discrimination</th></tr>"]
    for question in assignment.questions:
        found = [q for r in results for q in r["questions"] if q["name"] == question.name]
        shares = np.array([q["points"] / q["of"] for q in found if q["of"]])
        if len(shares) == 0:
            continue
        counts = np.histogram(shares, bins=5, range=(0, 1))[0]
        bars = " ".join(
            f'<span class="bar" style="width:{4 * count / max(counts):.1f}em"></span>{count}'
            for count in counts
        )
        value = discrimination(results, question.name)
        told = "all alike" if value is None else f"{value:.2f}"
        if value is not None and value < LOW:
            told += " (low: does it ask what it means to?)"
        parts += [
            f"<tr><td>{_text(question.name)}: {_text(question.title)}</td>"
            f'<td class="number">{shares.mean():.0%}</td>'
            f'<td class="number">{(shares > 1 - 1e-9).mean():.0%}</td>'
            f"<td>{bars}</td><td>{told}</td></tr>"
        ]
    parts += [
        "</table><p>Discrimination is the correlation of a question's points with those of all "
        "other questions.</p>"
    ]
    for title, header, rows in (
        ("Changed", ("student", "file", "question", "before", "now", "because"), changed),
        ("To compare by eye", ("file", "other file", "question", "numbers", "why"), alike),
    ):
        if rows:
            head = "".join(f"<th>{name}</th>" for name in header)
            body = ["<tr>" + "".join(f"<td>{_text(x)}</td>" for x in row) + "</tr>" for row in rows]
            parts += [f"<h2>{title}</h2><table><tr>{head}</tr>", *body, "</table>"]
    if lost:
        parts += ["<h2>Without a row in the gradebook</h2><ul>"]
        parts += [*(f"<li>{_text(line)}</li>" for line in lost), "</ul>"]
    parts += ["<h2>Submissions</h2><table>"]
    for result in results:
        notes = "; ".join(result["notes"])
        parts += [
            f'<tr><td><a href="students/{_text(page(result))}">{_text(result["file"])}</a></td>'
            f"<td>{_text(result['student'])}</td>"
            f'<td class="number">{_number(result["score"])}</td><td>{_text(notes)}</td></tr>'
        ]
    return _page(assignment.title, [*parts, "</table>"])


def _page(title, parts):
    head = f'<meta charset="utf-8"><title>{_text(title)}</title>{STYLE}'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>'


def _text(text):
    return html.escape(str(text))


def _number(value):
    return f"{round(float(value), 4):g}"


def _csv(rows, guard=True):
    """Return rows as CSV; a spreadsheet must take what a student wrote for text, not a formula."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for row in rows:
        cells = [str(cell) for cell in row]
        if guard:
            cells = ["'" + c if c[:1] in "=+-@\t\r" and c and not _plain(c) else c for c in cells]
        writer.writerow(cells)
    return stream.getvalue()


def _plain(text):
    return re.fullmatch(r"-?[\d.]+(e[+-]?\d+)?", text) is not None


def _put(path, text):
    """Write a file at once."""
    aside = path.with_name(path.name + ".part")
    aside.write_text(text, encoding="utf-8", errors="replace")
    os.replace(aside, path)
