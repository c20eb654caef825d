"""What each room may import, and other promises that hold for the whole package."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import pytest

import provisioner
from provisioner.cli.program import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "provisioner"

ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "logger": set(),
    "core": {"errors"},
    "config": {"core", "errors"},
    "pacing": {"errors"},
    "manifest": {"bulk", "config", "core", "errors"},
    "aws": {"config", "core", "errors"},
    "ledger": {"bulk", "core", "errors", "logger"},
    "engine": {"aws", "core", "errors", "ledger", "manifest", "pacing"},
    "fleet": {"aws", "config", "core", "engine", "errors", "ledger", "pacing"},
    "report": {"core", "engine", "errors", "exit_codes", "logger", "manifest"},
    "commands": {
        "aws",
        "config",
        "core",
        "engine",
        "errors",
        "exit_codes",
        "fleet",
        "ledger",
        "manifest",
        "pacing",
        "report",
    },
    "api": {"commands", "config", "core", "errors", "ledger", "manifest", "report"},
    "emulator": {"errors"},
    "cli": {
        "commands",
        "config",
        "core",
        "emulator",
        "errors",
        "exit_codes",
        "ledger",
        "logger",
        "manifest",
        "pacing",
        "report",
    },
    "bulk": set(),
    "exit_codes": {"errors"},
    "__main__": {"cli"},
}
"""What each room (a package, or a module that several rooms use) may import of ours. An import that is not named here
is a change of the design: see the map in CONTRIBUTING.md."""

PURE = {
    "provisioner.config.slips",
    "provisioner.config.tables",
    "provisioner.engine.breaker",
    "provisioner.report.statistics",
    "provisioner.errors",
    "provisioner.manifest.definition",
    "provisioner.manifest.diagnosis",
    "provisioner.manifest.json_scanner",
    "provisioner.pacing.climb",
    "provisioner.pacing.estimate",
    "provisioner.pacing.hold",
    "provisioner.pacing.observed",
    "provisioner.pacing.pacer",
    "provisioner.pacing.tuning",
    "provisioner.pacing.turns",
}
"""Modules that decide, beside those of core: the same answer for the same arguments, whatever the clock, the network
and the disk do."""

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
FOR_MOTO = "provisioner.emulator.moto.cleanroomsml"
"""A package that moto imports under a name of its own, and that follows moto's conventions."""


class Import(NamedTuple):
    """One import: of which module, in which one, and whether for type checkers only."""

    by: str
    of: str
    for_types: bool

    @property
    def parts(self) -> tuple[str, str]:
        """The rooms at both ends; "" for what is not ours, and for the package itself."""
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
        if self._module.startswith(FOR_MOTO) and node.level == 1:
            return
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


def as_text(wrong: set[Import]) -> list[str]:
    """The imports as text, sorted."""
    return sorted(f"{one.by} imports {one.of}" for one in wrong)


