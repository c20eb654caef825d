"""What is PostgreSQL's own: its URL, its connections, what breaks them, and leases by time. All with a real server."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

import msgspec
import psycopg
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from provisioner.core.entry import Event, Fact, State
from provisioner.errors import ConfigurationError, LedgerError, LedgerLockedError, Reason
from provisioner.ledger import RunRecord
from provisioner.ledger.location import locate, printable_location
from provisioner.ledger.postgres import connection, patience
from provisioner.ledger.postgres.connection import Database, Fault, Session, Statement, fault_of, passes
from provisioner.ledger.postgres.lease import PostgresLeases
from provisioner.ledger.postgres.migrations import SCHEMA_VERSION
from provisioner.ledger.postgres.schema import bring_forward, version_of
from provisioner.ledger.postgres.store import PostgresLedger
from provisioner.ledger.postgres.text import decode, encode, read, written
from provisioner.ledger.postgres.url import parsed
from tests.ledger.contract.facts import AT, all_of, confirm, intend
from tests.ledger.opening import open_ledger
from tests.ledger.proxy import Plan, Proxy
from tests.postgres import Ledger, control, fresh_ledger, own_server, restart_server, server_url


@pytest.fixture
def postgres() -> Ledger:
    """The ledger of the test."""
    return fresh_ledger()


def lease(url: str, ttl_s: float, timeout_s: float = 0.0) -> PostgresLeases:
    """A lease of everything that expires soon."""
    return PostgresLeases(Database(parsed(url)), timeout_s, everything=True, ttl_s=ttl_s)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgres://me:secret@host:5433/db?sslmode=verify-full", "postgresql://me@host:5433/db"),
        ("postgresql://me@a,b:5433/db?password=secret&schema=team", "postgresql://me@a,b:5433/db?schema=team"),
        ("postgresql:///db?host=/run/postgresql&sslpassword=secret", "postgresql:///db?host=/run/postgresql"),
        ("postgresql://?service=prod&passfile=/secret", "postgresql://?service=prod"),
        ("postgresql://[::1]:5432/db", "postgresql://[::1]:5432/db"),
        ("postgresql://me:se@cret@host/db", "postgresql://…"),
        ("postgresql://me:se/cret@host/db", "postgresql://…"),
        ("postgresql://me:se#cret@host/db", "postgresql://…"),
        ("postgresql://me:se?cret@host/db", "postgresql://…"),
        ("mysql://me:secret@host/db", "mysql://…"),
    ],
)
def test_a_url_is_printed_without_its_password(url: str, name: str) -> None:
    """User, hosts, database and schema are shown; where a password may stand in the wrong place, only the scheme."""
    assert printable_location(url) == name


@pytest.mark.parametrize("url", ["postgresql://me:se%zzcret@host/db", "postgresql://host/db?secret=1"])
def test_a_url_that_libpq_cannot_read_is_refused_without_quoting_it(url: str) -> None:
    """Libpq's own message quotes the URL."""
    with pytest.raises(ConfigurationError, match="not one of PostgreSQL") as caught:
        locate(url)

    assert "cret" not in str(caught.value)


