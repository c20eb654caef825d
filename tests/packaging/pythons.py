"""Runs the suite under every other Python from 3.11 on that this machine has: ``python -m tests.packaging.pythons``.

With ``--newest`` first, under the newest of them alone. ``--install`` only installs what is needed; other arguments go
to pytest.

A Python that the classifiers in pyproject.toml promise and that is not here is reported at the end as UNPROVEN: its
absence is no failure, but nobody can take it for a success either.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "pythons"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LEAST = int(PROJECT["requires-python"].rpartition(".")[2])
PROMISED = [int(minor) for minor in re.findall(r"Python :: 3\.(\d+)", "\n".join(PROJECT["classifiers"]))]


def find(minor: int) -> Path | None:
    """The interpreter of Python 3.``minor``: one that pyenv installed, or one on the PATH."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [*versions.glob(f"3.{minor}.*/bin/python3.{minor}")]
    if on_path := shutil.which(f"python3.{minor}"):
        candidates.append(Path(on_path))
    return next((candidate for candidate in candidates if _is(candidate, minor)), None)


def _is(python: Path, minor: int) -> bool:
    """Whether it starts, and is what its name says: pyenv puts names on the PATH that only fail."""
    code = f"import sys; sys.exit(sys.version_info[:2] != (3, {minor}))"
    return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0


def installed(python: Path, minor: int) -> Path:
    """The ``python`` of an environment of its own with the locked dependencies; made anew when these have changed."""
    folder = FOLDER / f"3.{minor}"
    inner, ready = folder / "bin" / "python", folder / ".ready"
    locks = [ROOT / "requirements-dev.txt", ROOT / "pyproject.toml"]
    if ready.exists() and ready.stat().st_mtime > max(lock.stat().st_mtime for lock in locks):
        return inner
    quietly = ["--quiet", "--no-compile", "--disable-pip-version-check"]
    install: list[str | Path] = [inner, "-m", "pip", "install", *quietly]
    commands: list[list[str | Path]] = [
        [python, "-m", "venv", "--clear", folder],
        [*install, "--require-hashes", "-r", ROOT / "requirements-dev.txt"],
        [*install, "--no-deps", "--no-build-isolation", "--editable", ROOT],
    ]
    for command in commands:
        subprocess.run(command, check=True, cwd=ROOT)
    ready.touch()
    return inner


def passes(inner: Path, arguments: list[str]) -> bool:
    """Whether the suite passes under the Python ``inner``."""
    return subprocess.run([inner, "-m", "pytest", *arguments], check=False, cwd=ROOT).returncode == 0


def main(arguments: list[str]) -> int:
    """Run the suite under each other Python, then print which ones passed, failed or are missing."""
    verdicts: dict[int, str] = {}
    minors = [*range(LEAST, max(PROMISED) + 3)]
    if arguments[:1] == ["--newest"]:
        arguments = arguments[1:]
        minors = [max(minor for minor in minors if sys.version_info[:2] == (3, minor) or find(minor))]
    for minor in minors:
        if sys.version_info[:2] == (3, minor):
            verdicts[minor] = "the Python of `make test`"
        elif python := find(minor):
            sys.stdout.write(f"== Python 3.{minor}: {python}\n")
            sys.stdout.flush()
            inner = installed(python, minor)
            if arguments != ["--install"]:
                verdicts[minor] = "passed" if passes(inner, arguments) else "FAILED"
        elif minor in PROMISED:
            verdicts[minor] = "UNPROVEN: no such Python on this machine"
    for minor, verdict in verdicts.items():
        sys.stdout.write(f"== Python 3.{minor}: {verdict}\n")
    return int("FAILED" in verdicts.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
