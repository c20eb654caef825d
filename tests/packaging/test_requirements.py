"""The requirements files and pyproject.toml agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUN = PYPROJECT["project"]["dependencies"]
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
GROUPS = PYPROJECT["dependency-groups"]
DEVELOPMENT = [*RUN, *GROUPS["install"], *(each for each in GROUPS["dev"] if isinstance(each, str))]


def pinned(file: str) -> dict[str, str]:
    """Name and version of everything that the file pins."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / file).read_text(), re.MULTILINE))


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("requirements.txt", RUN + GROUPS["install"]),
        ("requirements-image.txt", RUN + GROUPS["install"] + EXTRAS["metrics"] + EXTRAS["postgres"] + EXTRAS["zstd"]),
        ("requirements-dev.txt", DEVELOPMENT),
        ("requirements-lowest.txt", DEVELOPMENT),
    ],
)
def test_every_dependency_is_pinned(file: str, wanted: list[str]) -> None:
    """After a change of dependencies `make lock` has been run: each one is pinned to a version that it allows."""
    pins = pinned(file)
    missing = [each.name for each in map(Requirement, wanted) if not each.specifier.contains(pins.get(each.name, "0"))]

    assert not missing, f"{file} does not match pyproject.toml in {missing}: run `make lock`"


def test_the_lowest_versions_are_the_bounds() -> None:
    """Each lower bound is a version that `make test-lowest` tries."""
    pins = pinned("requirements-lowest.txt")
    for each in map(Requirement, DEVELOPMENT):
        (bound,) = (part.version for part in each.specifier if part.operator == ">=")
        assert pins[each.name].startswith(bound), f"{each.name}: {pins[each.name]} is tried, {bound} is promised"


@pytest.mark.parametrize("file", [path.name for path in ROOT.glob("requirements*.txt")])
def test_no_address(file: str) -> None:
    """A requirements file names no registry, so that it works with any."""
    assert "://" not in (ROOT / file).read_text()
    assert "--index-url" not in (ROOT / file).read_text()