@pytest.mark.parametrize("schema", ["", "Team", "a-b", "pg_catalog", "a%22b", "1a"])
def test_a_schema_has_a_plain_name(schema: str) -> None:
    """What would have to be quoted, or is the server's, is refused."""
    with pytest.raises(ConfigurationError, match="cannot be in the schema"):
        locate(f"postgresql://host/db?schema={schema}")


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without psycopg the message says what to install, by the name that the registry knows."""
    for name in [name for name in sys.modules if name.startswith(("psycopg", "provisioner.ledger.postgres."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'cleanrooms-provisioner\[postgres\]'") as caught:
        locate("postgresql://me:secret@host/db")

    assert caught.value.where == "postgresql://me@host/db"


TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(["\x00", "\x01", "0", "1", "\\"]), max_size=8)


@given(TEXT, TEXT)
def test_text_comes_back_and_keeps_its_order(one: str, other: str) -> None:
    """NUL, which PostgreSQL does not store, is written in another way; names are sorted as before."""
    assert read(written(one)) == one
    assert "\x00" not in written(one)
    assert (written(one) < written(other)) == (one < other)
    assert decode(encode([one, {other: one}]), list[object]) == [one, {other: one}]


@pytest.mark.parametrize("before", ["nothing", "the first schema"])
async def test_workers_that_start_at_once_make_one_ledger(postgres: Ledger, before: str) -> None:
    """Each step of the schema is made once, whoever comes first; nobody fails, and what was there stays."""
    if before != "nothing":
        first = Path(__file__).with_name("postgres-schema-1.sql").read_text()
        postgres.execute(first.replace("LEDGER", postgres.schema))
    sessions = [Session(Database(parsed(postgres.url)), writes=True) for _ in range(6)]
    await asyncio.gather(*(bring_forward(session) for session in sessions))

    assert [await version_of(session) for session in sessions] == [SCHEMA_VERSION] * 6
    assert postgres.execute("SELECT count(*) > 0 FROM entries") == [(before != "nothing",)]
    for session in sessions:
        await session.close()


async def test_tables_of_another_program_are_left_alone(postgres: Ledger) -> None:
    """A schema in which somebody else has tables of these names is refused, with the way to another one."""
    postgres.execute(f"CREATE SCHEMA {postgres.schema}; CREATE TABLE entries (id int)")
    with pytest.raises(LedgerError, match=r"another program has tables.*\?schema="):
        async with open_ledger(postgres.url):
            pass

    assert postgres.execute("SELECT count(*) FROM entries") == [(0,)]


async def test_a_commit_survives_a_server_that_commits_carelessly(postgres: Ledger) -> None:
    """Durability does not depend on the server's default: every transaction asks for it."""
    session = Session(Database(parsed(f"{postgres.url}&options=-csynchronous_commit%3Doff")), writes=True)
    await session.begin()
    ((row,),) = await session.end(Statement("SHOW synchronous_commit"))
    await session.close()

    assert row == ("on",)


async def test_an_error_leaves_the_connection_in_order(postgres: Ledger) -> None:
    """The transaction in which it came is undone, so that the next one begins."""
    session = Session(Database(parsed(postgres.url)), writes=False)
    with pytest.raises(psycopg.errors.DivisionByZero):
        await session.read(Statement("SELECT 1 / 0"))
    rows = await session.read(Statement("SELECT 1"), Statement("SELECT 2"))
    await session.close()

    assert rows == [[(1,)], [(2,)]]


# Faults


@pytest.mark.parametrize("plan", ["lose the commit", "lose the reply"])
async def test_a_commit_whose_reply_is_lost_takes_effect_once(postgres: Ledger, tmp_path: Path, plan: Plan) -> None:
    """Whether it arrived or not: the writer finds out, and answers as if nothing had happened."""
    async with Proxy(postgres.server, tmp_path) as proxy, open_ledger(proxy.through(postgres.url)) as ledger:
        await ledger.begin_run(RunRecord("run-1", "apply", AT))
        await ledger.record([intend("a"), confirm("a", 1)])
        proxy.plan = plan
        await asyncio.gather(
            ledger.record([intend("b")]),
            ledger.begin_run(RunRecord("run-2", "apply", AT)),
            ledger.record([intend("c")]),
        )
        entries = await all_of(ledger)
        await ledger.record([confirm("b", 2), confirm("c", 3)])

        assert proxy.broken == 1
        assert [(entry.name, entry.run_id) for entry in entries] == [("a", "run-1"), ("b", "run-1"), ("c", "run-2")]
        assert await ledger.counts() == {"default": {State.CREATED: 3}}


