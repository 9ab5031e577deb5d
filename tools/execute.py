"""Execute chapters: write each notebook anew, with its outputs, from its py:percent pair.

The rule: `chapters/NAME.py` is what people edit, `chapters/NAME.ipynb` is made from it by this
script and by nothing else. Two runs differ only where outputs do: cells are named by their place,
and no times are recorded.

usage: python tools/execute.py [NAME ...]      (without names: all chapters)
"""

import os
import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

CHAPTERS = Path(__file__).resolve().parents[1] / "chapters"


def notebook_from(script):
    """Read a py:percent script as a notebook whose cells are named by their place."""
    notebook = jupytext.read(script)
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
    for place, cell in enumerate(notebook.cells, 1):
        cell["id"] = f"cell-{place:03d}"
    return nbformat.from_dict(notebook)


def execute(script):
    """Execute the script's notebook in the folder of the chapters, and write it beside it."""
    notebook = notebook_from(script)
    client = NotebookClient(
        notebook,
        timeout=1200,
        record_timing=False,
        coalesce_streams=True,  # where a line was cut is chance
        resources={"metadata": {"path": str(CHAPTERS)}},
    )
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    notebook.metadata.pop("language_info", None)  # it names the Python version of this machine
    nbformat.write(notebook, script.with_suffix(".ipynb"))


def main(names):
    """Execute the named chapters, or all."""
    os.environ["TQDM_DISABLE"] = "1"  # progress bars are for readers, not for stored outputs
    scripts = [CHAPTERS / f"{name}.py" for name in names] or sorted(CHAPTERS.glob("*.py"))
    for script in scripts:
        if not script.exists():
            sys.exit(f"no such chapter: {script}")
        print(f"executing {script.stem} …", flush=True)
        execute(script)


if __name__ == "__main__":
    main(sys.argv[1:])
