"""colab.ipynb: kept without outputs, and all its cells run from top to bottom."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from conftest import copy_repository, write_export

ROOT = Path(__file__).parent.parent
CELLS = json.loads((ROOT / "colab.ipynb").read_text(encoding="utf-8"))["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]
# what a notebook has and a plain Python lacks
DISPLAY = """
def Image(filename): return filename
def display(picture): print("shown:", picture)
def clear_output(wait): pass
"""


def with_display(folder):
    """The notebook as a script in the folder, beside what stands in for IPython."""
    (folder / "fake" / "IPython").mkdir(parents=True)
    (folder / "fake" / "IPython" / "__init__.py").touch()
    (folder / "fake" / "IPython" / "display.py").write_text(DISPLAY)
    (folder / "cells.py").write_text("\n\n".join(CODE), encoding="utf-8")


def run_cells(folder, where, **settings):
    """All cells of with_display(folder), run in `where` -> the ended process."""
    environment = os.environ | settings | {"PYTHONPATH": str(folder / "fake")}
    command = [sys.executable, str(folder / "cells.py")]
    return subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True)


def test_nothing_but_the_first_cell_knows_where_the_code_comes_from():
    assert sum("github.com" in source for source in CODE) == 1 and "github.com" in CODE[0]


def test_the_notebook_is_kept_without_outputs():
    assert CODE and all(not cell["outputs"] and cell["execution_count"] is None for cell in CELLS if "outputs" in cell)


def test_every_cell_is_plain_python_that_begins_with_the_settings():
    for source in CODE:
        compile(source, "cell", "exec")
    assert "REPOSITORY = " in CODE[0] and "subprocess" not in CODE[0]


def test_without_an_address_the_notebook_says_so_before_it_clones_anything(tmp_path):
    with_display(tmp_path)
    ended = run_cells(tmp_path, tmp_path)
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1 and "REPOSITORY" in ended.stderr
    assert "git" not in ended.stderr and not (tmp_path / "cracks").exists()


def test_it_starts_from_the_weights_that_are_asked_for():
    cell = next(source for source in CODE if "train.py" in source)
    training = MagicMock()  # in place of start(): a process that says nothing and succeeds
    training.return_value.__enter__.return_value = SimpleNamespace(stdout=[], returncode=0)
    for start, said in (("", ()), ("weights/crack.pt", ("--from", "weights/crack.pt"))):
        settings = {"EPOCHS": 1, "SIZE": 32, "VERSIONS": 1, "BATCH_SIZE": 1, "START": start, "folder": "nowhere"}
        names = {"Path": Path, "data": "d", "classes": [], "start": training}
        exec(compile(cell, "cell", "exec"), settings | names)
        words = training.call_args.args
        assert words[:3] == ("train.py", "--data", "d") and words[words.index("--batch-size") + 2 :] == said


@pytest.mark.slow
def test_all_cells_run_from_top_to_bottom_on_the_drawn_sample(tmp_path):
    copy_repository(tmp_path / "cracks")
    write_export(tmp_path / "cracks" / "data" / "sample", cracked=14, undamaged=4)  # in place of the large drawn one
    with_display(tmp_path)
    small = {"EPOCHS": "2", "SIZE": "96", "VERSIONS": "1", "START": "weights/crack.pt"}
    ended = run_cells(tmp_path, tmp_path / "cracks", **small)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    shown = [line.split()[-1] for line in ended.stdout.splitlines() if line.startswith("shown:")]
    names = {Path(name).name for name in shown}
    assert {"audit.png", "augment-sample.png", "curves.png"} <= names
    assert sum(name.endswith("_figure.png") for name in names) == 1 and "iou_cracked" in ended.stdout
    assert sum("survey-results" in name for name in shown) == 1  # the same photo, found and measured
    assert (tmp_path / "cracks" / "survey-results" / "report.html").is_file()
    assert (tmp_path / "cracks" / "run.zip").stat().st_size > 1e5
    assert "weights/crack.pt" in ended.stdout
    again = run_cells(tmp_path, tmp_path / "cracks", **small)  # a second "Run all" goes on where the first one ended
    assert again.returncode == 0, again.stdout[-2000:] + again.stderr[-2000:]
