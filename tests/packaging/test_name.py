"""The distribution's name, which is not the name of the package."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from provisioner.errors import DISTRIBUTION

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("provisioner/**/*.py")]
INSTALL = re.compile(r"(?:pip|pipx|uv|uvx)(?: tool| pip)?\s+install\s+([^`\n]+)")
CHECKOUT = re.compile(r"(?:--\S+ )*'?\.(?:\[[\w,]+\])?'?(?:\s|$)")
EXTRA = re.compile(r"([\w{}-]+)\[([\w,]+)\]")


def test_the_distribution_is_ours() -> None:
    """The name that every hint gives is the one under which the project is published, and not the package's."""
    assert PROJECT["name"] == DISTRIBUTION != "provisioner"


def test_no_extra_without_code() -> None:
    """Each extra is named by a hint that says what it is for."""
    code = "".join(path.read_text() for path in ROOT.glob("provisioner/**/*.py"))

    assert set(PROJECT["optional-dependencies"]) == {
        extra for name, extras in EXTRA.findall(code) if name == "{DISTRIBUTION}" for extra in extras.split(",")
    }


def test_no_hint_installs_a_stranger() -> None:
    """Wherever an installation is shown, it installs the distribution; in the code the name comes from its constant."""
    for page in PAGES:
        own = "{DISTRIBUTION}" if page.suffix == ".py" else DISTRIBUTION
        for shown in INSTALL.findall(page.read_text()):
            # A wheel's file name has underscores for the name's hyphens; and a checkout installs itself.
            assert own in shown.replace("_", "-") or CHECKOUT.match(shown), f"{page}: {shown}"
