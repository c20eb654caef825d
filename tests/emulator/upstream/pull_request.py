"""Writes Clean Rooms ML into a checkout of moto, as a pull request has it: ``make moto-pr MOTO=../moto``.

The service and its tests are copied. What moto keeps in files for all services (an index of host names, types, extras,
the list of what is implemented) gets the lines that moto's own scripts would write; a second run changes nothing more.
"""

from __future__ import annotations

import re
import shutil
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore
import click
from botocore import xform_name
from botocore.session import Session

from provisioner.emulator.moto import SERVICE, register

if TYPE_CHECKING:
    from collections.abc import Callable

SIBLING = "cleanrooms"
"""The service after which ours stands in every sorted list of moto; moto has it since 5.2.5."""

PACKAGE = Path(sys.modules[register.__module__].__file__ or "").parent / SERVICE
TESTS = Path(__file__).parent / f"test_{SERVICE}"

DOCUMENTATION = """\
.. _implementedservice_{service}:

.. |start-h3| raw:: html

    <h3>

.. |end-h3| raw:: html

    </h3>

{line}
{service}
{line}

.. autoclass:: moto.{service}.models.{backend}

|start-h3| Implemented features for this service |end-h3|

{operations}

"""


class NoCheckoutError(Exception):
    """A file that moto's repository has is not there, or does not list the service after which ours comes."""


def write(checkout: Path) -> list[str]:
    """Write everything into a checkout of moto's repository; the paths that a commit has to add.

    Raises:
        NoCheckoutError: it is none, or one of a moto before 5.2.5. Nothing is written.
    """
    shared = {path: edit(_read(checkout, path)) for path, edit in EDITS.items()}
    for path, text in shared.items():
        (checkout / path).write_text(text, encoding="utf-8")
    page = f"docs/docs/services/{SERVICE}.rst"
    (checkout / page).write_text(documentation(), encoding="utf-8")
    for source, folder in FOLDERS.items():
        shutil.copytree(source, checkout / folder, ignore=_OURS, dirs_exist_ok=True)
    return sorted([*shared, page, *FOLDERS.values()])


FOLDERS = {PACKAGE: f"moto/{SERVICE}", TESTS: f"tests/test_{SERVICE}"}
_OURS = shutil.ignore_patterns("ruff.toml", "__pycache__")
"""moto has these rules for all its folders."""


def _read(checkout: Path, path: str) -> str:
    try:
        return (checkout / path).read_text(encoding="utf-8")
    except OSError as error:
        raise NoCheckoutError(f"{checkout / path}: {error.strerror}") from error


def backend_class() -> type[Any]:
    """The class whose methods are named like the operations."""
    register()
    backend: type[Any] = import_module(f"moto.{SERVICE}.models").cleanroomsml_backends.backend
    return backend


@cache
def operations() -> dict[str, bool]:
    """Every operation of the service, as boto3 calls it, and whether the backend has it."""
    model = Session().get_service_model(SERVICE)
    implemented = dir(backend_class())
    return {name: name in implemented for name in sorted(map(xform_name, model.operation_names))}


def _list() -> str:
    return "\n".join(f"- [{'X' if done else ' '}] {name}" for name, done in operations().items())


def documentation() -> str:
    """The page of the service, as moto's ``scripts/implementation_coverage.py`` writes it."""
    return DOCUMENTATION.format(
        service=SERVICE, line="=" * len(SERVICE), backend=backend_class().__name__, operations=_list()
    )


def coverage(text: str) -> str:
    """``IMPLEMENTATION_COVERAGE.md`` with a section of the service, of which nothing was implemented before."""
    done = operations().values()
    section = (
        f"## {SERVICE}\n<details>\n<summary>{100 * sum(done) // len(done)}% implemented</summary>\n\n"
        f"{_list()}\n</details>\n\n"
    )
    text = re.sub(rf"^## {SERVICE}\n.*?^</details>\n\n", "", text, flags=re.MULTILINE | re.DOTALL)
    text = text.replace(f"- {SERVICE}\n", "")
    return _after(rf"^## {SIBLING}\n.*?^</details>\n\n", section)(text)


def _after(pattern: str, addition: str) -> Callable[[str], str]:
    """An edit that puts an addition after the one place that matches, unless it is there."""

    def edit(text: str) -> str:
        if addition in text:
            return text
        found = re.search(pattern, text, re.MULTILINE | re.DOTALL)
        if not found:
            raise NoCheckoutError(f"{SIBLING} is not listed as in moto 5.2.5 and later: {pattern}")
        return text[: found.end()] + addition + text[found.end() :]

    return edit


def _types(text: str) -> str:
    """``moto/backends.py`` with the types of the service."""
    backend = backend_class().__name__
    for edit in (
        _after(
            rf"^    from moto\.{SIBLING}\.models import \w+\n",
            f"    from moto.{SERVICE}.models import {backend}\n",
        ),
        _after(rf"^    \"Literal\['{SIBLING}'\]\",\n", f"    \"Literal['{SERVICE}']\",\n"),
        _after(
            rf"^def get_backend\(name: \"Literal\['{SIBLING}'\]\"\)[^\n]*\n",
            f'@overload\ndef get_backend(\n    name: "Literal[\'{SERVICE}\']",\n) -> "BackendDict[{backend}]": ...\n',
        ),
    ):
        text = edit(text)
    return text


def _hosts(text: str) -> str:
    """``moto/backend_index.py`` with the host names of the service."""
    register()
    (base,) = import_module(f"moto.{SERVICE}.urls").url_bases
    written = base.replace("\\", "\\\\")
    return _after(rf'^    \("{SIBLING}", [^\n]*\n', f'    ("{SERVICE}", re.compile("{written}")),\n')(text)


EDITS: dict[str, Callable[[str], str]] = {
    "IMPLEMENTATION_COVERAGE.md": coverage,
    "moto/backend_index.py": _hosts,
    "moto/backends.py": _types,
    "setup.cfg": _after(rf"^{SIBLING} =\n", f"{SERVICE} =\n"),
}


def main(arguments: list[str]) -> None:
    """Write into the checkout that the only argument names, and say what to do there."""
    if len(arguments) != 1 or not arguments[0]:
        sys.exit("Name a checkout of moto's repository: make moto-pr MOTO=../moto")
    checkout = Path(arguments[0])
    try:
        paths = write(checkout)
    except NoCheckoutError as error:
        sys.exit(f"{checkout} is no up-to-date checkout of moto: {error}")
    done = operations().values()
    click.echo(f"{sum(done)} of the {len(done)} operations that botocore {botocore.__version__} knows are implemented.")
    click.echo(f"Next, in {checkout}:")
    click.echo(f"  make lint && pytest {FOLDERS[TESTS]}")
    click.echo(f"  git add {' '.join(paths)}")
    click.echo("  git commit -m 'CleanRoomsML: configured model algorithms'")


if __name__ == "__main__":
    main(sys.argv[1:])
