"""Which file system a path is on, and whether a ledger is safe there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from provisioner.errors import LedgerError, Reason
from provisioner.ledger.sqlite import filesystem
from provisioner.ledger.sqlite.filesystem import Mount, is_network, mount_of, refuse_unsafe
from provisioner.ledger.sqlite.store import SqliteLedger

if TYPE_CHECKING:
    from pathlib import Path

MOUNTS = r"""21 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
22 21 0:20 / /proc rw - proc proc rw
35 21 0:31 / /mnt/share rw,relatime shared:2 master:3 - nfs4 server:/export rw,vers=4.2
36 35 254:2 / /mnt/share/local rw - xfs /dev/vdb rw
37 21 0:32 / /mnt/with\040space\134s rw - cifs //server/x rw
38 21 0:33 / /srv rw - ext4 /dev/vdc rw
39 38 0:34 / /srv rw - fuse.sshfs user@host:/ rw
40 21 0:35 /ledger.db /data/ledger.db rw - 9p share rw
this line is not one of proc(5)
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me/ledger.db", "ext4"),
        ("/mnt/share/ledger.db", "nfs4"),
        ("/mnt/share", "nfs4"),
        ("/mnt/shared/ledger.db", "ext4"),
        ("/mnt/share/local/ledger.db", "xfs"),
        ("/mnt/with space\\s/ledger.db", "cifs"),
        ("/srv/ledger.db", "fuse.sshfs"),
        ("/data/ledger.db", "9p"),
        ("/data/ledger.db.lock", "ext4"),
    ],
)
def test_the_nearest_mount_counts(path: str, kind: str) -> None:
    """The deepest mount point above a path tells its file system, of two on one point the later."""
    assert mount_of(MOUNTS, path).kind == kind


def test_without_a_root_nothing_is_told() -> None:
    """Where the table does not cover a path, its file system is unknown, and unknown is not refused."""
    assert mount_of("", "/x") == Mount()
    assert not is_network("")


@pytest.mark.parametrize(
    ("kind", "network"),
    [
        ("ext4", False),
        ("xfs", False),
        ("btrfs", False),
        ("zfs", False),
        ("tmpfs", False),
        ("overlay", False),
        ("apfs", False),
        ("fuseblk", False),
        ("fuse.fuse-overlayfs", False),
        ("nfs", True),
        ("nfs4", True),
        ("cifs", True),
        ("smb3", True),
        ("9p", True),
        ("ceph", True),
        ("afs", True),
        ("lustre", True),
        ("virtiofs", True),
        ("fuse", True),
        ("fuse.s3fs", True),
        ("fuse.sshfs", True),
    ],
)
def test_what_several_machines_may_share(kind: str, network: bool) -> None:  # noqa: FBT001  a column of the table
    """File systems that several machines may share are refused, and user-space ones unless known to be local."""
    assert is_network(kind) is network


async def test_a_ledger_is_not_made_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening for writing is refused with exit code 74 before anything is made; reading is allowed."""
    mounts = tmp_path / "mountinfo"
    ledger = await SqliteLedger.open(tmp_path / "l.db")
    await ledger.close()
    mounts.write_text("1 0 0:1 / / rw - nfs server:/x rw\n")
    monkeypatch.setattr(filesystem, "_MOUNTS", mounts)
    with pytest.raises(LedgerError, match="type nfs") as caught:
        await SqliteLedger.open(tmp_path / "new.db")
    reader = await SqliteLedger.open(tmp_path / "l.db", readonly=True)
    await reader.close()

    assert caught.value.reason is Reason.LEDGER
    assert not (tmp_path / "new.db").exists()


def test_a_system_without_the_table_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system does not tell, nothing is refused."""
    monkeypatch.setattr(filesystem, "_MOUNTS", tmp_path / "none")

    refuse_unsafe(tmp_path / "l.db")
