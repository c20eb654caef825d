"""The arrows between modules, and what each may import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from provisioner.cli import COMMANDS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "provisioner"

LAYERS = (
    {"__main__", "cli"},
    {"fleet", "report", "emulator"},
    {"engine"},
    {
        "aws",
        "breaker",
        "gate",
        "job",
        "ledger",
        "manifest",
        "planner",
        "problems",
        "reconcile",
        "regexes",
        "site",
        "sources",
        "survey",
        "tally",
    },
    {
        "bulk",
        "clock",
        "definition",
        "diagnosis",
        "entry",
        "errors",
        "fingerprint",
        "jsontext",
        "observed",
        "ownership",
        "pace",
        "settings",
        "stop",
        "tables",
        "verdict",
    },
)
"""Parts of the package (a module or a subpackage), top to bottom. An import goes down or sideways, never up."""

PURE = {
    "breaker",
    "definition",
    "diagnosis",
    "entry",
    "errors",
    "jsontext",
    "observed",
    "ownership",
    "pace",
    "planner",
    "tables",
    "tally",
    "verdict",
}
"""Parts that decide: the same answer for the same arguments, whatever the clock, the network and the disk do."""

IMPURE = {
    "aiohttp",
    "anyio",
    "asyncio",
    "os",
    "pathlib",
    "random",
    "socket",
    "sqlite3",
    "structlog",
    "subprocess",
    "sys",
    "tenacity",
    "threading",
    "time",
}
SDK = {"aioboto3", "aiobotocore", "aiohttp", "boto3", "botocore", "moto"}
MAX_LINES = 600


class Import(NamedTuple):
    """One import: of which module, in which one, and whether for type checkers only."""

    by: str
    of: str
    for_types: bool

    @property
    def parts(self) -> tuple[str, str]:
        """The parts of the package at both ends; "" for what is not ours, and for the package itself."""
        return _part(self.by), _part(self.of)

    @property
    def top(self) -> str:
        """The name that a foreign module begins with."""
        return self.of.split(".")[0]


def _part(module: str) -> str:
    package, _, rest = module.partition(".")
    return rest.split(".")[0] if package == "provisioner" else ""


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


class _Imports(ast.NodeVisitor):
    """Collects the imports of a module, those inside functions too."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._for_types = False
        self.found: set[Import] = set()

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self.generic_visit(node)
            return
        self._for_types = True
        for statement in node.body:
            self.visit(statement)
        self._for_types = False
        for statement in node.orelse:
            self.visit(statement)

    def visit_Import(self, node: ast.Import) -> None:
        self._add(*(alias.name for alias in node.names))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert node.level == 0, f"{self._module} has a relative import"
        module = node.module or ""
        self._add(*(f"provisioner.{alias.name}" for alias in node.names) if module == "provisioner" else (module,))

    def _add(self, *modules: str) -> None:
        ours = (module for module in modules if module != "provisioner.__version__")
        self.found |= {Import(self._module, module, self._for_types) for module in ours}


@cache
def imports() -> frozenset[Import]:
    """Every import in the package."""
    found: set[Import] = set()
    for path in PACKAGE.rglob("*.py"):
        visitor = _Imports(_module(path))
        visitor.visit(ast.parse(path.read_text(encoding="utf-8")))
        found |= visitor.found
    return frozenset(found)


def told(wrong: set[Import]) -> list[str]:
    """Imports as a reader likes them."""
    return sorted(f"{one.by} imports {one.of}" for one in wrong)


def layer(part: str) -> int:
    """The place of a part, from the top."""
    return next(number for number, parts in enumerate(LAYERS) if part in parts)


def test_every_part_has_its_layer() -> None:
    """A part of the package stands in exactly one layer, and no layer names a part that is not there."""
    there = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    named = [part for parts in LAYERS for part in parts]

    assert sorted(named) == sorted(there - {"__init__"})


def test_arrows_go_down() -> None:
    """No part imports one of a higher layer, be it for its types."""
    ours = {one for one in imports() if all(one.parts)}

    assert told({one for one in ours if layer(one.parts[0]) > layer(one.parts[1])}) == []


