"""``python -m lecturelib.coursework grade SUBMISSIONS …``, and ``… gradescope /autograder …``."""

import argparse
import json
import sys
from pathlib import Path

from lecturelib.coursework.grading import Limits, grade, grade_one, sandbox


def main(arguments=None):
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="python -m lecturelib.coursework")
    commands = parser.add_subparsers(dest="command", required=True)
    grader = commands.add_parser("grade", help="grade a folder of submissions")
    grader.add_argument("submissions", type=Path, help="one file or folder a student")
    grader.add_argument("--out", type=Path, required=True, help="where results are written")
    grader.add_argument("--workers", type=int, default=1, help="processes; -1 for all cores")
    grader.add_argument("--dask", metavar="ADDRESS", help="scheduler of a Dask cluster")
    grader.add_argument("--canvas", type=Path, metavar="CSV", help="exported gradebook to fill")
    grader.add_argument("--moodle", type=Path, metavar="CSV", help="grading worksheet to fill")
    scope = commands.add_parser("gradescope", help="grade the submission of an autograder")
    scope.add_argument("folder", type=Path, help="/autograder")
    for command in (grader, scope):
        command.add_argument("--assignment", required=True, help="for example hw1")
        command.add_argument(
            "--hidden", type=Path, default=Path("coursework"), help="folder of the hidden tests"
        )
        limits = Limits()
        command.add_argument("--cell-seconds", type=float, default=limits.cell)
        command.add_argument("--call-seconds", type=float, default=limits.call)
        command.add_argument("--total-seconds", type=float, default=limits.total)
        command.add_argument("--memory", type=int, default=limits.memory >> 20, help="in MiB")
    options = parser.parse_args(arguments)
    limits = Limits(
        cell=options.cell_seconds,
        call=options.call_seconds,
        total=options.total_seconds,
        memory=options.memory << 20,
    )
    for sentence in sandbox.missing():
        print(f"Note: {sentence}.", file=sys.stderr)
    try:
        if options.command == "gradescope":
            return gradescope(options.folder, options.assignment, options.hidden, limits)
        results = grade(
            options.submissions,
            options.assignment,
            options.hidden,
            options.out,
            workers=options.workers,
            dask=options.dask,
            limits=limits,
            canvas=options.canvas,
            moodle=options.moodle,
        )
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    changed = options.out / "changes.csv"
    if changed.exists():
        print(f"{len(changed.read_text().splitlines()) - 1} grades changed: see {changed}")
    print(f"{len(results)} submissions graded: see {options.out / 'summary.html'}")
    return 0


def gradescope(folder, assignment, hidden, limits=None):
    """Grade what Gradescope laid out in a folder, and write ``results/results.json`` into it.

    Parameters
    ----------
    folder : Path
        Holds ``submission/`` and ``submission_metadata.json``.
    assignment, hidden, limits : str, Path, Limits
        As `grade_one` takes them.

    Returns
    -------
    int
        0: what is wrong with a submission stands in the results.
    """
    folder = Path(folder)
    submitted = sorted(
        path
        for path in (folder / "submission").rglob("*")
        if path.suffix.lower() in (".ipynb", ".zip") and path.is_file() and not path.is_symlink()
        if not any(part.startswith((".", "__")) for part in path.relative_to(folder).parts)
    )
    try:
        metadata = json.loads((folder / "submission_metadata.json").read_text(encoding="utf-8"))
        users = metadata.get("users") or [{}]
    except (OSError, ValueError, AttributeError):
        users = [{}]
    emails = [str(user["email"]) for user in users if user.get("email")]
    others = [
        str(user[key])
        for user in users
        for key in ("name", "sid", "student_id", "id")
        if user.get(key)
    ]
    others += [email.partition("@")[0] for email in emails] + emails[1:]
    if len(submitted) != 1:
        report = {
            "score": 0,
            "output": f"Hand in one notebook, or one zip with it; there are {len(submitted)}.",
        }
    else:
        student = emails[0] if emails else None
        result = grade_one(
            submitted[0], assignment, hidden, student=student, names=others, limits=limits
        )
        report = _gradescope_report(result)
    report |= {"visibility": "visible", "stdout_visibility": "hidden"}
    (folder / "results").mkdir(exist_ok=True)
    text = json.dumps(report, indent=1)
    (folder / "results" / "results.json").write_text(text + "\n", encoding="utf-8")
    return 0


def _gradescope_report(result):
    """Return a result as Gradescope reads it; hidden tests are seen after grades are published."""
    lines = [*result["notes"]]
    lines += [f"code cell {cell['cell']}: {cell['error']}" for cell in result["cells"]]
    if result["by_a_person"]:
        lines.append(f"Up to {result['by_a_person']:g} more points are given by a person.")
    tests = [
        {
            "name": f"{question['name']} {question['title']}: {test['looks_at']}",
            "score": test["points"],
            "max_score": test["of"],
            "status": "passed" if test["passed"] else "failed",
            "output": test["hint"],
            "visibility": "after_published" if test["hidden"] else "visible",
        }
        for question in result["questions"]
        for test in question["tests"]
    ]
    output = "\n".join(lines) or "The notebook ran without an error."
    return {"score": result["score"], "output": output, "tests": tests}


if __name__ == "__main__":
    sys.exit(main())
