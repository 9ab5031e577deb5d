"""Make small mistakes in the solutions of an assignment and count those that its tests notice.

The rule: of the mutants of the master's solutions, the public and hidden tests fail at least 95 %.
A mutant is the solution with one small change: another operator, a constant one off, a comparison
with or without equality, a mean for a sum, a transpose or an argument left out. One that can't
differ from the original is named, with its reason, in `EQUIVALENT` of the assignment's answers,
and does not count; "*" there, instead of a mutant, leaves out a question whose answers are free.

The solutions run once, cell after cell; before each, its mutants run in forks of the process, which
know all that the cell may use.

usage: python tools/mutants.py [ASSIGNMENT …]
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # a fork must not wait for one

import ast
import contextlib
import copy
import io
import resource
import signal
import sys
from pathlib import Path

import jupytext
import matplotlib as mpl

from coursework import load

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lecturelib.coursework import variant  # noqa: E402
from lecturelib.coursework.assignments import assignment  # noqa: E402
from lecturelib.coursework.notebook import PLACEHOLDER  # noqa: E402

LEAST = 0.95
SECONDS = 20  # of a mutant; one that takes longer is noticed

OPERATORS = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Div,),
    ast.Pow: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,),
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
}
NEIGHBOURS = {
    "mean": "sum",
    "sum": "mean",
    "max": "min",
    "min": "max",
    "argmax": "argmin",
    "argmin": "argmax",
    "amax": "amin",
    "amin": "amax",
    "maximum": "minimum",
    "minimum": "maximum",
    "exp": "expm1",
    "log": "log1p",
    "sqrt": "square",
    "square": "sqrt",
    "sin": "cos",
    "cos": "sin",
    "cumsum": "cumprod",
    "floor": "ceil",
    "ceil": "floor",
}
LEFT_OUT = {"T", "mT", "mH"}


def changes(node):
    """Return what a node may become: a list of new nodes."""
    found = []
    if isinstance(node, (ast.BinOp, ast.BoolOp)):
        for kind in OPERATORS.get(type(node.op), ()):
            found.append(copy.deepcopy(node))
            found[-1].op = kind()
    elif isinstance(node, ast.Compare):
        for kind in OPERATORS.get(type(node.ops[0]), ()):
            found.append(copy.deepcopy(node))
            found[-1].ops[0] = kind()
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
        found.append(node.operand)
    elif isinstance(node, ast.Constant) and type(node.value) is bool:
        found.append(ast.Constant(not node.value))
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        found.append(ast.Constant(node.value + 1))
    elif isinstance(node, ast.Attribute) and node.attr in LEFT_OUT:
        found.append(node.value)
    elif isinstance(node, ast.Attribute) and node.attr in NEIGHBOURS:
        found.append(copy.deepcopy(node))
        found[-1].attr = NEIGHBOURS[node.attr]
    elif isinstance(node, ast.Call):
        for place in range(len(node.keywords)):
            found.append(copy.deepcopy(node))
            del found[-1].keywords[place]
    return found


def solution_lines(source):
    """Return the numbers of the lines that are a solution's."""
    lines, inside = set(), False
    for number, line in enumerate(source.splitlines(), start=1):
        if "# END SOLUTION" in line:
            inside = False
        if inside or line.rstrip().endswith("# SOLUTION"):
            lines.add(number)
        if "# BEGIN SOLUTION" in line:
            inside = True
    return lines


def mutants(source):
    """Yield (description, code) for every mutant of a cell's solution."""
    tree = ast.parse(source)
    lines = solution_lines(source)

    def places(node):
        for name, value in ast.iter_fields(node):
            children = value if isinstance(value, list) else [value]
            for index, child in enumerate(children):
                if isinstance(child, ast.AST):
                    yield node, name, index if isinstance(value, list) else None, child
                    yield from places(child)

    for parent, name, index, child in list(places(tree)):
        if getattr(child, "lineno", None) not in lines:
            continue
        for changed in changes(child):
            put(parent, name, index, changed)
            mutated = ast.unparse(ast.fix_missing_locations(tree))
            words = f"line {child.lineno}: {ast.unparse(child)} → {ast.unparse(changed)}"
            put(parent, name, index, child)
            yield words, mutated


def put(parent, name, index, child):
    """Put a child into its place in a tree."""
    if index is None:
        setattr(parent, name, child)
    else:
        getattr(parent, name)[index] = child


def survives(code, namespace, question, tests, mine):
    """Run a mutant in a fork of this process; return whether it passes all tests."""
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
            signal.alarm(2 * SECONDS)
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                exec(code, namespace)
                for test in tests:
                    test.run(namespace[question.answer], mine)
        except BaseException:  # whatever happens to a mutant is what the tests notice
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return status == 0


def examine(name, folder=ROOT / "coursework"):
    """Yield (question, description, survived, reason) for every mutant of an assignment."""
    hidden = load(folder / name / "hidden.py").HIDDEN
    excused = getattr(load(folder / name / "answers.py"), "EQUIVALENT", {})
    questions = {question.name: question for question in assignment(name).questions}
    mine, namespace = variant(PLACEHOLDER, name), {"__name__": "master"}
    for cell in jupytext.read(folder / name / "master.py").cells:
        if cell.cell_type != "code" or "coursework.submit" in cell.source:
            continue
        question = questions.get(cell.metadata.get("question"))
        if question is not None and question.name in hidden:
            known = excused.get(question.name, {})
            tests = (*question.tests, *hidden[question.name])
            for words, code in () if "*" in known else mutants(cell.source):
                survived = survives(code, namespace, question, tests, mine)
                yield question.name, words, survived, known.get(words)
        with contextlib.redirect_stdout(io.StringIO()):
            exec(cell.source, namespace)


def main(names):
    """Print what survived, and the share that was noticed; return whether it is large enough."""
    good = True
    for name in names:
        noticed = total = 0
        for question, words, survived, reason in examine(name):
            if survived and reason is None:
                print(f"{question}: {words} passes all tests")
            if not (survived and reason is not None):
                total += 1
                noticed += not survived
        share = noticed / total if total else 0.0
        good = good and share >= LEAST
        print(f"{name}: the tests notice {noticed} of {total} mutants ({100 * share:.1f} %)")
    return good


if __name__ == "__main__":
    mpl.use("agg")
    chosen = sys.argv[1:] or sorted(p.parent.name for p in ROOT.glob("coursework/*/master.py"))
    sys.exit(not main(chosen))
