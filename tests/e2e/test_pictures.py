"""The pictures of the documentation show what the commands show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.pictures import SCENES, normalized, path_of, played, text_of
from tests.e2e.process import ROOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", SCENES)
def test_a_picture_is_what_the_terminal_shows(name: str, tmp_path: Path) -> None:
    """Line by line, but for figures. If it is out of date: make pictures."""
    shown = [normalized(line) for line in played(SCENES[name], tmp_path, whole=False)]

    assert [normalized(line) for line in text_of(path_of(name).read_text())] == shown


def test_every_picture_has_a_place_and_a_scene() -> None:
    """A picture that no page shows, or that nothing makes, is nobody's."""
    pages = "".join(path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")])

    assert {path.stem for path in path_of("x").parent.iterdir()} == set(SCENES)
    assert [name for name in SCENES if f"pictures/{name}.svg" not in pages] == []
