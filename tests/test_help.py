"""Every command explains itself and answers a wrong flag in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COMMANDS = [
    str(file.relative_to(ROOT))
    for file in sorted(file for folder in ("", "data", "quantify", "results") for file in (ROOT / folder).glob("*.py"))
    if '__name__ == "__main__"' in file.read_text(encoding="utf-8")
]


def run(command, flag):
    return subprocess.run([sys.executable, command, flag], cwd=ROOT, capture_output=True, text=True)


def test_all_commands_of_the_readme_are_looked_at():
    assert {"train.py", "evaluate.py", "inference.py", "dataset.py", "augment.py", "model.py"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_the_command(command):
    ended = run(command, "--help")
    assert ended.returncode == 0 and f"python {command}" in ended.stdout and not ended.stderr, ended.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_flag_is_one_line_and_exit_code_2(command):
    ended = run(command, "--no-such-flag")
    assert ended.returncode == 2 and not ended.stdout, ended.stderr
    assert len(ended.stderr.splitlines()) == 1 and f"python {command} --help" in ended.stderr
