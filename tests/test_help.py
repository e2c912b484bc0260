"""--help and wrong flags are answered before the imports that take seconds, by every command there is."""

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
SLOW = ("torch", "torchvision", "matplotlib", "pycocotools")
# runs a command as the shell does and says at the end which of the slow packages it has imported
RUN = f"""
import atexit, runpy, sys
atexit.register(lambda: print("imported:", *[name for name in {SLOW} if name in sys.modules]))
sys.path.insert(0, "")
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(command, flag):
    code = f"import sys; sys.argv = {[command, flag]!r}\n{RUN}"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


def test_all_commands_of_the_readme_are_looked_at():
    assert {"train.py", "evaluate.py", "inference.py", "dataset.py", "augment.py", "model.py"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_comes_without_the_slow_imports_and_names_the_command(command):
    ended = run(command, "--help")
    assert ended.returncode == 0 and ended.stdout.splitlines()[-1] == "imported:", ended.stderr
    assert f"python {command}" in ended.stdout and not ended.stderr


def test_asked_what_it_is_the_mutation_check_does_not_begin():
    ended = run("tests/mutations.py", "--help")
    assert ended.returncode == 0 and ended.stdout.startswith("usage:"), ended.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_flag_is_one_line_without_the_slow_imports(command):
    ended = run(command, "--no-such-flag")
    assert ended.returncode == 2 and ended.stdout == "imported:\n", ended.stderr
    assert len(ended.stderr.splitlines()) == 1 and f"python {command} --help" in ended.stderr