@pytest.mark.parametrize(
    "seeds", [range(2), pytest.param(range(2, 300), marks=pytest.mark.torture)], ids=["few seeds", "many seeds"]
)
async def test_connections_that_break_at_any_byte_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeds: range
) -> None:
    """Wherever in a request or a reply: each fact takes effect once, and so does each commit."""
    monkeypatch.setattr(patience, "LONGEST_PAUSE_S", 0.05)
    for seed in seeds:
        draw, postgres = Random(seed), fresh_ledger()  # noqa: S311  a test's
        async with Proxy(postgres.server, tmp_path) as proxy, open_ledger(proxy.through(postgres.url)) as ledger:
            await ledger.begin_run(RunRecord("run-1", "apply", AT))
            proxy.budgets = iter([draw.randrange(1, 6000) for _ in range(12)])
            for number in range(12):
                name, attempt = f"n{number}", f"a{number}"
                await ledger.record([intend(name, attempt)])
                await ledger.record([msgspec.structs.replace(confirm(name, number), after=attempt)])
            counts, changes = await ledger.counts(), await ledger.changes("default")
            ((commits,),) = postgres.execute("SELECT commits FROM workers")

        assert proxy.broken > 3, seed
        assert counts == {"default": {State.CREATED: 12}}, seed
        # Besides the facts: the new ledger's id, and the run.
        assert (changes, commits) == (24, 26), seed