def test_no_part_needs_itself() -> None:
    """At run time the arrows between the parts make no circle, so that each can be understood before its users."""
    needs: dict[str, set[str]] = {part: set() for parts in LAYERS for part in parts}
    for one in imports():
        by, of = one.parts
        if by and of and by != of and not one.for_types:
            needs[by].add(of)
    while free := {part for part, of in needs.items() if not of}:
        needs = {part: of - free for part, of in needs.items() if part not in free}

    assert needs == {}


@pytest.mark.parametrize(
    ("part", "known"),
    [("entry", "errors"), ("observed", ""), ("ownership", "errors"), ("pace", "observed"), ("verdict", "errors")],
)
def test_the_foundations_know_only_errors(part: str, known: str) -> None:
    """What everything stands on imports nothing of ours but the errors; the pacer, what it has seen."""
    assert {one.parts[1] for one in imports() if one.parts[0] == part} - {"", known, part} == set()


def test_pure_parts_touch_nothing() -> None:
    """What decides imports no event loop, clock, network, database, log or process."""
    wrong = {one for one in imports() if one.parts[0] in PURE and one.top in IMPURE and not one.for_types}

    assert told(wrong) == []


def test_the_sdk_stays_at_the_edge() -> None:
    """Only aws and the emulator import the SDK and its HTTP library, types included."""
    assert told({one for one in imports() if one.top in SDK and one.parts[0] not in {"aws", "emulator"}}) == []


def test_only_the_command_line_knows_the_emulator() -> None:
    """The product does not depend on its own test double: only a command starts the embedded endpoint."""
    assert {one.parts[0] for one in imports() if one.parts[1] == "emulator"} <= {"cli", "emulator"}


def test_the_emulator_stands_alone() -> None:
    """The embedded endpoint shares no code with what it is to prove: of ours it knows the errors only."""
    ours = {one.parts[1] for one in imports() if one.parts[0] == "emulator"}

    assert ours - {"", "emulator", "errors"} == set()


def test_the_engine_reaches_no_sql_and_no_terminal() -> None:
    """Nothing that the engine needs at run time, however indirectly, imports a database, an SDK or a terminal."""
    needed, new = set[str](), {"provisioner.engine.engine"}
    while new:
        needed |= new
        new = {one.of for one in imports() if one.by in needed and not one.for_types} - needed

    assert "provisioner.core.entry" in needed
    assert needed & {"sqlite3", "click", "rich", "sys", *SDK} == set()
    assert {name for name in needed if name.startswith("provisioner.ledger.")} == set()


def test_modules_stay_readable() -> None:
    """No module has more lines than a reader keeps in mind."""
    lengths = {_module(path): path.read_text(encoding="utf-8").count("\n") for path in PACKAGE.rglob("*.py")}

    assert {module: lines for module, lines in lengths.items() if lines > MAX_LINES} == {}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    """README.md names every command."""
    assert re.search(rf"provisioner {command}\b", (ROOT / "README.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_module(command: str) -> None:
    """A command lives in the file of its name, and there is no file of a command that cannot be called."""
    assert (PACKAGE / "cli" / f"{command.replace('-', '_')}.py").is_file()


HEAVY = {
    "aiohttp",
    "aiobotocore",
    "anyio",
    "asyncio",
    "botocore",
    "msgspec",
    "rich",
    "sqlite3",
    "structlog",
    "tenacity",
    "uvloop",
}
LOADED = """
import sys
from provisioner.cli import main
try:
    main(sys.argv[1].split())
except SystemExit as end:
    print(end.code, *sorted(set(sys.argv[2:]) & set(sys.modules)), file=sys.stderr)
"""


HELP_LOADS = {"anyio", "asyncio", "msgspec", "sqlite3"}
"""What options are made of, and what the commands that only read the ledger load."""

WORKERS = {"provisioner.engine.engine", "provisioner.emulator.endpoint", "provisioner.emulator.front"}
"""What does a command's work."""


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_is_quick(command: str) -> None:
    """A command's help loads neither SDK nor engine nor endpoint nor what paints a terminal."""
    heavy = sorted((HEAVY | SDK | WORKERS) - HELP_LOADS)
    done = subprocess.run(
        [sys.executable, "-c", LOADED, f"{command} --help", *heavy],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )

    assert f"provisioner {command}" in done.stdout
    assert done.stderr.split() == ["0"]


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_is_quick(option: str) -> None:
    """--help and --version load nothing heavy; a measured time would depend on the machine."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, option, *HEAVY], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert "provisioner" in done.stdout
    assert done.stderr.split() == ["0"]
