"""PgBouncer before the server of all tests.

One pool is in transaction mode: each transaction may get another connection. Another one has what the server of the
tests has not: TLS, and a user with a password.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from tests.aws.certificates import Authority
from tests.missing import missing
from tests.postgres import Ledger, empty_ledger

_CONFIGURATION = """
[databases]
* = host={server} user=postgres
[pgbouncer]
unix_socket_dir = {folder}
listen_port = {port}
pidfile = {folder}/pid
logfile = {folder}/log
{more}
pool_mode = transaction
default_pool_size = 3
"""
"""Fewer connections than sessions, so that they do share them."""
_GUARDED = """
listen_addr = 127.0.0.1
auth_type = scram-sha-256
auth_file = {folder}/users
client_tls_sslmode = require
client_tls_key_file = {folder}/localhost.pem
client_tls_cert_file = {folder}/localhost.pem
"""
LIMIT_S = 30.0


class Guarded(NamedTuple):
    """A pool that lets one user in, over TLS alone.

    Attributes:
        ledger: an empty one; its URL has no user, no password and no certificate.
        port: of the pool, on localhost.
        bundle: the file with the authority that signed the certificate of ``localhost``.
    """

    ledger: Ledger
    port: int
    bundle: Path


USER, PASSWORD = "worker", "hush-hush"


def guarded_ledger() -> Guarded:
    """An empty ledger behind such a pool, for :data:`USER` with :data:`PASSWORD`."""
    ledger = empty_ledger()
    server = parse_qs(urlsplit(ledger.server).query)["host"][0]
    folder, port = _guarded_pool(server)
    url = f"postgresql://localhost:{port}/postgres?schema={ledger.schema}"
    return Guarded(ledger._replace(url=url), port, folder / "ca.pem")


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
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    _start(folder, server, _CONFIGURATION.format(server=server, folder=folder, port=6432, more="auth_type = any"))
    return folder


@functools.cache
def _guarded_pool(server: str) -> tuple[Path, int]:
    """The directory of its files, and its port."""
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    Authority(folder).server("localhost")
    (folder / "users").write_text(f'"{USER}" "{PASSWORD}"\n')
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    more = _GUARDED.format(folder=folder)
    _start(folder, server, _CONFIGURATION.format(server=server, folder=folder, port=port, more=more))
    return folder, port


def _start(folder: Path, server: str, configuration: str) -> None:
    """Start a pool whose files are in ``folder``."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        missing("a ledger behind PgBouncer, because pgbouncer is not installed here")
    settings = folder / "pgbouncer.ini"
    settings.write_text(configuration)
    command = [program, "-q", str(settings)]
    if os.geteuid() == 0:
        # It refuses to run as root; the socket of the server is only its owner's.
        owner = Path(server).owner()
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, owner)
        command = [program, "-q", "-u", owner, str(settings)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    atexit.register(_end, process, folder)
    deadline = time.monotonic() + LIMIT_S
    while not any(folder.glob(".s.PGSQL.*")):
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline, "PgBouncer does not begin"
        time.sleep(0.02)


def _end(process: subprocess.Popen[bytes], folder: Path) -> None:
    process.kill()
    process.wait()
    shutil.rmtree(folder)
