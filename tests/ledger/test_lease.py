"""The run lock, with real processes."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest

from provisioner.errors import LedgerError, LedgerLockedError, Reason
from provisioner.ledger.sqlite import filesystem
from provisioner.ledger.sqlite.lease import CHECK_EVERY_S, FileLease, Holder, is_held
from tests.ledger.processes import HOLD, line_of, running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


async def test_the_second_is_told_who_holds_it(tmp_path: Path) -> None:
    """A second run is refused at once, with exit code 6 and the holder's process, host and time."""
    path = tmp_path / "l.db"
    with running(HOLD, path) as holder:
        assert line_of(holder) == "held"
        with pytest.raises(LedgerLockedError) as caught:
            async with FileLease(path):
                pass

    assert caught.value.reason is Reason.LOCKED
    assert f"process {holder.pid} on {socket.gethostname()}, since 20" in str(caught.value)


async def test_it_names_its_holder(tmp_path: Path) -> None:
    """The lock file holds pid, host and start time as JSON, and only its owner may read it."""
    async with FileLease(tmp_path / "l.db", now=lambda: 1_790_000_000.5) as lock:
        holder = msgspec.json.decode(lock.path.read_bytes(), type=Holder)

        assert holder == Holder(os.getpid(), socket.gethostname(), 1_790_000_000.5)
        assert lock.path == tmp_path / "l.db.lock"
        assert stat.S_IMODE(lock.path.stat().st_mode) == 0o600


async def test_one_process_cannot_hold_it_twice(tmp_path: Path) -> None:
    """Two locks in one process exclude each other too; when the first is released the second gets it."""
    path = tmp_path / "l.db"
    async with FileLease(path):
        with pytest.raises(LedgerLockedError, match=f"process {os.getpid()} on .*, since 20"):
            async with FileLease(path):
                pass
    async with FileLease(path):
        pass


@pytest.mark.parametrize(
    ("timeout_s", "hint"), [(0.0, "Wait for it with --lock-timeout, or"), (None, "Run again when it has ended, or")]
)
async def test_the_hint_names_an_option_that_there_is(tmp_path: Path, timeout_s: float | None, hint: str) -> None:
    """Only a command that has --lock-timeout recommends it."""
    path = tmp_path / "l.db"
    async with FileLease(path):
        with pytest.raises(LedgerLockedError, match=hint):
            async with FileLease(path, timeout_s):
                pass


async def test_a_killed_holder_frees_it(tmp_path: Path) -> None:
    """The kernel frees the lock when its holder is killed; the file stays."""
    path = tmp_path / "l.db"
    with running(HOLD, path) as holder:
        assert line_of(holder) == "held"
        holder.kill()
        holder.wait()
        inode = (tmp_path / "l.db.lock").stat().st_ino
        async with FileLease(path) as lock:
            assert lock.path.stat().st_ino == inode


def test_a_look_at_it_is_true_and_leaves_nothing(tmp_path: Path) -> None:
    """Whether it is held is seen from outside, also of a holder that was killed; the look makes no file."""
    path = tmp_path / "l.db"
    never = is_held(path)
    files = list(tmp_path.iterdir())
    with running(HOLD, path) as holder:
        assert line_of(holder) == "held"
        meanwhile = is_held(path)
        holder.kill()
        holder.wait()
        after = is_held(path)

    assert (never, files, meanwhile, after) == (False, [], True, False)


async def test_a_look_refuses_it_to_nobody(tmp_path: Path) -> None:
    """A run that begins in the instant in which somebody looks gets the lock all the same."""
    path = tmp_path / "l.db"
    async with FileLease(path) as lock:
        lock.keep("0123456789abcdef")
    look = os.open(lock.path, os.O_RDONLY)
    fcntl.flock(look, fcntl.LOCK_SH)
    asyncio.get_running_loop().call_later(0.02, os.close, look)
    async with FileLease(path):
        pass


async def test_a_stopped_holder_keeps_it(tmp_path: Path) -> None:
    """A holder that is stopped keeps the lock, and still has it when it goes on."""
    path = tmp_path / "l.db"
    with running(HOLD, path) as holder:
        assert line_of(holder) == "held"
        holder.send_signal(signal.SIGSTOP)
        with pytest.raises(LedgerLockedError):
            async with FileLease(path, 0.3):
                pass
        holder.send_signal(signal.SIGCONT)
        with pytest.raises(LedgerLockedError):
            async with FileLease(path):
                pass


async def test_waiting_gets_it_when_the_holder_ends(tmp_path: Path) -> None:
    """With a timeout, a run waits for the holder and goes on when it has ended."""
    path = tmp_path / "l.db"
    with running(HOLD, path) as holder:
        assert line_of(holder) == "held"
        lock = FileLease(path, 30)
        waiting = asyncio.create_task(lock.__aenter__())
        await asyncio.sleep(0.05)

        assert not waiting.done()
        holder.communicate("end\n")
        assert await waiting is lock
        await lock.__aexit__(None, None, None)


async def test_waiting_can_be_cancelled(tmp_path: Path) -> None:
    """Who waits may be cancelled, and then holds nothing."""
    path = tmp_path / "l.db"
    async with FileLease(path):
        waiting = asyncio.create_task(FileLease(path, 3600).__aenter__())
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with FileLease(path):
        pass


