"""Files that a command must not write, because it reads them or they are the ledger's."""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import os
from typing import TYPE_CHECKING

from provisioner.config.settings import Settings
from provisioner.errors import ProvisionerError, UsageError
from provisioner.ledger.location import locate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import click

    from provisioner.cli.program import Program


def refuse_own(program: Program, context: click.Context, parameter: click.Parameter, path: str) -> None:
    """Refuse to write ``path``, which is the value of ``parameter``, if it belongs to the command.

    The whole command line is looked at, whatever of it click has read by now: a command that fails writes its summary,
    too, even where an option is wrong.

    Raises:
        UsageError: it is read by the command, is one of the ledger's files, or is what another option writes.
    """
    option = max(parameter.opts, key=len)
    words = list(program.arguments)
    line = context.command.make_context(context.info_name, words, parent=context.parent, resilient_parsing=True).params
    if owner := owner_of(path, line):
        raise UsageError(f"this is {owner}", where=f"{option} {path}", hint="Name another file")
    unattended = program.unattended
    written = {
        "--out": line.get("out"),
        "--summary-file": unattended.summary_file,
        "--log-file": unattended.log_file.name if unattended.log_file else None,
        "--metrics-file": unattended.monitoring.file,
    }
    for other, file in written.items():
        if file is not None and other != option and _same(path, file):
            unattended.summary_file = None  # it would replace what the other option keeps there
            raise UsageError(f"{option} and {other} name the same file", where=path, hint="Name two files")


def owner_of(path: str, line: Mapping[str, object]) -> str:
    """What of the command ``path`` is, such as "the manifest"; "" if it does not belong to it.

    Args:
        path: of a file, which need not exist.
        line: the command line by the names of its parameters; what is wrong with it is reported elsewhere.
    """
    config, plan, ledger = (_text(line.get(name)) for name in ("config", "plan", "ledger"))
    if config and _same(path, config):
        return "the configuration"
    if plan and _same(path, plan):
        return "the saved plan"
    sources = line.get("manifest")
    if any(_names(source, path) for source in [*_all(sources), *_planned(plan)]):
        return "the manifest"
    return "a file of the ledger" if any(_same(path, file) for file in _kept(config, ledger)) else ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _all(sources: object) -> Iterable[str]:
    return sources if isinstance(sources, tuple) else ()


def _planned(plan: str) -> Iterable[str]:
    """The manifest of a saved plan."""
    if plan:
        from provisioner.commands.planfile import PlanFile

        with contextlib.suppress(ProvisionerError):
            return PlanFile.load(plan).sources
    return ()


def _kept(config: str, ledger: str) -> Iterator[str]:
    """The files of the ledger, and of the embedded endpoint's accounts beside it."""
    settings = Settings()
    with contextlib.suppress(ProvisionerError):
        settings = Settings.load(config) if config else settings
    with contextlib.suppress(ProvisionerError):
        yield from map(os.fspath, locate(ledger or settings.run.ledger).files)


def _names(source: str, path: str) -> bool:
    """Whether ``source``, a path or a glob, is ``path``, or will match it once it is there."""
    if _same(source, path):
        return True
    if os.path.lexists(source) or not glob.has_magic(source):
        return False
    folder, name = os.path.split(source)
    if name == "**":
        folder, name = source, "*"
    file = os.path.basename(path)  # noqa: PTH119  text, as globs are
    hidden = file.startswith(".") and not name.startswith(".")
    if fnmatch.fnmatch(file, name) and not hidden:
        parent = os.path.dirname(path) or os.curdir  # noqa: PTH120
        return any(_same(parent, one) for one in glob.glob(folder or os.curdir, recursive=True))  # noqa: PTH207
    return any(_same(path, one) for one in glob.glob(source, recursive=True))  # noqa: PTH207  a link of another name


def _same(path: str, other: str) -> bool:
    """Whether both are one file, by any of its names, or would be if it existed."""
    with contextlib.suppress(OSError, ValueError):
        if os.path.samefile(path, other):  # noqa: PTH121
            return True
    with contextlib.suppress(OSError, ValueError):
        return os.path.realpath(path) == os.path.realpath(other)
    return False
