"""The endpoint as a process, in a thread, with a state file."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from provisioner.emulator import Behaviour, Emulator, change_at, credentials, running, truth_at
from provisioner.emulator.store import StateFileBusyError, StateFileError, Store
from provisioner.errors import UsageError

from .support import client, definition

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVE = """
import sys
from pathlib import Path
from provisioner.emulator import Emulator, serve
serve(Emulator(state_file=Path(sys.argv[1])), lambda emulator: print(emulator.url, flush=True))
"""


def _start(state: Path) -> tuple[subprocess.Popen[str], str]:
    """An endpoint in a process of its own, and its URL."""
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(state)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def _end(process: subprocess.Popen[str], number: int) -> int:
    process.send_signal(number)
    code = process.wait(timeout=10)
    assert process.stdout is not None
    process.stdout.close()
    return code


@pytest.fixture
def sdk() -> Iterator[list[Any]]:
    """Clients that are closed when the test ends."""
    clients: list[Any] = []
    yield clients
    for each in clients:
        each.close()


def _client(sdk: list[Any], url: str) -> Any:
    sdk.append(client(url))
    return sdk[-1]


def test_killed_process_loses_no_answered_create(tmp_path: Path, sdk: list[Any]) -> None:
    """After kill -9 the next process on the same file has every algorithm whose create was answered, tags and all."""
    state = tmp_path / "state.db"
    process, url = _start(state)
    cleanrooms = _client(sdk, url)
    arns = {
        name: cleanrooms.create_configured_model_algorithm(**definition(name, tags={"k": "1"}))[
            "configuredModelAlgorithmArn"
        ]
        for name in "abc"
    }
    cleanrooms.tag_resource(resourceArn=arns["a"], tags={"k": "2"})
    cleanrooms.delete_configured_model_algorithm(configuredModelAlgorithmArn=arns["b"])
    before = truth_at(url).algorithms
    _end(process, signal.SIGKILL)

    with running(state_file=state) as emulator:
        after = emulator.truth.algorithms
        assert after == before
        assert {algorithm.name: algorithm.arn for algorithm in emulator.truth.alive} == {
            name: arns[name] for name in "ac"
        }
        assert after[0].tags == {"k": "2"}
        assert emulator.truth.calls == {}


def test_restart_keeps_the_algorithms(tmp_path: Path, sdk: list[Any]) -> None:
    """A restored algorithm is in List and in Get, and its name is taken."""
    state = tmp_path / "state.db"
    with running(state_file=state) as emulator:
        arn = _client(sdk, emulator.url).create_configured_model_algorithm(**definition())[
            "configuredModelAlgorithmArn"
        ]
    with running(state_file=state) as emulator:
        cleanrooms = _client(sdk, emulator.url)
        listed = cleanrooms.list_configured_model_algorithms()["configuredModelAlgorithms"]

        assert [summary["configuredModelAlgorithmArn"] for summary in listed] == [arn]
        assert cleanrooms.get_configured_model_algorithm(configuredModelAlgorithmArn=arn)["name"] == "algorithm"
        with pytest.raises(cleanrooms.exceptions.ConflictException):
            cleanrooms.create_configured_model_algorithm(**definition())


def test_closed_state_is_one_private_file(tmp_path: Path) -> None:
    """A stopped endpoint leaves a single file, readable by its owner alone."""
    state = tmp_path / "state.db"
    with running(state_file=state):
        pass

    assert list(tmp_path.iterdir()) == [state]
    assert state.stat().st_mode & 0o777 == 0o600


def test_second_process_is_refused(tmp_path: Path) -> None:
    """A state file has one owner: a second one is refused at once, and the first is not disturbed."""
    state = tmp_path / "state.db"
    process, url = _start(state)
    try:
        with (
            pytest.raises(StateFileBusyError, match=r"another endpoint holds the state file"),
            running(state_file=state),
        ):
            pass
        assert truth_at(url).algorithms == []
    finally:
        _end(process, signal.SIGTERM)
    with running(state_file=state), pytest.raises(StateFileBusyError), running(state_file=state):
        pass


def _text(path: Path) -> None:
    path.write_text("not a database, but long enough to look like one " * 20)


def _other_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE other (x)")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("make", [_text, _other_database, os.mkdir])
def test_foreign_file_is_refused_untouched(tmp_path: Path, make: Any) -> None:
    """A file that is no state file is refused with a clear error and left as it was."""
    state = tmp_path / "state.db"
    make(state)
    before = state.read_bytes() if state.is_file() else b""

    with pytest.raises(StateFileError, match=r"state\.db"), running(state_file=state):
        pass
    assert (state.read_bytes() if state.is_file() else b"") == before


@pytest.mark.parametrize(
    "name", [b"a b", b"h#s?h%41&x=1;y", b"bad\xff\xfe", b":memory:", b"file:x?mode=ro", b"new\nline", b"-dash"]
)
def test_any_name_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sdk: list[Any], name: bytes) -> None:
    """Whatever bytes a state file's name has, the file of that name in the current folder keeps the account."""
    monkeypatch.chdir(tmp_path)
    state = Path(os.fsdecode(name))
    for names in ([], ["algorithm"]):
        with running(state_file=state) as emulator:
            assert [algorithm.name for algorithm in emulator.truth.alive] == names
            if not names:
                _client(sdk, emulator.url).create_configured_model_algorithm(**definition())

    assert [os.fsencode(path.name) for path in tmp_path.iterdir()] == [name]


