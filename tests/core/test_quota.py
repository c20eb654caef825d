"""What does not fit into the quota."""

from __future__ import annotations

import pytest

from provisioner.core.quota import Growth, Quota, beyond

NEW, REPLACED, TIDY, FIRST = Growth(), Growth(frees=1), Growth(frees=3), Growth(first=True)


@pytest.mark.parametrize(
    ("creates", "room", "over"),
    [
        ([], 0, 0),
        ([NEW, NEW], 2, 0),
        ([NEW, NEW, NEW], 2, 1),
        ([NEW], -5, 1),
        ([REPLACED] * 9, 1, 0),
        ([REPLACED] * 9, 0, 9),
        ([NEW, REPLACED, REPLACED], 1, 2),
        ([REPLACED, REPLACED, NEW], 1, 0),
        ([TIDY, NEW, NEW, NEW, NEW], 1, 1),
        ([FIRST, FIRST], 0, 0),
    ],
)
def test_what_does_not_fit(creates: list[Growth], room: int, over: int) -> None:
    """A new algorithm takes a place; a replacement needs one and gives it back; one after a deletion needs none."""
    assert beyond(creates, room) == over


def test_where_the_number_comes_from() -> None:
    """It is that of Service Quotas now, or that of a reply, with its day and how to ask again."""
    assert Quota(5.0).source == "by Service Quotas"
    assert Quota(5.0, 1_795_435_200.0).source == "as AWS said on 2026-11-23; --preflight asks Service Quotas"
