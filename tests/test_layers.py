"""Imports: only down the list of layers, never inside a function, and training loads only what it uses."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# from the ground up; a file imports from its own line and the lines before it
LAYERS = [
    *[[name] for name in ("command", "distributed", "formats", "quantify", "metrics", "report", "data", "model")],
    *[[name] for name in ("dataset", "augment", "runs", "inference", "evaluate", "train")],
    ["survey", "rank"],
    ["demo"],
    ["results", "weights"],
]
MOST_FILES = 25  # that training loads; four of them only because `python dataset.py` checks photos and labels
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}
FILES = sorted(file for file in [*ROOT.glob("*.py"), *ROOT.glob("*/*.py")] if file.parent.name != "tests")
NAMES = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in FILES}


def imports(tree):
    """The full name of everything that a piece of parsed code imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(name):
    """ "data.split.split" -> "data.split", the file of ours that holds it; None for a library."""
    for length in (2, 1):
        part = ".".join(name.split(".")[:length])
        if part in NAMES:
            return part
    return None


@cache
def needs(name):
    """The files of ours that a file imports directly."""
    tree = ast.parse(NAMES[name].read_text(encoding="utf-8"))
    return {found for found in map(ours, imports(tree)) if found}


def test_contributing_lists_the_layers():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    listed = page.partition("```text\n")[2].partition("```")[0]
    assert [layer.split(" and ") for layer in " ".join(listed.split()).split(", ")] == LAYERS


@pytest.mark.parametrize("name", NAMES)
def test_imports_only_go_to_the_same_or_a_lower_layer(name):
    height = HEIGHT[name.split(".")[0]]
    assert [other for other in needs(name) if HEIGHT[other.split(".")[0]] > height] == []


@pytest.mark.parametrize("name", NAMES)
def test_no_file_of_ours_is_imported_inside_a_function(name):
    tree = ast.parse(NAMES[name].read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert [found for function in functions for found in imports(function) if ours(found)] == []


def loaded(name):
    """Every file of ours that `import NAME` loads, itself included."""
    found, waiting = set(), [name]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(needs(name))
    return found


def test_there_is_no_cycle():
    assert [name for name in NAMES if any(name in loaded(other) for other in needs(name))] == []


@pytest.mark.parametrize("name", ["train", "inference"])
def test_the_course_needs_no_survey_ranking_scale_or_budget(name):
    beyond = {"survey", "rank", "evaluate", "quantify.scale", "quantify.sheet", "quantify.budget", "formats.video"}
    assert not loaded(name) & beyond and not any(other.startswith("results") for other in loaded(name))


def test_training_loads_few_files():
    assert len(loaded("train")) <= MOST_FILES, sorted(loaded("train"))
