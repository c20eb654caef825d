"""A result in a file, or in an object in S3, that is whole or not there."""

from __future__ import annotations

import contextlib
import os
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from provisioner.cli.output import UnwritableError
from provisioner.core.objects import is_object
from provisioner.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provisioner.cli.output import Write

SQLITE = b"SQLite format 3\0"
"""What a SQLite database begins with (https://sqlite.org/fileformat.html)."""


@contextmanager
def whole_file(name: str, *, mode: int = 0o666) -> Iterator[Write]:
    """Write a file: a function that takes any part of it. It has its name when all is written and synced, or never.

    An existing file is replaced, and stays as it is when the block ends with an error. A symbolic link stays one.

    Args:
        name: of the file, or of an object in S3.
        mode: the file's permissions, less the umask.

    Raises:
        UsageError: it is a directory, a device, a pipe or a database, which must not be replaced; or there is no such
            bucket.
        UnwritableError: it cannot be written.
        ProvisionerError: S3 cannot be written.
    """
    if is_object(name):
        from provisioner.commands.objects import written_object

        with written_object(name) as write:
            yield write
        return
    path = Path(os.path.realpath(name))
    with _mapped(name):
        _refuse(name)
    unfinished = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}")
    try:
        with _mapped(name):
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
                yield file.write
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
            _sync_directory(path.parent)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def check_writable(name: str, *, replace: bool) -> None:
    """Make sure, before any work, that :func:`whole_file` can write to ``name``, as far as that can be known.

    Args:
        name: of the file, or of an object in S3.
        replace: whether an existing one may be replaced.

    Raises:
        UsageError: as for :func:`whole_file`; or there is a file that is to stay, or no such directory.
        UnwritableError: it cannot be looked at.
        ProvisionerError: S3 cannot be written.
    """
    if is_object(name):
        from provisioner.commands.objects import check_object

        check_object(name, replace=replace)
        return
    path = Path(os.path.realpath(name))
    with _mapped(name):
        _refuse(name)
        if path.exists() and not replace:
            hint = "Name another one, or add --force to replace it"
            raise UsageError("the file exists already", where=name, hint=hint)
        if not path.parent.is_dir():
            raise UsageError("there is no such directory", where=str(path.parent), hint="Create it first")


def _refuse(name: str) -> None:
    path = Path(name)  # not its real path: that of a pipe (/dev/stdout) is none
    if not path.exists():
        return
    if not path.is_file():
        raise UsageError("the result cannot replace what is not a file", where=name, hint="Name a file, or use stdout")
    with path.open("rb") as file:
        if file.read(len(SQLITE)) == SQLITE:
            what = "this is a database, perhaps a ledger, and is not replaced"
            raise UsageError(what, where=name, hint="Name another file")


@contextmanager
def _mapped(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        hint = "Check its directory, your permission to write there, and the space on the disk"
        raise UnwritableError("the result cannot be written", where=name, why=why, hint=hint) from error


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