async def test_a_server_that_falls_silent_is_given_up(
    postgres: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No reply in time is a lost connection; when another one answers, the commit goes on."""
    async with Proxy(postgres.server, tmp_path) as proxy, open_ledger(proxy.through(postgres.url)) as ledger:
        await ledger.record([intend("a")])
        monkeypatch.setattr(connection, "REPLY_S", 0.2)
        monkeypatch.setattr(connection, "CONNECT_S", 0.0)
        proxy.plan = "be silent"
        recorded = asyncio.ensure_future(ledger.record([confirm("a", 1)]))
        await asyncio.sleep(0.1)
        proxy.plan = "pass"
        await recorded

        assert [entry.state for entry in await all_of(ledger)] == [State.CREATED]


async def test_connections_that_an_administrator_ends_are_made_again(postgres: Ledger) -> None:
    """However often, at whatever moment: every fact is recorded once, and every read is answered."""
    kill = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE pid <> pg_backend_pid() AND query LIKE '%' || current_schema() || '%'"""
    async with open_ledger(postgres.url) as ledger:

        async def create(worker: int) -> None:
            for number in range(10):
                name = f"{worker}-{number}"
                await ledger.record([intend(name)])
                assert name in await ledger.look_up("default", [name])
                await ledger.record([confirm(name, worker * 10 + number)])

        work = asyncio.gather(*(create(worker) for worker in range(20)))
        killed = 0
        while not work.done():
            killed += len(await asyncio.to_thread(postgres.execute, kill))
            await asyncio.sleep(0.05)
        await work

        assert killed > 2
        assert {entry.state for entry in await all_of(ledger)} == {State.CREATED}
        assert await ledger.counts() == {"default": {State.CREATED: 200}}


async def test_a_server_that_crashes_and_comes_back_loses_nothing() -> None:
    """Every fact that was acknowledged before is there, those under way are recorded, and the lease is still held."""
    server = own_server()
    try:
        url = fresh_ledger(server.get_uri()).url
        async with lease(url, 30.0) as held:
            ledger = await PostgresLedger.open(held)
            await ledger.record([intend(f"n{number}") for number in range(50)])
            restart = asyncio.to_thread(restart_server, server)
            await asyncio.gather(restart, *(ledger.record([confirm(f"n{number}", number)]) for number in range(50)))
            held.check()
            counts = await ledger.counts()
            await ledger.close()
    finally:
        server.cleanup()

    assert counts == {"default": {State.CREATED: 50}}


class Heard:
    """A logger that keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[tuple[str, str]] = []
        self.first = asyncio.Event()

    def warning(self, event: str, *, why: str, **_: object) -> None:
        """A warning is logged."""
        self.warnings.append((event, why))
        self.first.set()


async def test_a_run_that_starts_while_the_server_restarts_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so once, and goes on when the server is back; so does one whose first transaction breaks off."""
    heard = Heard()
    monkeypatch.setattr("provisioner.ledger.postgres.connection.log", heard)
    server = own_server()
    try:
        url = fresh_ledger(server.get_uri()).url
        control(server, server.pgdata, "stop", "-m", "immediate")
        starting = asyncio.create_task(PostgresLeases(Database(parsed(url), awaited=True)).__aenter__())
        await heard.first.wait()
        await asyncio.to_thread(server.ensure_postgres_running)
        held = await starting
        restart = asyncio.create_task(asyncio.to_thread(restart_server, server))
        while not restart.done():
            async with locate(url, awaited=True).lease() as other, locate(url).open(other) as ledger:
                await ledger.counts()
        await restart
        await held.confirm()
        await held.__aexit__(None, None, None)
    finally:
        server.cleanup()

    assert [event for event, why in heard.warnings if "No such file" in why][:1] == ["ledger.awaited"]


@pytest.mark.parametrize(
    ("message", "waits"),
    [
        ("connection failed: FATAL:  the database system is starting up", True),
        ("connection failed: FATAL:  the database system is shutting down", True),
        ("connection failed: FATAL:  the database system is not yet accepting connections", True),
        ("connection failed: connection to server at port 5432 failed: Connection refused", True),
        ('connection to server on socket "/tmp/.s.PGSQL.5432" failed: No such file or directory', True),
        ("connection failed: server closed the connection unexpectedly", True),
        ("connection timeout expired", True),
        ("connection failed: session is read-only", True),
        ("FATAL:  sorry, too many clients already", True),
        ("FATAL:  server login has been failing, cached error: connect failed (server_login_retry)", True),
        ("failed to resolve host 'db': [Errno -3] Temporary failure in name resolution", True),
        ("failed to resolve host 'db': [Errno -2] Name or service not known", False),
        ('connection failed: FATAL:  password authentication failed for user "a"', False),
        ("Connection refused; FATAL:  password authentication failed for user", False),
        ('connection failed: FATAL:  database "a" does not exist', False),
        ("connection failed: SSL error: certificate verify failed", False),
        ('invalid sslmode value: "x"', False),
    ],
)
def test_only_what_passes_is_waited_for_at_the_start(message: str, *, waits: bool) -> None:
    """A restart and a failover are; a wrong login, database, certificate or host name fails at once."""
    assert passes(psycopg.OperationalError(message)) is waits


@pytest.mark.parametrize(
    ("fault", "codes"),
    [
        (Fault.LOST, "08006 08001 57P01 57P02 57P03 57P05 25P03 25006 53300"),
        (Fault.ROLLED_BACK, "40001 40P01 55P03 57014 23505"),
        (Fault.DATA, "22001 22P05 23502 54000"),
        (Fault.FINAL, "53100 53200 58030 XX001 XX002 42501 42P01 28P01 0A000 42601"),
    ],
)
def test_each_code_of_the_server_is_one_kind_of_fault(fault: Fault, codes: str) -> None:
    """What is tried again over another connection, over the same one, for each request alone, or not at all."""
    found = {code: fault_of(psycopg.errors.lookup(code)("injected")) for code in codes.split()}

    assert found == dict.fromkeys(codes.split(), fault)


FAILING = """
CREATE SEQUENCE failures;
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('failures') <= 2 THEN RAISE EXCEPTION 'injected' USING ERRCODE = '{code}'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER fail BEFORE INSERT ON entries FOR EACH STATEMENT EXECUTE FUNCTION fail();
"""
"""The next two commits of entries fail with ``code``."""


@pytest.mark.parametrize("code", ["40001", "25006", "57P01"])
async def test_what_passes_is_tried_again(postgres: Ledger, code: str) -> None:
    """A serialization failure, a deadlock, a standby that has not taken over yet: the caller never hears of it."""
    async with open_ledger(postgres.url) as ledger:
        await ledger.record([intend("a")])
        postgres.execute(FAILING.format(code=code))
        await asyncio.gather(ledger.record([confirm("a", 1)]), ledger.record([intend("b")]))

        assert [entry.state for entry in await all_of(ledger)] == [State.CREATED, State.SENT]


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("53100", "the disk of the database is full"),
        ("42501", "the database user may not do this"),
    ],
)
async def test_what_does_not_pass_ends_the_run(postgres: Ledger, code: str, what: str) -> None:
    """Such a commit fails, and every call after it, although the server would answer; what was recorded stays."""
    async with open_ledger(postgres.url) as ledger:
        await ledger.record([intend("a")])
        postgres.execute(FAILING.format(code=code))
        for _ in range(3):
            with pytest.raises(LedgerError, match=what) as caught:
                await ledger.record([confirm("a", 1)])
            assert caught.value.reason is Reason.LEDGER
            assert code in str(caught.value)
        with pytest.raises(LedgerError, match=what):
            await ledger.counts()
    async with open_ledger(postgres.url, readonly=True) as ledger:
        assert [entry.state for entry in await all_of(ledger)] == [State.SENT]


