"""colab.ipynb: kept without outputs, and all its cells run from top to bottom."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import write_export

ROOT = Path(__file__).parent.parent
CELLS = json.loads((ROOT / "colab.ipynb").read_text(encoding="utf-8"))["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]
# what a notebook has and a plain Python lacks
DISPLAY = """
def Image(filename): return filename
def display(picture): print("shown:", picture)
def clear_output(wait): pass
"""


def test_the_notebook_is_kept_without_outputs():
    assert CODE and all(not cell["outputs"] and cell["execution_count"] is None for cell in CELLS if "outputs" in cell)


def test_every_cell_is_plain_python_that_begins_with_the_settings():
    for source in CODE:
        compile(source, "cell", "exec")
    assert "REPOSITORY = " in CODE[0] and "subprocess" not in CODE[0]


@pytest.mark.slow
def test_all_cells_run_from_top_to_bottom_on_the_drawn_sample(tmp_path):
    kept = shutil.ignore_patterns(".*", "sample", "runs", "__pycache__", "predictions")
    shutil.copytree(ROOT, tmp_path / "cracks", ignore=kept)
    write_export(tmp_path / "cracks" / "data" / "sample", cracked=14, undamaged=4)  # in place of the large drawn one
    (tmp_path / "fake" / "IPython").mkdir(parents=True)
    (tmp_path / "fake" / "IPython" / "__init__.py").touch()
    (tmp_path / "fake" / "IPython" / "display.py").write_text(DISPLAY)
    (tmp_path / "cells.py").write_text("\n\n".join(CODE), encoding="utf-8")
    small = {"EPOCHS": "2", "SIZE": "96", "VERSIONS": "1", "PYTHONPATH": str(tmp_path / "fake")}
    command = [sys.executable, str(tmp_path / "cells.py")]
    where = {"cwd": tmp_path / "cracks", "env": os.environ | small, "capture_output": True, "text": True}
    ended = subprocess.run(command, **where)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    shown = [line.split()[-1] for line in ended.stdout.splitlines() if line.startswith("shown:")]
    names = {Path(name).name for name in shown}
    assert {"audit.png", "augment-sample.png", "curves.png"} <= names
    assert any(name.endswith("_figure.png") for name in names) and "iou_cracked" in ended.stdout
    assert (tmp_path / "cracks" / "run.zip").stat().st_size > 1e5
    again = subprocess.run(command, **where)  # a second "Run all" goes on where the first one ended
    assert again.returncode == 0, again.stdout[-2000:] + again.stderr[-2000:]
