"""Fixtures of the tests of faults."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from provisioner.ledger.sqlite import writer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory in memory, where there is one: what happens to a real disk is not what is tested."""
    shared = Path("/dev/shm")  # noqa: S108  only for the speed of it; mkdtemp makes a private directory
    directory = Path(tempfile.mkdtemp(dir=shared if os.access(shared, os.W_OK) else None))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def frequent_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint every few records, so that the power fails in checkpoints too."""
    monkeypatch.setattr(writer, "CHECKPOINT_AT_LAST", 60)
