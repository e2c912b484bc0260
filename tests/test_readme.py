"""What the pages say can be typed, files that they name are there: the README must not rot where CI does not run it."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("*/*.md")]
COMMAND = re.compile(r"(?:python|torchrun --nproc-per-node \d+) ((?:[a-z_]+/)?[a-z_]+\.py)([^`|#)]*)")


def commands():
    """(page, script, its flags) of every command of ours in the pages, the sh and text blocks included."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("&&", "`")
        for script, flags in COMMAND.findall(re.sub(r"(?<![`\n])\n(?=[^\n`]*`)", " ", text)):
            yield page.relative_to(ROOT).as_posix(), script, flags.partition("\n")[0].strip()


FOUND = sorted(set(commands()))


def test_the_commands_are_found():
    assert len(FOUND) > 40
    assert {"train.py", "evaluate.py", "inference.py", "data/merge.py"} <= {script for _, script, _ in FOUND}


@pytest.mark.parametrize("page,script,flags", [found for found in FOUND if not found[1].startswith("tests/")])
def test_every_command_in_the_pages_is_one_that_its_script_takes(page, script, flags):
    module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
    words = [word for word in shlex.split(flags) if word != "..."]
    if hasattr(module, "arguments") and "--help" not in words:
        assert module.arguments(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_in_the_pages_leads_to_a_file(page):
    links = re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