async def test_a_server_that_stays_away_ends_the_run(postgres: Ledger, tmp_path: Path) -> None:
    """After so long without an answer reads and writes fail, at once from then on."""
    async with Proxy(postgres.server, tmp_path) as proxy, lease(proxy.through(postgres.url), 30.0) as held:
        ledger = await PostgresLedger.open(held, patience_s=0.3)
        proxy.plan = "refuse"
        proxy.cut()
        answers = await asyncio.gather(ledger.record([intend("a")]), ledger.counts(), return_exceptions=True)
        with pytest.raises(LedgerError, match="does not answer"):
            await ledger.record([intend("b")])
        await ledger.close()

    assert [type(answer) for answer in answers] == [LedgerError, LedgerError]


async def test_a_server_that_lost_commits_is_not_trusted(postgres: Ledger) -> None:
    """A standby that took over before it had everything: nothing more is recorded, and so nothing more is sent."""
    async with open_ledger(postgres.url) as ledger:
        await ledger.record([intend("a")])
        await ledger.record([intend("b")])
        postgres.execute("DELETE FROM entries WHERE name = 'b'; UPDATE workers SET commits = commits - 1")
        for _ in range(2):
            with pytest.raises(LedgerError, match="lost commits that it had acknowledged"):
                await ledger.record([intend("c")])


async def test_an_index_that_the_server_has_given_up_is_damage(postgres: Ledger) -> None:
    """It is named, with the statement that repairs it."""
    async with open_ledger(postgres.url) as ledger:
        await ledger.record([intend("a")])
    location = locate(postgres.url)
    assert "every index is usable" in await location.examine()
    index = "versions_by_name"
    given_up = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = "
    postgres.execute(given_up + f"'{postgres.schema}.{index}'::regclass")

    with pytest.raises(LedgerError, match=f"damaged.*{index}.*REINDEX INDEX"):
        await location.examine()


async def test_what_the_store_never_wrote_is_damage(postgres: Ledger) -> None:
    """JSON that is none of the store's."""
    async with open_ledger(postgres.url) as ledger:
        await ledger.record([intend("a")])
        postgres.execute("UPDATE entries SET sent = '[]'")
        with pytest.raises(LedgerError, match=r"^postgresql://.*: the ledger is damaged"):
            await all_of(ledger)


async def test_tables_that_are_dropped_under_a_run_end_it(postgres: Ledger) -> None:
    """It makes no new ledger in their place."""
    async with open_ledger(postgres.url) as ledger:
        await ledger.record([intend("a")])
        postgres.execute(f"DROP SCHEMA {postgres.schema} CASCADE")
        with pytest.raises(LedgerError, match=r"its tables were dropped.*provisioner rebuild"):
            await ledger.record([confirm("a", 1)])

    assert postgres.execute(f"SELECT to_regnamespace('{postgres.schema}')") == [(None,)]


async def test_a_reader_is_cancelled_alone(postgres: Ledger) -> None:
    """A caller that stops waiting for an answer leaves the connection to the next one in order."""
    async with open_ledger(postgres.url) as ledger:
        await ledger.record([intend("a")])
        for _ in range(5):
            reading = asyncio.ensure_future(ledger.look_up("default", ["a"]))
            await asyncio.sleep(0)
            reading.cancel()

        assert set(await ledger.look_up("default", ["a"])) == {"a"}


# The lease


async def test_a_lease_is_renewed_as_long_as_its_run_lives(postgres: Ledger) -> None:
    """Long after its term another run is still refused, and told whom it waits for and how long at most."""
    async with lease(postgres.url, 1.0) as held:
        await asyncio.sleep(1.5)
        held.check()
        with pytest.raises(LedgerLockedError, match=r"process \d+ on .*, since 20.*expires in \d+ s"):
            async with lease(postgres.url, 0.4):
                pass
    async with lease(postgres.url, 0.4):
        assert await locate(postgres.url).held()
    assert not await locate(postgres.url).held()


