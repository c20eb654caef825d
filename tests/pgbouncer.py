"""PgBouncer in transaction mode before the server of all tests: each transaction may get another connection."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.missing import missing
from tests.postgres import Ledger, empty_ledger

_CONFIGURATION = """
[databases]
* = host={server} user=postgres
[pgbouncer]
unix_socket_dir = {folder}
listen_port = 6432
pidfile = {folder}/pid
logfile = {folder}/log
auth_type = any
pool_mode = transaction
default_pool_size = 3
"""
"""Fewer connections than sessions, so that they do share them."""
LIMIT_S = 30.0


def pooled_ledger() -> Ledger:
    """An empty ledger that is reached through the pool. Without PgBouncer the test is skipped, but never in CI."""
    return through_pool(empty_ledger())


def through_pool(ledger: Ledger) -> Ledger:
    """The same ledger, as it is reached through the pool of its server."""
    server = parse_qs(urlsplit(ledger.server).query)["host"][0]
    url = f"postgresql://postgres:@/postgres?host={_pool(server)}&port=6432&schema={ledger.schema}"
    return ledger._replace(url=url)


@functools.cache
def _pool(server: str) -> Path:
    """The directory of its socket."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        missing("a ledger behind PgBouncer, because pgbouncer is not installed here")
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    settings = folder / "pgbouncer.ini"
    settings.write_text(_CONFIGURATION.format(server=server, folder=folder))
    command = [program, "-q", str(settings)]
    if os.geteuid() == 0:
        # It refuses to run as root; the socket of the server is only its owner's.
        owner = Path(server).owner()
        for path in (folder, settings):
            shutil.chown(path, owner)
        command = [program, "-q", "-u", owner, str(settings)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    atexit.register(_end, process, folder)
    deadline = time.monotonic() + LIMIT_S
    while not (folder / ".s.PGSQL.6432").exists():
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline, "PgBouncer does not begin"
        time.sleep(0.02)
    return folder


def _end(process: subprocess.Popen[bytes], folder: Path) -> None:
    process.kill()
    process.wait()
    shutil.rmtree(folder)
