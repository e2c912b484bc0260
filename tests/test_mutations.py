"""The mutation check itself: it takes minutes, so only that it can begin is looked at here."""

from pathlib import Path

import pytest
from mutations import MUTATIONS

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", MUTATIONS)
def test_what_a_mutation_replaces_is_there_and_so_is_the_test_file(name):
    file, old, new, test = MUTATIONS[name]
    assert old in (ROOT / file).read_text(encoding="utf-8") and old != new
    assert (ROOT / "tests" / f"test_{test}.py").is_file()
