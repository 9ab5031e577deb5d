"""The workflows are valid, may do little, and run only what is pinned."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers import ROOT

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
PINNED = re.compile(r"uses: ([\w-]+/[\w/-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)")
MAY_WRITE = {
    ("pages.yml", "deploy"): {"pages", "id-token"},
    ("release.yml", "release"): {"contents"},
    ("report.yml", "issue"): {"issues"},
    ("weekly.yml", "report"): {"issues"},
    ("links.yml", "report"): {"issues"},
}

every_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def run(tool, *arguments):
    """Run a checker of this environment; return what it said if it found something."""
    command = [Path(sys.executable).with_name(tool), *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    return result.stdout + result.stderr if result.returncode else ""


def load(path):
    return yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)


@pytest.mark.parametrize(
    ("schema", "paths"),
    [
        ("vendor.github-workflows", WORKFLOWS),
        ("vendor.dependabot", [GITHUB / "dependabot.yml"]),
    ],
)
def test_they_are_valid(schema, paths):
    assert not run("check-jsonschema", "--builtin-schema", schema, *paths)


def test_zizmor_finds_nothing():
    assert not run("zizmor", "--offline", "--no-progress", GITHUB)


@every_workflow
def test_actions_are_pinned_by_hash(path):
    text = path.read_text(encoding="utf-8")
    foreign = re.findall(r"uses: (?!\./)\S+", text)
    assert len(PINNED.findall(text)) == len(foreign)
    for local in re.findall(r"uses: \./(\S+)", text):
        assert (ROOT / local).exists()


def test_an_action_has_one_version():
    pins = {pin for path in WORKFLOWS for pin in PINNED.findall(path.read_text(encoding="utf-8"))}
    assert len(pins) == len({action for action, *_ in pins})


@every_workflow
def test_jobs_have_a_time_limit_and_the_least_rights(path):
    workflow = load(path)
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        written = {what for what, right in job["permissions"].items() if right == "write"}
        assert written == MAY_WRITE.get((path.name, name), set())
        assert written or job["permissions"] == {"contents": "read"}
        assert "uses" in job or int(job["timeout-minutes"]) <= 120
        for step in job.get("steps", []):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] == "false"


@every_workflow
def test_runs_of_a_workflow_do_not_pile_up(path):
    workflow = load(path)
    assert "concurrency" in workflow or "workflow_call" in workflow["on"]


@every_workflow
def test_what_is_published_comes_from_no_cache(path):
    cached = [
        step["with"]["cache-dependency-path"]
        for job in load(path)["jobs"].values()
        for step in job.get("steps", [])
        if "cache" in step.get("with", {})
    ]
    assert bool(cached) == (path.name in {"test.yml", "weekly.yml", "links.yml"})
    assert all((ROOT / file).exists() for file in cached)


def test_commands_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for path in WORKFLOWS:
        text = path.read_text(encoding="utf-8")
        for target in re.findall(r"run: make ([\w-]+)", text):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE)
        for script in re.findall(r"run: (\.\S+)", text):
            assert (ROOT / script).exists()
