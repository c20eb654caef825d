"""How a run gets into its database: by TLS, and with a password that no message has."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import pytest

from provisioner.errors import LedgerError
from provisioner.ledger.location import locate
from provisioner.ledger.postgres import connection
from tests.aws.certificates import Authority
from tests.ledger.contract.facts import all_of, intend
from tests.ledger.opening import open_ledger
from tests.pgbouncer import PASSWORD, USER, Guarded, guarded_ledger
from tests.postgres import fresh_ledger

if TYPE_CHECKING:
    from pathlib import Path

CHECKED = "sslmode=verify-full&sslrootcert={bundle}"


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Guarded:
    """The ledger of the test, and no password but its own."""
    for name in ("PGPASSWORD", "PGPASSFILE", "PGSERVICEFILE", "PGSSLMODE"):
        monkeypatch.delenv(name, raising=False)
    return guarded_ledger()


def url_of(guarded: Guarded, parameters: str, login: str = USER, *, host: str = "localhost") -> str:
    """The URL with this login and these parameters."""
    more = parameters.format(bundle=guarded.bundle)
    return guarded.ledger.url.replace("//localhost", f"//{login}@{host}") + f"&{more}"


@pytest.mark.parametrize("way", ["URL", "PGPASSWORD", "PGPASSFILE", "service"])
async def test_a_password_comes_from_where_libpq_takes_it(
    guarded: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """URL, environment, password file or service file; the certificate of the server is checked."""
    url = url_of(guarded, CHECKED, f"{USER}:{PASSWORD}" if way == "URL" else USER)
    if way == "PGPASSWORD":
        monkeypatch.setenv("PGPASSWORD", PASSWORD)
    elif way == "PGPASSFILE":
        file = tmp_path / "pgpass"
        file.write_text(f"localhost:{guarded.port}:*:{USER}:{PASSWORD}\n")
        file.chmod(0o600)
        monkeypatch.setenv("PGPASSFILE", str(file))
    elif way == "service":
        lines = ["[prod]", "host=localhost", f"port={guarded.port}", "dbname=postgres", f"user={USER}"]
        file = tmp_path / "services"
        file.write_text("\n".join([*lines, f"password={PASSWORD}", ""]))
        monkeypatch.setenv("PGSERVICEFILE", str(file))
        url = f"postgresql://?service=prod&schema={guarded.ledger.schema}&{CHECKED.format(bundle=guarded.bundle)}"
    async with open_ledger(url) as ledger:
        await ledger.record([intend("a")])

        assert len(await all_of(ledger)) == 1
        assert PASSWORD not in f"{ledger!r} {locate(url).name} {locate(url).address}"


@pytest.mark.parametrize(
    ("login", "host", "parameters", "message"),
    [
        (f"{USER}:wrong-{PASSWORD}", "localhost", CHECKED, "the database refuses the login"),
        (USER, "localhost", CHECKED, "the database refuses the login"),
        (f"{USER}:{PASSWORD}", "localhost", "sslmode=disable", "the database does not answer.*SSL required"),
        (f"{USER}:{PASSWORD}", "localhost", "sslmode=verify-full&sslrootcert=ca.pem", "SSL error"),
        (f"{USER}:{PASSWORD}", "127.0.0.1", CHECKED, "does not match host name"),
    ],
    ids=["wrong password", "no password", "no TLS", "another authority", "another host"],
)
async def test_who_is_not_let_in_is_told_why_without_the_password(  # noqa: PLR0913, PLR0917  a table
    guarded: Guarded,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    login: str,
    host: str,
    parameters: str,
    message: str,
) -> None:
    """Neither by the message nor by what is behind it."""
    monkeypatch.chdir(tmp_path)
    Authority(tmp_path)
    with pytest.raises(LedgerError, match=message) as caught:
        async with open_ledger(url_of(guarded, parameters, login, host=host)):
            pass

    assert "hush" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("/postgres?", "/nowhere?", r"there is no such database.*`createdb`"),
        ("postgres:@", "nobody:hush@", r"the database refuses the login.*PGPASSFILE"),
        ("&schema", "&options=-cdefault_transaction_read_only%3Don&schema", r"the database is read-only.*HOST1,HOST2"),
    ],
    ids=["no database", "no user", "a standby"],
)
async def test_a_refused_connection_has_its_cause_and_advice(
    monkeypatch: pytest.MonkeyPatch, old: str, new: str, message: str
) -> None:
    """Libpq has no code for these: what the server says decides, and stands there too.

    Only a standby is waited for, because it may be about to take over.
    """
    monkeypatch.setattr(connection, "START_S", 0.2 if new.endswith("on&schema") else 600.0)
    with pytest.raises(LedgerError, match=message) as caught:
        async with locate(fresh_ledger().url.replace(old, new), awaited=True).lease():
            pass

    assert "hush" not in "".join(traceback.format_exception(caught.value))
