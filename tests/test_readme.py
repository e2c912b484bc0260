"""The pages: their commands can be typed, the files and tests that they name exist, and the README stays short."""

import ast
import importlib
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("*/*.md"))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(?:python|torchrun --nproc-per-node \d+) ((?:[a-z_]+/)?[a-z_]+\.py)(.*)")
FOLDER_IN_DATA = re.compile(r"(?<![\w/.])data/[\w-]+(?![\w./-])")
PYTEST = re.compile(r"python -m pytest(.*)")


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def code(page):
    """Every command or other piece of code in a page, on one line: of its blocks, and what stands in `backticks`."""
    text = page.read_text(encoding="utf-8")
    for _, block in FENCED.findall(text):
        for line in block.splitlines():
            yield from line.partition(" #")[0].split("&&")
    for inline in re.findall(r"`([^`]+)`", FENCED.sub("", text)):
        yield from " ".join(inline.split()).split("&&")


def found(pattern):
    """(page, *groups) of every piece of code that the pattern matches, each once."""
    matches = [(page, pattern.fullmatch(piece.strip())) for page in PAGES for piece in code(page)]
    return sorted({(name_of(page), *match.groups()) for page, match in matches if match})


COMMANDS = found(COMMAND)
TESTS = found(PYTEST)


def test_the_commands_are_found():
    scripts = {script for _, script, _ in COMMANDS}
    assert len(COMMANDS) > 40 and len(TESTS) > 5
    assert {"train.py", "evaluate.py", "inference.py", "survey.py", "rank.py", "data/merge.py"} <= scripts


def module_of(script):
    """The module of a script: "data/merge.py" -> data.merge; those of tests/ are in the path of the tests."""
    return importlib.import_module(script.removesuffix(".py").removeprefix("tests/").replace("/", "."))


@pytest.mark.parametrize("page,script,flags", COMMANDS)
def test_every_command_in_the_pages_is_one_that_its_script_takes(page, script, flags):
    if script == "demo.py":
        pytest.importorskip("gradio", reason="demo.py needs Gradio: pip install -r requirements-demo.txt")
    parse = module_of(script).arguments
    words = [word for word in shlex.split(flags) if word != "..."]
    if "--help" not in words:
        assert parse(words)


def test_every_command_of_make_sh_is_one_that_its_script_takes(tmp_path):
    """make.sh runs as it is, with a `python` that only notes what it is given."""
    script = (ROOT / "weights" / "make.sh").read_text(encoding="utf-8")
    copied = re.findall(r"^cp (\S+)", script, re.MULTILINE)
    for name, text in [("weights/make.sh", script), *((name, "") for name in copied)]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" '' >> '{tmp_path}/noted'\n")
    python.chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    subprocess.run(["sh", "weights/make.sh"], cwd=tmp_path, env=os.environ | {"PATH": path}, check=True)
    commands = [text.splitlines() for text in (tmp_path / "noted").read_text().strip().split("\n\n")]
    assert {"data/synthesize.py", "train.py", "weights/average.py"} <= {script for script, *_ in commands}
    for script, *words in commands:
        assert module_of(script).arguments(words)


def test_what_our_examples_write_into_data_is_ignored_by_git():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    text = [file for file in [*ROOT.glob("*.*"), *ROOT.glob("*/*.*")] if file.suffix in (".md", ".py", ".sh")]
    files = [file for file in text if file.parent.name != "tests"]
    named = {name for file in files for name in re.findall(FOLDER_IN_DATA, file.read_text(encoding="utf-8"))}
    written = sorted(name for name in named if not (ROOT / f"{name}.py").exists())  # not "coco.py" of data/
    ignored = subprocess.run(["git", "check-ignore", *(f"{name}/" for name in written)], cwd=ROOT, capture_output=True)
    assert {"data/sample", "data/class", "data/walk"} <= set(written)
    assert [name for name in written if f"{name}/" not in ignored.stdout.decode().split()] == []


@pytest.mark.parametrize("page,flags", TESTS)
def test_every_test_that_the_pages_name_exists(page, flags):
    words = shlex.split(flags)
    files = [ROOT / word for word in words if word.endswith(".py")]
    assert all(file.is_file() for file in files)
    if "-k" in words:
        wanted = words[words.index("-k") + 1]
        names = [node.name for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
                 if isinstance(node, ast.FunctionDef)]  # fmt: skip
        assert any(name.startswith("test_") and wanted in name for name in names)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_in_the_pages_leads_to_a_file_and_its_heading(page):
    for link in re.findall(r"\]\((?!http)([^)]+)\)", page.read_text(encoding="utf-8")):
        file, _, heading = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
            assert heading in anchors, link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_that_a_page_names_in_backticks_exists(page):
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    named = re.findall(r"`([a-z_]+/[a-z_]+\.(?:py|md|sh|csv|pt))`", text)
    assert [name for name in named if not (ROOT / name).exists() and not (page.parent / name).exists()] == []


def test_the_readme_is_short_enough_to_be_read():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150 and max(map(len, lines)) <= 120


def test_the_readmes_blocks_are_what_ci_runs_and_a_mask_needs_no_pytest():
    blocks = [block for language, block in FENCED.findall((ROOT / "README.md").read_text()) if language == "sh"]
    first, *_ = blocks
    assert "-r requirements.txt" in first and "python inference.py" in first and "pytest" not in first
    assert sum("python -m pytest" in block and "-r requirements-dev.txt" in block for block in blocks) == 1
    assert "pytest" not in (ROOT / "requirements.txt").read_text()
