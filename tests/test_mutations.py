"""The mutations themselves: each finds its code, and the search does not depend on how the code is laid out."""

from pathlib import Path

import pytest
from mutations import MUTATIONS, mutated

from command import BadInput

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_code_of_a_mutation_and_its_test_file_exist(name):
    file, function, old, new, test = MUTATIONS[name]
    text = (ROOT / file).read_text(encoding="utf-8")
    changed = mutated(text, function, old, new)
    assert changed != text
    compile(changed, file, "exec")
    assert (ROOT / "tests" / f"test_{test}.py").is_file()


def test_a_mutation_changes_one_function_only_however_its_lines_are_broken():
    text = "def a(x):\n    return (\n        x\n        + 1\n    )\n\n\ndef b(x):\n    return x + 1\n"
    changed = mutated(text, "a", "x+1", "x - 1")
    names = {}
    exec(changed, names)
    assert (names["a"](5), names["b"](5)) == (4, 6)


@pytest.mark.parametrize("function,old", [("c", "x"), ("a", "y"), ("a", "x")])
def test_a_mutation_that_is_not_there_exactly_once_is_refused(function, old):
    with pytest.raises(BadInput, match=function):
        mutated("def a(x):\n    return x\n", function, old, "0")
