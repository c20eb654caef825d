"""Files that commands write: whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from provisioner.cli.output import UnwritableError
from provisioner.errors import UsageError, printable


def check_writable(path: str, *, force: bool) -> None:
    """Make sure, before any work, that a file can be written to ``path``.

    Raises:
        UsageError: there is a file and ``force`` is not set, or ``path`` is no place for one.
    """
    file = Path(path)
    if file.exists() and not file.is_file():
        raise UsageError("this is not a regular file", where=path, hint="Leave --out out to write to stdout")
    if file.exists() and not force:
        raise UsageError("the file exists already", where=path, hint="Name another one, or add --force to replace it")
    if not file.parent.is_dir():
        raise UsageError("there is no such directory", where=str(file.parent), hint="Create it first")


def write_whole(path: str, content: bytes, *, force: bool) -> None:
    """Write ``content`` to ``path``: a reader finds the old file or the whole new one, also after a crash.

    Raises:
        UsageError: as for :func:`check_writable`.
        UnwritableError: it cannot be written.
    """
    check_writable(path, force=force)
    file = Path(os.path.realpath(path))  # a symbolic link stays one
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        try:
            _write_durably(part, content)
            part.replace(file)
            _sync(file.parent)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise UnwritableError("the file cannot be written", where=printable(path), why=str(error.strerror)) from error


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