async def test_a_child_does_not_inherit_it(tmp_path: Path) -> None:
    """A process that the run started and that outlives it does not keep the lock."""
    path = tmp_path / "l.db"
    async with FileLease(path):
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "print('up', flush=True); input()",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            close_fds=False,
        )
        assert child.stdout is not None
        # posix_spawn returns a few milliseconds before the kernel closes what exec does not pass on. Only a line from
        # the new program proves that exec is over.
        assert await child.stdout.readline() == b"up\n"
    try:
        async with FileLease(path):
            pass
    finally:
        child.kill()
        await child.wait()


async def test_a_link_leads_to_the_same_lock(tmp_path: Path) -> None:
    """Two names of one ledger have one lock."""
    (tmp_path / "link.db").symlink_to(tmp_path / "l.db")
    async with FileLease(tmp_path / "link.db"):
        with pytest.raises(LedgerLockedError):
            async with FileLease(tmp_path / "l.db"):
                pass


async def test_a_lock_file_that_was_deleted_is_noticed(tmp_path: Path) -> None:
    """A holder whose lock file was deleted, so that another may begin, is refused when it asks: exit 74."""
    path = tmp_path / "l.db"
    async with FileLease(path) as lease:
        lease.check()
        lease.path.unlink()
        await asyncio.sleep(CHECK_EVERY_S)
        with pytest.raises(LedgerError, match="deleted during the run"):
            lease.check()
    with pytest.raises(LedgerError, match="not held"):
        lease.check()


async def test_a_holder_that_was_overtaken_is_refused(tmp_path: Path) -> None:
    """When another run has taken the lock after its file was deleted, the first is refused with 6, the other is not."""
    path = tmp_path / "l.db"
    async with FileLease(path) as lease:
        lease.check()
        lease.path.unlink()
        async with FileLease(path) as other:
            await asyncio.sleep(CHECK_EVERY_S)
            with pytest.raises(LedgerLockedError, match="another run has taken over"):
                lease.check()
            other.check()


@pytest.fixture
def replaced(tmp_path: Path) -> Callable[[], Path]:
    """Puts a file in the place of the ledger's directory, so that no path in it can be looked up; where it is then."""
    (tmp_path / "there").mkdir()

    def replace() -> Path:
        moved = (tmp_path / "there").rename(tmp_path / "moved")
        (tmp_path / "there").touch()
        return moved

    return replace


async def test_a_lock_file_that_cannot_be_looked_up(tmp_path: Path, replaced: Callable[[], Path]) -> None:
    """A holder that cannot look whether the lock is still its own sends nothing more: exit 74, with the reason."""
    lease = await FileLease(tmp_path / "there" / "l.db").__aenter__()
    lease.keep("0123456789abcdef")
    replaced()
    with pytest.raises(LedgerError, match="Not a directory") as caught:
        lease.check()

    assert caught.value.where == str(lease.path)
    with pytest.raises(LedgerError, match="Not a directory"):
        lease.check()


async def test_a_lock_is_given_back_whatever_becomes_of_its_file(tmp_path: Path, replaced: Callable[[], Path]) -> None:
    """When the file cannot be taken away at the end, that is an error, exit 74, and the next run gets the lock."""
    lease = await FileLease(tmp_path / "there" / "l.db").__aenter__()
    moved = replaced()
    with pytest.raises(LedgerError, match="Not a directory"):
        await lease.__aexit__(None, None, None)

    async with FileLease(moved / "l.db"):
        pass


async def test_a_lock_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A lock whose file says nothing readable is still a lock."""
    path = tmp_path / "l.db"
    async with FileLease(path) as lock:
        lock.path.write_bytes(b"\xff")
        with pytest.raises(LedgerLockedError, match="does not say which process it is"):
            async with FileLease(path):
                pass


async def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    """Where no lock can be made, the ledger cannot be used: exit code 74."""
    with pytest.raises(LedgerError, match=r"cannot be taken: No such file.*Check") as caught:
        async with FileLease(tmp_path / "no" / "l.db"):
            pass

    assert caught.value.reason is Reason.LEDGER


async def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that other machines share there is no lock, and no file is made."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 0:1 / / rw - ext4 /dev/vda rw\n2 1 0:2 / {tmp_path} rw - nfs4 server:/x rw\n")
    monkeypatch.setattr(filesystem, "_MOUNTS", mounts)
    with pytest.raises(LedgerError, match=r"type nfs4.*local disk"):
        async with FileLease(tmp_path / "l.db"):
            pass

    assert not (tmp_path / "l.db.lock").exists()


async def test_looking_takes_nothing_and_names_the_holder(tmp_path: Path) -> None:
    """Who looks learns of the holder, takes no lock from the next run, and writes to no file."""
    path = tmp_path / "l.db"
    assert FileLease(path).look() == ""
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240  a test's own folder

    async with FileLease(path) as lock:
        lock.keep("a" * 16)
        before = lock.path.read_bytes()
        assert f"process {os.getpid()} on {socket.gethostname()}, since 20" in FileLease(path).look()
        assert lock.path.read_bytes() == before


async def test_looking_notices_a_ledger_that_vanished(tmp_path: Path) -> None:
    """A lock file that names a ledger, without that ledger, is the error that a run would end with."""
    path = tmp_path / "l.db"
    async with FileLease(path) as lock:
        lock.keep("a" * 16)
    with pytest.raises(LedgerError, match="gone or empty"):
        FileLease(path).look()

    async with FileLease(path):
        pass
