"""An endpoint for the tests that do not run a loop of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provisioner.emulator import running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioner.emulator import Emulator


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """An endpoint in a thread, with every switch at its default."""
    with running() as endpoint:
        yield endpoint