def test_every_room_is_named() -> None:
    """Each package and module at the top has its line in the table, and no line names what is not there."""
    there = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}

    assert set(ROOMS) == there - {"__init__"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_it_may(room: str) -> None:
    """A room imports only the rooms that its line names, types included; and the line names no more than it imports."""
    ours = {one for one in imports() if one.parts[0] == room and one.parts[1] not in {"", room}}

    assert as_text({one for one in ours if one.parts[1] not in ROOMS[room]}) == []
    assert ROOMS[room] - {one.parts[1] for one in ours} == set()


def test_no_room_needs_itself() -> None:
    """At run time the arrows between the rooms make no circle, so that each can be understood before its users."""
    needs: dict[str, set[str]] = {room: set() for room in ROOMS}
    for one in imports():
        by, of = one.parts
        if by and of and by != of and not one.for_types:
            needs[by].add(of)
    while free := {room for room, of in needs.items() if not of}:
        needs = {room: of - free for room, of in needs.items() if room not in free}

    assert needs == {}


def test_what_decides_touches_nothing() -> None:
    """What decides imports no event loop, clock, network, database, log or process."""
    pure = {one for one in imports() if one.by in PURE or one.by.startswith("provisioner.core.")}

    assert as_text({one for one in pure if one.top in IMPURE and not one.for_types}) == []
    assert {name for name in PURE if not (ROOT / f"{name.replace('.', '/')}.py").is_file()} == set()


def test_the_sdk_stays_at_the_edge() -> None:
    """Only aws and the emulator import the SDK and its HTTP library, types included."""
    assert as_text({one for one in imports() if one.top in SDK and one.parts[0] not in {"aws", "emulator"}}) == []


def test_the_driver_of_postgresql_is_loaded_for_it_alone() -> None:
    """Only the PostgreSQL store imports it, and of that store everybody else knows a location and how to print it."""
    store = "provisioner.ledger.postgres."
    users = {one for one in imports() if one.top == "psycopg" and not one.by.startswith(store)}
    outside = {one for one in imports() if one.of.startswith(store) and not one.by.startswith(store)}

    assert as_text(users) == []
    assert as_text(outside) == [f"provisioner.ledger.location imports {store}{name}" for name in ("location", "url")]


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


def test_what_is_written_for_moto_knows_moto_alone() -> None:
    """The service for moto can become a part of moto as it is."""
    needed = {one.top for one in imports() if one.by.startswith(FOR_MOTO)}

    assert "moto" in needed
    assert needed - {"moto"} <= sys.stdlib_module_names


@cache
def packages() -> dict[str, set[str]]:
    """Every package, and the names of the modules in it."""
    return {
        _module(init): {module.stem for module in init.parent.glob("*.py")}
        | {inner.parent.name for inner in init.parent.glob("*/__init__.py")}
        for init in PACKAGE.rglob("__init__.py")
        if _module(init) != FOR_MOTO
    }


@pytest.mark.parametrize("package", packages())
def test_a_name_is_a_module_or_something_else(package: str) -> None:
    """A package offers nothing under the name of one of its modules: importing the module would replace it."""
    module = importlib.import_module(package)
    defined = {name for name, value in vars(module).items() if not isinstance(value, ModuleType)}
    offered = defined | set(getattr(module, "__all__", ()))

    assert offered & packages()[package] == set()


def test_modules_stay_readable() -> None:
    """No module has more lines than a reader keeps in mind."""
    lengths = {_module(path): path.read_text(encoding="utf-8").count("\n") for path in PACKAGE.rglob("*.py")}

    assert {module: lines for module, lines in lengths.items() if lines > MAX_LINES} == {}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    """README.md names every command."""
    assert re.search(rf"provisioner {command}\b", (ROOT / "README.md").read_text(encoding="utf-8"))


def test_every_command_has_its_module() -> None:
    """A command lives in the file of its name, and there is no file of a command that cannot be called."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in (PACKAGE / "cli").glob("*.py")}

    assert {name for name, text in texts.items() if "def command(" in text} == {
        command.replace("-", "_") for command in COMMANDS
    }


HEAVY = {
    "aiohttp",
    "aiobotocore",
    "anyio",
    "asyncio",
    "botocore",
    "msgspec",
    "psycopg",
    "rich",
    "sqlite3",
    "structlog",
    "tenacity",
    "uvloop",
}
LOADED = """
import sys
from provisioner.cli import main
for arguments in sys.argv[1].splitlines():
    try:
        main(arguments.split())
    except SystemExit as end:
        print(arguments, end.code, *sorted(set(sys.argv[2:]) & set(sys.modules)), file=sys.stderr)
"""
"""Runs one command after the other in one process. What one has loaded stays: the first line with it names who."""


def run_in_one(*commands: str, heavy: Iterable[str]) -> subprocess.CompletedProcess[str]:
    """Run these; on stderr each has a line with its exit code and what of ``heavy`` has been loaded by then."""
    return subprocess.run(
        [sys.executable, "-c", LOADED, "\n".join(commands), *heavy],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )


HELP_LOADS = {"anyio", "asyncio", "msgspec", "sqlite3"}
"""What options are made of, and what the commands that only read the ledger load."""

WORKERS = {"provisioner.engine.engine", "provisioner.emulator.endpoint", "provisioner.emulator.front"}
"""What does a command's work."""


def test_the_help_of_a_command_is_quick() -> None:
    """A command's help loads neither SDK nor engine nor endpoint nor what paints a terminal."""
    done = run_in_one(*(f"{command} --help" for command in COMMANDS), heavy=(HEAVY | SDK | WORKERS) - HELP_LOADS)

    assert [command for command in COMMANDS if f"Usage: provisioner {command} " not in done.stdout] == []
    assert done.stderr.splitlines() == [f"{command} --help 0" for command in COMMANDS]


def test_the_offline_check_is_quick(tmp_path: Path) -> None:
    """``validate`` loads what reads a manifest, not what sends it."""
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"name": "a", "roleArn": "arn:aws:iam::123456789012:role/access"}\n')
    heavy = {*SDK, *WORKERS, "provisioner.fleet.fleet", "provisioner.ledger.sqlite.store"}

    done = run_in_one(f"validate {manifest}", heavy=heavy)

    assert done.stderr.splitlines() == ["1 line, 1 valid, 0 invalid", f"validate {manifest} 0"]


IMPORTED = """
import sys
{}
print(*sorted(name for name in sys.modules if name.startswith("provisioner.") or name in sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("statement", "loaded"),
    [
        ("import provisioner", []),
        ("from provisioner import __version__", []),
        ("from provisioner import ProvisionerError", ["provisioner.errors"]),
    ],
)
def test_importing_the_package_is_quick(statement: str, loaded: list[str]) -> None:
    """Importing the package loads nothing at all; a name of the API loads what it needs when it is used."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED.format(statement), *HEAVY, *SDK],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )

    assert done.stdout.split() == loaded


OFFERED = """
import sys
import provisioner
for name in provisioner.__all__:
    documented = bool(getattr(provisioner, name).__doc__)
    loaded = sorted(m for m in sys.modules if m in sys.argv[1:] or m.startswith("provisioner.cli"))
    print(name, documented, *loaded)
"""


def test_every_name_of_the_api_is_there() -> None:
    """Each name that the package offers is documented, and loads neither the SDK nor the command line."""
    done = subprocess.run(
        [sys.executable, "-c", OFFERED, *SDK, "click", "uvloop"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )

    assert done.stdout.splitlines() == [f"{name} True" for name in provisioner.__all__]


def test_help_is_quick() -> None:
    """--help and --version load nothing heavy; a measured time would depend on the machine."""
    done = run_in_one("--help", "--version", heavy=HEAVY)

    assert "Usage: provisioner" in done.stdout
    assert provisioner.__version__ in done.stdout
    assert done.stderr.splitlines() == ["--help 0", "--version 0"]
