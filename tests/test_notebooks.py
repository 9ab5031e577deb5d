"""Every chapter keeps the rules that nbval, Colab and the pages rely on."""

import json
import re

import nbformat
import pytest
from helpers import ROOT, tool

CHAPTERS = sorted((ROOT / "chapters").glob("*.py"))


# How every chapter's first cell begins; the address is set by tools/repository.py.
SETUP = """import sys
from importlib.util import find_spec
from pathlib import Path

from IPython import get_ipython

if Path("../lecturelib").is_dir():  # beside the chapters, in book.zip too
    sys.path.insert(0, str(Path("..").resolve()))
elif find_spec("lecturelib") is None:  # Colab; nothing that is installed changes
    address = "git+{address}"
    get_ipython().run_line_magic("pip", f"install --quiet {{address}}")
    if find_spec("lecturelib") is None:
        raise ModuleNotFoundError(
            "lecturelib could not be installed: download book.zip from the book's site, "
            "unpack it, and open this notebook in its folder chapters"
        )

"""


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def script(request):
    return request.param


@pytest.fixture
def notebook(script):
    return nbformat.read(script.with_suffix(".ipynb"), as_version=4)


def markdown(notebook):
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_there_are_chapters():
    assert CHAPTERS


def test_pair_agrees(script, notebook):
    paired = tool("execute").notebook_from(script)

    def contents(cells):
        return [(cell.cell_type, cell.id, cell.source, cell.metadata) for cell in cells]

    assert contents(notebook.cells) == contents(paired.cells)
    nbformat.validate(notebook)


def test_every_chapter_has_its_twins(script):
    module, tests = ROOT / "lecturelib" / script.stem, ROOT / "tests" / script.stem
    assert module.with_suffix(".py").exists() or (module / "__init__.py").exists()
    assert tests.is_dir() or (ROOT / "tests" / f"test_{script.name}").exists()
    assert f"file: chapters/{script.stem}\n" in (ROOT / "_toc.yml").read_text(encoding="utf-8")