async def test_a_lease_is_given_back_over_a_connection_that_broke(postgres: Ledger, tmp_path: Path) -> None:
    """The next run does not wait for it to expire."""
    async with Proxy(postgres.server, tmp_path) as proxy:
        async with lease(proxy.through(postgres.url), 30.0):
            proxy.cut()

        assert not await locate(postgres.url).held()


async def test_the_lease_of_a_run_that_died_expires(postgres: Ledger) -> None:
    """Whoever waits for it gets it then."""
    died = lease(postgres.url, 0.4)
    await died.__aenter__()
    died._renewing.cancel()  # type: ignore[union-attr]
    async with lease(postgres.url, 0.4, timeout_s=5) as held:
        await died.__aexit__(None, None, None)
        held.check()
        assert await locate(postgres.url).held()


async def test_a_run_without_its_database_sends_nothing_after_its_term(postgres: Ledger, tmp_path: Path) -> None:
    """When another run can take the lease this one has stopped already, and what it has yet to record is refused."""
    async with Proxy(postgres.server, tmp_path) as proxy, lease(proxy.through(postgres.url), 0.6) as held:
        ledger = await PostgresLedger.open(held)
        proxy.plan = "refuse"
        proxy.cut()
        recorded = asyncio.ensure_future(ledger.record([intend("a")]))
        async with lease(postgres.url, 0.1, timeout_s=5):
            pass
        with pytest.raises(LedgerError, match="was not renewed in time"):
            held.check()
        proxy.plan = "pass"
        with pytest.raises(LedgerLockedError, match="taken over"):
            await recorded
        await ledger.close()


async def test_a_lease_that_nobody_took_meanwhile_is_good_again(postgres: Ledger, tmp_path: Path) -> None:
    """After an outage that was longer than its term the first commit renews it."""
    async with Proxy(postgres.server, tmp_path) as proxy, lease(proxy.through(postgres.url), 0.8) as held:
        ledger = await PostgresLedger.open(held)
        proxy.plan = "refuse"
        proxy.cut()
        recorded = asyncio.ensure_future(ledger.record([intend("a")]))
        await asyncio.sleep(0.9)
        with pytest.raises(LedgerError, match="was not renewed in time"):
            held.check()
        proxy.plan = "pass"
        await recorded
        held.check()
        await ledger.close()


async def test_a_holder_that_was_overtaken_learns_of_it_without_writing(postgres: Ledger) -> None:
    """The renewal finds out, and from then on nothing may be sent."""
    async with lease(postgres.url, 0.3) as held, AsyncExitStack() as stack:
        async with held._turn:  # so that no renewal comes before the other run
            postgres.execute("UPDATE workers SET expires_at = now()")
            await stack.enter_async_context(lease(postgres.url, 30.0))
        assert held._renewing is not None
        await held._renewing
        with pytest.raises(LedgerLockedError, match="taken over"):
            held.check()


async def test_a_fact_of_the_wrong_kind_fails_alone(postgres: Ledger) -> None:
    """What the database refuses to store harms no neighbour in the commit."""
    broken = msgspec.structs.replace(intend("a"), tag_keys="\udc80")
    async with open_ledger(postgres.url) as ledger:
        facts = [intend("b"), broken, Fact("default", "c", Event.PLAN, digest="d", tags_digest="t")]
        answers = await asyncio.gather(*(ledger.record([fact]) for fact in facts), return_exceptions=True)

        assert [type(answer) for answer in answers] == [type(None), UnicodeEncodeError, type(None)]


def test_a_read_is_cancelled_at_any_turn_of_the_loop() -> None:
    """Also before the loop has begun to watch the socket: uvloop aborts the process when that is closed by then."""

    async def story() -> None:
        session = Session(Database(parsed(server_url())), writes=False)
        for turns in range(8):
            await session.version()
            reading = asyncio.ensure_future(session.read(Statement("SELECT pg_sleep(60)")))
            for _ in range(turns):
                await asyncio.sleep(0)
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
            assert reading.cancelled()
        await session.close()

    uvloop.run(story())