def test_unusable_state_file_ends_the_command_with_74(tmp_path: Path) -> None:
    """`provisioner emulate` with a file that is no state file says so, names it as typed, and ends with 74."""
    state = tmp_path / os.fsdecode(b"not\xff ours")
    state.write_text("a text " * 200)
    done = subprocess.run(
        [sys.executable, "-m", "provisioner", "emulate", "--state", state], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (74, "")
    assert "not a state file of the embedded endpoint" in done.stderr
    assert " ours" in done.stderr
    assert "Traceback" not in done.stderr


def test_local_runs_share_their_account(tmp_path: Path) -> None:
    """Each run with --local finds what the runs before it made, in a folder of any name; nothing is created twice."""
    folder = tmp_path / "h#s?h %41"
    folder.mkdir()
    (folder / "m.jsonl").write_bytes(msgspec.json.encode(definition()))
    command = [sys.executable, "-m", "provisioner", "apply", "m.jsonl", "--local", "--output", "json"]
    runs = [subprocess.run(command, cwd=folder, capture_output=True, check=True) for _ in range(3)]

    outcomes = [msgspec.json.decode(run.stdout)["outcomes"] for run in runs]
    assert [each["created"] for each in outcomes] == [1, 0, 0]
    assert [each["unchanged"] for each in outcomes] == [0, 1, 1]
    with running(state_file=folder / "ledger.db.local") as emulator:
        assert len(emulator.truth.algorithms) == 1


def test_missing_directory_is_named(tmp_path: Path) -> None:
    """A state file in a directory that does not exist is an error that names it."""
    with pytest.raises(StateFileError, match="nowhere"):
        Store(tmp_path / "nowhere" / "state.db")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_the_process(tmp_path: Path, number: int) -> None:
    """SIGTERM and SIGINT end the process with 0."""
    process, _ = _start(tmp_path / "state.db")

    assert _end(process, number) == 0


def test_endings_of_the_served_process(tmp_path: Path) -> None:
    """An endpoint in its own process resets, closes, cuts and hangs too, and stops while a call hangs."""
    process, url = _start(tmp_path / "state.db")
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    try:
        change_at(url, script=["reset", "lost_reply", "cut_reply", "hang"], verify=False)
        endings = [_ending(address, f"n{number}") for number in range(3)]
        hanging = socket.create_connection(address)
        hanging.sendall(_raw_create("n3"))
        while truth_at(url).count("create") < 4:
            pass
    finally:
        code = _end(process, signal.SIGTERM)
    hanging.close()

    assert endings[:2] == ["reset", b""]
    assert endings[2][-1:] not in (b"}", b"")
    assert code == 0


def _raw_create(name: str) -> bytes:
    body = msgspec.json.encode(definition(name))
    head = f"POST /configured-model-algorithms HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n"
    scope = f"{credentials('1' * 12).access_key_id}/20260101/us-east-1/cleanrooms-ml/aws4_request"
    key = f"AWS4-HMAC-SHA256 Credential={scope}"
    return f"{head}Authorization: {key}, SignedHeaders=host, Signature={'0' * 64}\r\n\r\n".encode() + body


def _ending(address: tuple[str, int], name: str) -> Any:
    """What a client reads until the end of its connection: bytes, or "reset"."""
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(_raw_create(name))
        read = b""
        try:
            while chunk := connection.recv(65536):
                read += chunk
        except ConnectionResetError:
            return "reset"
        return read


def test_other_process_can_change_and_ask(tmp_path: Path, sdk: list[Any]) -> None:
    """The control API works across processes."""
    process, url = _start(tmp_path / "state.db")
    try:
        change_at(url, script=["throttle"])
        cleanrooms = _client(sdk, url)
        with pytest.raises(cleanrooms.exceptions.ClientError, match="ThrottlingException"):
            cleanrooms.create_configured_model_algorithm(**definition())
        assert truth_at(url).count("create", 429) == 1
    finally:
        _end(process, signal.SIGTERM)


def test_taken_port_is_named(tmp_path: Path) -> None:
    """A taken port is a usage error that names it, and leaves no state file behind."""
    with running() as emulator:
        port = int(emulator.url.rpartition(":")[2])
        with pytest.raises(UsageError, match=str(port)), running(port=port, state_file=tmp_path / "state.db"):
            pass

    assert list(tmp_path.iterdir()) == []


async def test_truth_outlives_the_endpoint() -> None:
    """The truth can be read after the endpoint stopped."""
    async with Emulator() as emulator:
        await asyncio.sleep(0)

    assert (emulator.truth.algorithms, emulator.behaviour) == ([], Behaviour())


def test_usage_names_all_that_a_shell_needs(emulator: Emulator) -> None:
    """The printed command line has the URL, the keys and the Region."""
    assert all(part in emulator.usage for part in (emulator.url, "AWS_ACCESS_KEY_ID=AKIA", "AWS_REGION="))


def test_import_costs_nothing() -> None:
    """Importing the package loads neither the SDK nor the HTTP library nor moto; and the endpoint needs no moto."""
    script = """
import sys
import provisioner.emulator
heavy = {"aiohttp", "botocore", "moto", "msgspec"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
provisioner.emulator.Emulator
assert "moto" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_public_names_exist() -> None:
    """Every public name of the package can be imported, and no other."""
    import provisioner.emulator as package

    assert all(getattr(package, name) is not None for name in package.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        package.no_such_name  # type: ignore[attr-defined]  # noqa: B018 - the access is the test


def test_store_keeps_every_field(tmp_path: Path) -> None:
    """Every field is loaded as it was saved, in the order of creation."""
    from provisioner.emulator import Algorithm

    algorithms = [
        Algorithm(f"arn{n}", "né\U0001f600", "1" * 12, "r", 1.5 + n, msgspec.Raw(b'{"a":1}'), {"k": "v"}, None)
        for n in range(3)
    ]
    store = Store(tmp_path / "state.db")
    for algorithm in algorithms:
        store.save(algorithm)
    algorithms[1] = msgspec.structs.replace(algorithms[1], deleted_at=9.25, tags={})
    store.save(algorithms[1])
    store.close()

    store = Store(tmp_path / "state.db")
    assert list(store.load()) == algorithms
    store.close()
