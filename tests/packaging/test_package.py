"""What users get: the wheel in an empty environment, and the sdist.

`make package` runs these. They build both, install the wheel with nothing but what it asks for, and work in folders
from which the checkout cannot be imported.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import venv
import zipfile
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from provisioner import __version__
from provisioner.errors import DISTRIBUTION
from tests.e2e.process import environment
from tests.test_documentation import commands

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.package

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(ROOT.glob("docs/examples/*.py"))
LIMIT_S = 900
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def run(command: Sequence[object], cwd: Path) -> str:
    """What the command prints on stdout; it has to end with 0, in an environment that names no path of the checkout."""
    clean = {name: value for name, value in environment().items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=clean,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT], folder)
    return folder


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    """The wheel."""
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def sdist(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, unpacked."""
    (path,) = dist.glob("*.tar.gz")
    folder = tmp_path_factory.mktemp("sdist")
    run(["tar", "-xzf", path, "-C", folder], folder)
    (unpacked,) = folder.iterdir()
    return unpacked


@pytest.fixture(scope="session")
def binaries(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands in an environment that holds the wheel and what the wheel asks for, nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    # Without the hashes, which pip would then ask of the wheel too.
    locked = re.findall(r"^[\w.-]+==[^\\\n]+", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(locked))
    run([*PIP, "--python", folder / "bin/python", "install", "--quiet", "--constraint", constraints, wheel], folder)
    return folder / "bin"


def test_the_wheel_holds_the_package(wheel: Path) -> None:
    """The wheel has every file of the package, its type marker too, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.glob("provisioner/**/*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert "provisioner/py.typed" in names
    assert names == files


def test_the_metadata(wheel: Path) -> None:
    """The metadata has our name and version, and names no page or repository that is not ours."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(name).decode())

    assert (metadata["Name"], metadata["Version"]) == (DISTRIBUTION, __version__)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "Home-page" not in metadata
    assert "Project-URL" not in metadata


def test_it_is_imported_from_where_it_was_installed(binaries: Path, tmp_path: Path) -> None:
    """What these tests run is the installed package, not the checkout; no development tool is beside it."""
    file = run([binaries / "python", "-c", "import provisioner; print(provisioner.__file__)"], tmp_path)

    assert Path(file).is_relative_to(binaries.parent)
    listed = json.loads(run([*PIP, "--python", binaries / "python", "list", "--format", "json"], tmp_path))
    assert {"pytest", "moto", "mypy"}.isdisjoint(entry["name"] for entry in listed)


@pytest.mark.parametrize("module", [False, True], ids=["command", "module"])
def test_version_and_help(binaries: Path, tmp_path: Path, *, module: bool) -> None:
    """The command and `python -m provisioner` give the version of the wheel and the list of commands."""
    command = [binaries / "python", "-m", "provisioner"] if module else [binaries / "provisioner"]

    assert run([*command, "--version"], tmp_path).split()[-1] == __version__
    assert "apply" in run([*command, "--help"], tmp_path)


def test_the_demo_in_another_folder(binaries: Path, tmp_path: Path) -> None:
    """The demo registers everything with the installed wheel, in a folder that holds nothing but its configuration."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    (tmp_path / "demo").mkdir()
    demo = ["apply", "configs/example.jsonl", "--config", "configs/demo.toml", "--local", "--output", "json"]
    summary = json.loads(run([binaries / "provisioner", *demo], tmp_path))

    assert summary["outcomes"]["created"] == summary["manifest"]["valid"] > 200
    assert not list(tmp_path.glob("*.db*")), "the ledger lies where the configuration says"


def test_the_tutorial_from_its_first_line(tmp_path: Path) -> None:
    """Whoever types all of docs/tutorial.md into one shell in a fresh copy of the tree ends where the page says."""
    copy = tmp_path / "provisioner"
    tracked = (
        run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], ROOT).rstrip("\0").split("\0")
    )
    for name in tracked:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    # A command that ends otherwise than the page says ends the script.
    lines = []
    for shown in commands((copy / "docs/tutorial.md").read_text(), prompt="$ "):
        check = f'code=$?; [ $code = {shown.exit_code} ] || {{ echo "ended with $code"; exit 1; }}'
        lines += [f"echo {shlex.quote(shown.text)}", shown.text, check]
    printed = run(["bash", "-c", "\n".join(lines)], copy)

    assert "pip install" in printed
    assert printed.endswith("exit      0: done\n")


def test_every_module_imports(binaries: Path, tmp_path: Path) -> None:
    """The declared dependencies are enough for all modules but those of an extra."""
    code = """
import importlib, pkgutil, provisioner
extras = (
    "provisioner.emulator.moto.", "provisioner.ledger.postgres", "provisioner.report.prometheus",
    "provisioner.report.telemetry",
)
for module in pkgutil.walk_packages(provisioner.__path__, "provisioner."):
    if not module.name.startswith(extras) and module.name != "provisioner.__main__":
        importlib.import_module(module.name)
        print(module.name)
"""
    imported = run([binaries / "python", "-W", "error", "-c", code], tmp_path).split()

    assert "provisioner.cli.apply" in imported


WRONG = """
from provisioner import Settings, aply, validate
from provisioner.emulator import Emulatr

number: int = Settings.load("provisioner.toml")
validate(["definitions.jsonl"], strict=True)
"""


def test_the_types_are_found(binaries: Path, tmp_path: Path) -> None:
    """A type checker reads the types of the installed package: a wrong use or a misspelt name is an error, not Any."""
    program = tmp_path / "wrong.py"
    program.write_text(WRONG)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", binaries / "python", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )

    assert done.returncode == 1
    assert 'Module "provisioner" has no attribute "aply"' in done.stdout
    assert 'Module "provisioner.emulator" has no attribute "Emulatr"' in done.stdout
    assert 'expression has type "Settings", variable has type "int"' in done.stdout
    assert 'Unexpected keyword argument "strict" for "validate"' in done.stdout
    assert "4 errors" in done.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_of_the_documentation(binaries: Path, tmp_path: Path, example: Path) -> None:
    """Each example in docs/examples passes a strict type check against the installed package."""
    shutil.copy(example, tmp_path)
    run([sys.executable, "-m", "mypy", "--strict", "--python-executable", binaries / "python", example.name], tmp_path)


def test_the_sdist_is_the_checkout(sdist: Path) -> None:
    """The sdist has every file that is under version control, except what only the version control reads."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout: nothing to compare with")
    tracked = set(run(["git", "ls-files", "-z"], ROOT).rstrip("\0").split("\0"))
    packed = {path.relative_to(sdist).as_posix() for path in sdist.rglob("*") if path.is_file()}

    assert tracked - packed <= {".gitignore"}
    assert packed - tracked <= {".gitignore", "PKG-INFO"}


def test_the_tests_of_the_sdist(sdist: Path) -> None:
    """Every test of the checkout is found in the unpacked sdist, and a few that read files of the tree pass there."""

    def collected(folder: Path) -> set[str]:
        listed = run([sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider"], folder)
        return {line for line in listed.splitlines() if "::" in line}

    assert collected(sdist) == collected(ROOT)
    chosen = ["tests/core", "tests/packaging", "tests/test_architecture.py", "tests/manifest/test_definition.py"]
    passed = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen], sdist)
    assert " passed" in passed
