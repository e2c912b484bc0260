"""results/walkthrough.md: its code runs, its values are right, its pictures are its own, and what it names exists.

To draw the pictures of the page anew: python tests/test_walkthrough.py
"""

import ast
import importlib
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "results" / "walkthrough.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
MODULES = {path.stem for path in ROOT.glob("*.py")} | {"formats", "quantify", "report", "data"}


def run_page(folder):
    """Run the code blocks in order in this folder -> [(line, value as it stands in the page, value now)]."""
    before, names, values = Path.cwd(), {}, []
    os.chdir(folder)
    try:
        for block in BLOCKS:
            for statement in ast.parse(block).body:
                source = ast.unparse(statement)
                if isinstance(statement, ast.Expr):
                    value = eval(source, names)
                    last_line = block.splitlines()[statement.end_lineno - 1]
                    if "# -> " in last_line:
                        values.append((source, last_line.split("# -> ")[1], repr(plain(value))))
                else:
                    exec(source, names)
    finally:
        os.chdir(before)
    return values


def plain(value):
    """NumPy numbers, also inside a tuple, as Python's."""
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    return value.item() if hasattr(value, "item") else value


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    return folder, run_page(folder)


def test_every_value_in_the_page_is_what_its_code_gives(ran):
    _, values = ran
    assert len(values) > 15
    assert [row for row in values if row[1] != row[2]] == []


def test_every_picture_of_the_page_is_drawn_by_its_code(ran):
    folder, _ = ran
    shown = re.findall(r"!\[[^]]*\]\(walkthrough/([^)]+)\)", TEXT)
    assert len(shown) == 6 and {path.name for path in folder.glob("*.jpg")} == set(shown)
    assert {path.name for path in PAGE.with_suffix("").iterdir()} == set(shown)


def test_every_name_in_the_page_exists():
    named = set(re.findall(r"`((?:\w+\.)+\w+)`", TEXT))
    dotted = {name for name in named if name.split(".")[0] in MODULES and not name.endswith((".py", ".md"))}
    assert len(dotted) > 15
    for name in dotted:
        parts = name.split(".")
        count = 1 if (ROOT / f"{parts[0]}.py").is_file() else 2  # runs.py stands beside the folder runs/
        found = importlib.import_module(".".join(parts[:count]))
        for part in parts[count:]:
            assert hasattr(found, part), name
            found = getattr(found, part)


def test_the_other_loss_of_the_page_trains(ran):
    import torch  # after the page has run

    names = {"torch": torch, "distributed": importlib.import_module("distributed")}
    block = next(block for block in BLOCKS if "def tversky" in block)
    exec(block[: block.index("\n\n\n0 <")], names)
    logits = torch.zeros(2, 1, 16, 16, requires_grad=True)
    mask = torch.zeros(2, 1, 16, 16)
    mask[:, :, 8] = 1
    names["tversky"](logits, mask).backward()
    assert (logits.grad[mask == 1] < 0).all() and (logits.grad[mask == 0] > 0).all()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as temporary:
        run_page(temporary)
        for picture in sorted(Path(temporary).glob("*.jpg")):
            shutil.copy(picture, PAGE.with_suffix(""))
            print("written:", picture.name)
