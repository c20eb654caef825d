"""On which file systems a ledger is safe."""

from __future__ import annotations

import os
from pathlib import Path

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


def file_system_of(mountinfo: str, path: str) -> str:
    """The type of the file system that ``path`` is on, "" when ``mountinfo`` does not tell.

    Args:
        mountinfo: the text of ``/proc/self/mountinfo`` (proc(5)).
        path: absolute, symbolic links resolved.
    """
    found, longest = "", -1
    for line in mountinfo.splitlines():
        mount, _, source = line.partition(" - ")
        fields = mount.split(" ")
        if len(fields) < 5 or not source:  # noqa: PLR2004  the fifth field is the mount point
            continue
        point = _unescape(fields[4]).rstrip("/")
        # The later of two mounts on one point hides the earlier.
        if (path == point or path.startswith(f"{point}/")) and len(point) >= longest:
            found, longest = source.split(" ", 1)[0], len(point)
    return found


def is_network(kind: str) -> bool:
    """Whether a file system of this type may be shared by several machines."""
    return kind in NETWORK_FILE_SYSTEMS or (kind.startswith("fuse") and kind not in LOCAL_FUSE)


def refuse_network_file_system(path: Path) -> None:
    """Make sure that the file ``path``, which need not exist yet, is on a local file system, if the system can tell.

    Raises:
        LedgerError: it is not.
    """
    try:
        mountinfo = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    kind = file_system_of(mountinfo, os.path.realpath(path))
    if is_network(kind):
        raise LedgerError(
            f"the file system is of type {kind}, on which a ledger may be damaged or have two writers",
            where=str(path),
            hint="Put the ledger on a local disk (--ledger), and copy a backup to the network when the run has ended",
        )


def _unescape(field: str) -> str:
    """Undo the kernel's octal escapes of space, tab, newline and backslash."""
    for escaped, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(escaped, plain)
    return field
