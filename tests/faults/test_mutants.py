"""The mutants still fit the code; whether each turns the suite red is for ``make mutants``."""

from __future__ import annotations

import pytest

from tests.faults.mutants import MUTANTS, ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_each_mutant_applies(mutant: Mutant) -> None:
    """What a mutant replaces stands once in its module, and the tests that must notice it exist."""
    text = (ROOT / mutant.path).read_text()

    assert {old: text.count(old) for old, _ in mutant.edits} == {old: 1 for old, _ in mutant.edits}
    assert [test for test in mutant.tests if not (test.startswith("-") or (ROOT / test).exists())] == []
