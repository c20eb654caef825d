"""Combinations of parameters that are not all worth their time in every run."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _pytest.mark.structures import ParameterSet


def alternating(last: Sequence[object], *others: Sequence[object]) -> list[ParameterSet]:
    """Every combination of ``others``, each with one of ``last`` in turn; with the rest of ``last`` it is torture.

    The values of a combination come in the order of ``others``, and that of ``last`` behind them. Neighbours differ in
    ``last``, so that each two values meet wherever there are as many combinations.
    """
    found = []
    for indices in itertools.product(*(range(len(values)) for values in others)):
        combination = [values[index] for values, index in zip(others, indices, strict=True)]
        turn = sum(indices) % len(last)
        for number, value in enumerate(last):
            marks = [] if number == turn else [pytest.mark.torture]
            found.append(pytest.param(*combination, value, marks=marks))
    return found
