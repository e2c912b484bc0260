"""Every command explains itself and answers a wrong flag in one line."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from command import execute

ROOT = Path(__file__).parent.parent
FOLDERS = ("", "data", "quantify", "results", "weights")
COMMANDS = [
    file.relative_to(ROOT).as_posix()
    for file in sorted(file for folder in FOLDERS for file in (ROOT / folder).glob("*.py"))
    if '__name__ == "__main__"' in file.read_text(encoding="utf-8")
]


def answer(command, flag, monkeypatch, capsys):
    """(exit code, stdout, stderr) of `python COMMAND FLAG`, without starting a Python for it."""
    if command == "demo.py":
        pytest.importorskip("gradio", reason="demo.py needs Gradio: pip install -r requirements-demo.txt")
    module = importlib.import_module(command.removesuffix(".py").replace("/", "."))
    monkeypatch.setattr(sys, "argv", [str(ROOT / command), flag])
    with pytest.raises(SystemExit) as end:
        execute(module.main)
    said = capsys.readouterr()
    return end.value.code, said.out, said.err


def test_all_commands_of_the_readme_are_looked_at():
    course = {"train.py", "evaluate.py", "inference.py", "dataset.py", "augment.py", "model.py"}
    assert course | {"survey.py", "rank.py", "data/merge.py", "results/benchmark.py"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_the_command(command, monkeypatch, capsys):
    code, out, err = answer(command, "--help", monkeypatch, capsys)
    assert code == 0 and f"python {command}" in out and not err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_flag_is_one_line_and_exit_code_2(command, monkeypatch, capsys):
    code, out, err = answer(command, "--no-such-flag", monkeypatch, capsys)
    assert code == 2 and not out
    assert len(err.splitlines()) == 1 and f"python {command} --help" in err


@pytest.mark.parametrize("command", ["model.py", "data/merge.py", "quantify/scale.py", "results/story.py"])
def test_a_command_starts_as_a_user_starts_it(command):
    ended = subprocess.run([sys.executable, command, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0 and f"python {command}" in ended.stdout and not ended.stderr
