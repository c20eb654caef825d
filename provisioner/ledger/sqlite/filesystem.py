"""Where a ledger is safe: on which file systems, and under which names."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from provisioner.errors import LedgerError

_MOUNTS = Path("/proc/self/mountinfo")

NETWORK_FILE_SYSTEMS = frozenset(
    {
        "9p",
        "acfs",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "pvfs2",
        "smb2",
        "smb3",
        "smbfs",
        "virtiofs",
        "vboxsf",
        "vmhgfs",
    }
)
"""Names of the kernel (``/proc/filesystems``) for file systems that several machines may share. WAL keeps its index in
memory that all its users map, which only works on one machine (https://www.sqlite.org/wal.html, "Overview", 2)."""

LOCAL_FUSE = frozenset({"fuse.fuse-overlayfs", "fuse.ntfs-3g", "fuseblk"})
"""File systems in user space that are of this machine only; any other one may lead anywhere (sshfs, s3fs, gcsfuse)."""


class Mount(NamedTuple):
    """A mount that a path is under.

    Attributes:
        kind: the type of its file system, "" when unknown.
        point: where it is mounted, without a slash at the end.
    """

    kind: str = ""
    point: str = ""


def mount_of(mountinfo: str, path: str) -> Mount:
    """The mount that ``path`` is on; an unknown one when ``mountinfo`` does not say.

    Args:
        mountinfo: the text of ``/proc/self/mountinfo`` (proc(5)).
        path: absolute, symbolic links resolved.
    """
    found, longest = Mount(), -1
    for line in mountinfo.splitlines():
        mount, _, source = line.partition(" - ")
        fields = mount.split(" ")
        if len(fields) < 5 or not source:  # noqa: PLR2004  the fifth field is the mount point
            continue
        point = _unescape(fields[4]).rstrip("/")
        # The later of two mounts on one point hides the earlier.
        if (path == point or path.startswith(f"{point}/")) and len(point) >= longest:
            found, longest = Mount(source.split(" ", 1)[0], point), len(point)
    return found


def is_network(kind: str) -> bool:
    """Whether a file system of this type may be shared by several machines."""
    return kind in NETWORK_FILE_SYSTEMS or (kind.startswith("fuse") and kind not in LOCAL_FUSE)


def kind_at(path: Path) -> str:
    """The type of the file system that ``path`` is on; "" when the system does not say."""
    try:
        mountinfo = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
    return mount_of(mountinfo, os.path.realpath(path)).kind


def refuse_unsafe(path: Path) -> None:
    """Make sure that a ledger may be written at ``path``, which need not exist yet, as far as the system says.

    Raises:
        LedgerError: several machines may share the file system, or as for :func:`refuse_split`.
    """
    mount = refuse_split(path)
    if is_network(mount.kind):
        raise LedgerError(
            f"the file system is of type {mount.kind}, on which a ledger may be damaged or have two writers",
            where=str(path),
            hint="Put the ledger on a local disk (--ledger), and copy a backup to the network when the run has ended",
        )


def refuse_split(path: Path) -> Mount:
    """Make sure that whoever opens the file also finds its log and its lock; returns where the file is.

    Raises:
        LedgerError: the file has several names, or is mounted without what lies beside it.
    """
    real = os.path.realpath(path)
    _refuse_hard_links(real)
    try:
        mountinfo = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return Mount()
    mount = mount_of(mountinfo, real)
    if mount.point == real and not Path(real).is_dir():
        raise LedgerError(
            "the ledger's file is mounted alone",
            where=str(path),
            why="its -wal file and its lock file are outside the mount, and are lost with the container",
            hint="Mount the directory that the ledger is in",
        )
    return mount


def _refuse_hard_links(real: str) -> None:
    """Each name of a file has a log and a lock of its own: two runs would not see each other."""
    with contextlib.suppress(OSError):
        links = Path(real).stat().st_nlink
        if links > 1 and Path(real).is_file():
            raise LedgerError(
                "the ledger has more than one name (hard links)",
                where=real,
                why=f"{links} names refer to one file, and each has a -wal file and a lock file of its own",
                hint="Delete the other names, or replace them by copies made with `sqlite3 … .backup`",
            )


def _unescape(field: str) -> str:
    """Undo the kernel's octal escapes of space, tab, newline and backslash."""
    for escaped, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(escaped, plain)
    return field