def test_all_cells_ran_in_order(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


def test_what_a_cell_prints_is_stored_in_one_piece(notebook):
    """The site looks for whole lines in it."""
    for cell in notebook.cells:
        streams = [output.name for output in cell.get("outputs", []) if "name" in output]
        assert len(streams) == len(set(streams))


def test_outputs_are_the_same_on_any_machine(notebook):
    assert set(notebook.metadata) == {"kernelspec"}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            shown = {
                kind: data for kind, data in output.get("data", {}).items() if kind != "image/png"
            }
            text = re.sub(
                "data:image/[a-z]+;base64,[A-Za-z0-9+/=]+",
                "",
                json.dumps([output.get("text"), shown]),
            )
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output
            assert "widget-view" not in text
            assert not re.search(r"0x[0-9a-f]{6,}|/(home|root|tmp)/|site-packages", text)


def test_cells_show_numbers_and_not_bare_truth_values(notebook):
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            text = output.get("text", "") or output.get("data", {}).get("text/plain", "")
            assert "".join(text).strip() not in ("True", "False"), cell.source


def test_one_title_and_a_box_of_aims(notebook):
    lines = markdown(notebook).splitlines()
    assert sum(line.startswith("# ") for line in lines) == 1
    assert lines[0].startswith("# ")
    assert ":::{admonition} Before you start" in lines[:20]


def test_setup_cell(notebook):
    setup = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert {"hide-cell", "nbval-ignore-output"} <= set(setup.metadata.tags)
    address = tool("repository").current(ROOT)
    assert setup.source.startswith(SETUP.format(address=address))
    tags = [tag for cell in notebook.cells for tag in cell.metadata.get("tags", [])]
    assert tags.count("nbval-ignore-output") == 1  # all other outputs are compared


def test_figures_have_captions_and_text_alternatives(notebook):
    for cell in notebook.cells:
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
            settings = cell.metadata.mystnb
            assert settings.figure.caption and settings.figure.name.startswith("fig-")
            assert len(settings.image.alt) > 40
            assert cell.source.endswith("plt.show()")


def test_interactive_figures_have_captions_and_each_frame_a_text_of_its_own(notebook):
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            html = output.get("data", {}).get("text/html", "")
            if 'data-explore="frames"' in html:
                data = re.search(r'<script type="application/json">(.*?)</script>', html, re.S)[1]
                assert json.loads(data)["spoken"] and min(map(len, json.loads(data)["alts"])) > 40
            assert "data-explore=" not in html or "<figcaption>" in html


def test_at_least_six_exercises_each_with_a_solution(notebook):
    text = markdown(notebook)
    exercises = re.findall(r"^:::\{exercise\}.*\n:label: (\S+)$", text, re.MULTILINE)
    solutions = re.findall(
        r"^:{3,}\{solution(?:-start)?\} (\S+)\n:class: dropdown$", text, re.MULTILINE
    )
    assert len(exercises) >= 6
    assert sorted(exercises) == sorted(solutions)
    assert text.count("{solution-start}") == text.count("{solution-end}")


def test_code_is_not_kept_from_the_formatter(script):
    assert "# fmt:" not in script.read_text(encoding="utf-8")


# Chapters whose bars were set against the spread between seeds. The others follow.
SPACED = ["neural_collapse", "unconstrained_features", "losses", "law_of_parsimony"]
LINE = re.compile(r"✓ ([a-z0-9-]+): .*: ⟨[^⟩]*⟩ ([<>∈]) ([^;⟨]*); [^;⟨]*⟨([^⟩]*)⟩\)$")


def written(text):
    """A number as a claim writes it, "−0.3" or "1 − 2.5e−9"."""
    terms = re.findall(r"[+−]?\s*[\d.]+(?:e[+−]?\d+)?|[+−]?inf", text)
    return sum(float(term.replace("−", "-").replace(" ", "")) for term in terms)


def twice_as_far(sign, bar, control):
    """Whether a control is twice as far from what would be ideal as the bar is."""
    if sign == "∈" and "±" in bar:
        expected, tolerance = (part.strip() for part in bar.split("±", 1))
        room = max(written(part) for part in tolerance.split("±"))
        if tolerance.endswith("%"):
            room *= abs(written(expected)) / 100
        return abs(control - written(expected)) >= 2 * room
    if sign == "∈":
        return True  # an interval leaves no scale to compare with
    bar = written(bar)
    return bar <= 0 or (control >= 2 * bar if sign == "<" else control <= bar / 2)


@pytest.mark.parametrize("chapter", SPACED)
def test_a_bar_is_nearer_to_what_holds_than_to_what_fails(chapter):
    path = ROOT / "chapters" / f"{chapter}.ipynb"
    seen, near = 0, {}
    for cell in nbformat.read(path, as_version=4).cells:
        printed = "".join(output.get("text", "") for output in cell.get("outputs", []))
        for line in re.split(r"\n(?=\S)", printed):
            if found := LINE.match(" ".join(line.split())):
                name, sign, bar, controls = found.groups()
                values = [written(value) for value in controls.split(" … ")]
                seen += 1
                if not all(twice_as_far(sign, bar, value) for value in values):
                    near[name] = line
    assert seen > 15
    assert not near


@pytest.mark.parametrize(
    ("sign", "bar", "control", "far"),
    [
        ("<", "0.1", "0.2", True),
        ("<", "0.1", "0.19", False),
        (">", "0.5", "0.25", True),
        (">", "0.5", "0.3", False),
        (">", "−1e−6", "−0.083", True),
        ("∈", "−0.333333 ± 0.001", "2.8e−17", True),
        ("∈", "1 ± 3 %", "1 + 0.05", False),
        ("∈", "1 ± 1e−9", "1 − 2.5e−9", True),
    ],
)
def test_the_distance_of_a_bar_is_seen(sign, bar, control, far):
    assert twice_as_far(sign, bar, written(control)) == far
