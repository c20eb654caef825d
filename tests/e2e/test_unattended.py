"""What a scheduler gets: a summary in a file, silence when all is well, pings to a monitor."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import sqlite3
import threading
import time
import tomllib
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest

from provisioner import __version__ as provisioner_version
from provisioner.cli.ping import Ping, ping_url
from provisioner.cli.unattended import patience_s, within
from provisioner.errors import LedgerError
from provisioner.ledger.sqlite.migrations import SCHEMA_VERSION
from tests.definition_lines import manifest_of, numbered
from tests.e2e.process import (
    LIMIT_S,
    ROOT,
    Endpoint,
    Process,
    provisioner,
    read_terminal,
    start,
    until,
)
from tests.e2e.process import command as command_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "5e4d8c9a-secret"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a manifest of two definitions."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a", "b"))
    return tmp_path


def run(folder: Path, endpoint: Endpoint, *arguments: object, **more: Any) -> Any:
    """Run a command against the endpoint."""
    return provisioner(*arguments, "--endpoint-url", endpoint.url, cwd=folder, **more)


def kept(folder: Path, name: str = "s.json") -> dict[str, Any]:
    """The summary in the file, which is one line."""
    text = (folder / name).read_text()
    assert text.count("\n") == 1
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.mark.parametrize(
    "command",
    [
        ["apply", "m.jsonl"],
        ["plan", "m.jsonl"],
        ["adopt", "m.jsonl"],
        ["verify"],
        ["reconcile"],
        ["destroy", "--all", "--yes"],
        ["discover"],
    ],
)
def test_the_file_has_what_json_output_prints(folder: Path, endpoint: Endpoint, command: list[str]) -> None:
    """--summary-file FILE has the object that --output json prints, for every command with a summary."""
    assert run(folder, endpoint, "apply", "m.jsonl").returncode == 0

    done = run(folder, endpoint, *command, "--output", "json", "--summary-file", "s.json")

    assert done.returncode == 0, done.stderr
    assert kept(folder) == json.loads(done.stdout)


def test_a_rebuild_writes_it_too(folder: Path, endpoint: Endpoint) -> None:
    """A rebuild, which ends with 2 for want of an id, writes the file all the same."""
    run(folder, endpoint, "apply", "m.jsonl")

    done = run(folder, endpoint, "rebuild", "-l", "new.db", "--output", "json", "--summary-file", "s.json")

    assert kept(folder) == json.loads(done.stdout)
    assert kept(folder)["exit_code"] == done.returncode == 2


def test_the_file_is_replaced_whole_and_leaves_nothing_beside_it(folder: Path, endpoint: Endpoint) -> None:
    """A second run replaces the file; text goes to stdout as ever, and no other file is left."""
    for number in (2, 0):
        done = run(folder, endpoint, "apply", "m.jsonl", "--summary-file", "s.json")
        assert kept(folder)["outcomes"]["created"] == number
        assert "outcomes" in done.stdout

    assert {path.name for path in folder.iterdir()} - {"ledger.db", "ledger.db.lock"} == {"m.jsonl", "s.json"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["apply", "m.jsonl", "--summary-file", "s.json", "-c", "c.toml"], 78),
        (["apply", "m.jsonl", "--max-rate", "fast", "--summary-file", "s.json"], 2),
        (["apply", "--summary-file", "s.json"], 2),
        (["apply", "none.jsonl", "--summary-file", "s.json"], 2),
        (["apply", "m.jsonl", "-l", "no/l.db", "--summary-file", "s.json"], 74),
        (["verify", "-l", "none.db", "--summary-file", "s.json"], 74),
    ],
)
def test_a_run_that_fails_writes_it(folder: Path, endpoint: Endpoint, arguments: list[str], code: int) -> None:
    """Exit code and error are in the file also when the run never begins; an older file does not stay."""
    (folder / "c.toml").write_text("broken")
    (folder / "s.json").write_text("old")

    done = run(folder, endpoint, *arguments)

    assert (done.returncode, kept(folder)["exit_code"]) == (code, code)
    assert kept(folder)["error"] in done.stderr + done.stdout


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_sent(folder: Path, endpoint: Endpoint) -> None:
    """A directory, a database and a folder that is not there end with 2 before the first call."""
    run(folder, endpoint, "status")
    (folder / "db").write_bytes(b"SQLite format 3\0")

    codes = [
        run(folder, endpoint, "apply", "m.jsonl", "--summary-file", name).returncode
        for name in (".", "db", "no/s.json")
    ]

    assert codes == [2, 2, 2]
    assert endpoint.truth()["calls"] == {}


def test_a_file_that_cannot_be_written_at_the_end_ends_with_74(folder: Path, endpoint: Endpoint) -> None:
    """What was done stands, stdout has it with the error, and the exit code is 74 on both."""
    endpoint.change(latency=0.3)
    (folder / "out").mkdir()
    run_ = start(
        *("apply", "m.jsonl", "--summary-file", "out/s.json", "--output", "json", "--endpoint-url", endpoint.url),
        cwd=folder,
    )
    until((folder / "ledger.db").exists, run_)
    (folder / "out").rmdir()
    stdout, _ = run_.communicate(timeout=60)

    summary = json.loads(stdout)
    assert (run_.returncode, summary["exit_code"], summary["outcomes"]["created"]) == (74, 74, 2)
    assert "out/s.json: the result cannot be written" in summary["error"]


@pytest.mark.parametrize(("signals", "code"), [(1, 75), (2, 130)])
def test_a_run_that_is_stopped_writes_it(folder: Path, endpoint: Endpoint, signals: int, code: int) -> None:
    """The first signal drains and the second ends the run at once: both leave a summary with what was done."""
    (folder / "m.jsonl").write_bytes(numbered(60))
    endpoint.change(rate=20, burst=2)
    process = start("apply", "m.jsonl", "--summary-file", "s.json", "--endpoint-url", endpoint.url, cwd=folder)
    until(lambda: endpoint.creates() >= 3, process)
    if signals > 1:
        endpoint.change(latency=5)
        seen = endpoint.creates()
        until(lambda: endpoint.creates() > seen, process)
    for number in range(signals):
        time.sleep(number * 0.3)
        process.send_signal(signal.SIGTERM)
    process.communicate(timeout=LIMIT_S)

    summary = kept(folder)
    assert (process.returncode, summary["exit_code"], summary["stopped"]) == (code, code, "signal SIGTERM")
    assert summary["outcomes"]["created"] >= 1


@pytest.mark.parametrize("output", ["text", "json"])
def test_a_quiet_command_says_nothing_when_all_is_well(folder: Path, endpoint: Endpoint, output: str) -> None:
    """With --quiet and exit code 0 there is nothing on stdout or stderr, so that cron sends no mail."""
    for command in (["apply", "m.jsonl"], ["verify"], ["doctor"], ["reconcile"]):
        done = run(folder, endpoint, *command, "--quiet", "--output", output, PROVISIONER_LOG_LEVEL="debug")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), command


def test_a_quiet_command_says_everything_otherwise(folder: Path, endpoint: Endpoint) -> None:
    """Whatever the code, if it is not 0, stdout and stderr are those of a command that is not quiet."""
    (folder / "m.jsonl").write_bytes(manifest_of("a") + b"broken\n")
    (folder / "provisioner.toml").write_text("")
    arguments = ["apply", "m.jsonl", "--output", "json", "--progress", "never"]

    run(folder, endpoint, *arguments)
    loud, quiet = (run(folder, endpoint, *arguments, *more) for more in ([], ["-q"]))
    wrong = run(folder, endpoint, "apply", "m.jsonl", "-q", "-c", "none.toml")

    def events(text: str) -> list[str]:
        return [json.loads(line)["event"] for line in text.splitlines()]

    assert (quiet.returncode, json.loads(quiet.stdout)["exit_code"]) == (65, 65)
    assert events(quiet.stderr) == events(loud.stderr) != []
    assert (wrong.returncode, wrong.stderr.count("none.toml")) == (78, 1)


def test_a_quiet_command_keeps_a_terminal_clean_and_never_asks(folder: Path, endpoint: Endpoint) -> None:
    """On a terminal it paints no progress, and a deletion needs --yes instead of an answer."""
    run(folder, endpoint, "apply", "m.jsonl")
    done = []
    for words in (["apply", "m.jsonl"], ["destroy", "--all"]):
        ours, theirs = pty.openpty()
        line = command_of(*words, "--quiet", "--endpoint-url", endpoint.url, cwd=folder)
        process = Process(line, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        seen = read_terminal(ours)
        os.close(ours)
        done.append((process.wait(LIMIT_S), seen))

    assert done[0] == (0, b"")
    assert done[1][0] == 2
    assert b"--yes" in done[1][1]
    assert b"[y/N]" not in done[1][1]


def test_a_quiet_run_that_is_killed_twice_says_so(folder: Path, endpoint: Endpoint) -> None:
    """What was held is written even when the second signal ends the process."""
    (folder / "m.jsonl").write_bytes(numbered(60))
    endpoint.change(rate=20, burst=2)
    process = start("apply", "m.jsonl", "--quiet", "--endpoint-url", endpoint.url, cwd=folder)
    until(lambda: endpoint.creates() >= 3, process)
    endpoint.change(latency=5)
    seen = endpoint.creates()
    until(lambda: endpoint.creates() > seen, process)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=LIMIT_S)

    assert process.returncode == 130
    assert "stopped   signal SIGTERM" in stdout
    assert "run.stopping" in stderr


class Monitor:
    """A server that takes pings.

    Attributes:
        url: to ping.
        pings: path and body of each, in order.
        status: what it answers.
        delay_s: after how long it does.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/{SECRET}?create=1"
        self.pings: list[tuple[str, str]] = []
        self.status = 200
        self.delay_s = 0.0


@pytest.fixture
def monitor() -> Iterator[Monitor]:
    """A monitor in a thread."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            found.pings.append((self.path, body))
            time.sleep(found.delay_s)
            self.send_response(found.status)
            self.send_header("Location", f"http://127.0.0.1:{server.server_port}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST  # noqa: N815  what a redirect that is followed would call

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Monitor(server.server_port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()


def pinged(folder: Path, endpoint: Endpoint, monitor: Monitor, *arguments: object) -> Any:
    """Apply with pings, and check that nothing repeats the URL."""
    url = monitor.url
    logged = ("--log-level", "debug", "--log-file", "log.jsonl")
    done = run(folder, endpoint, "apply", *arguments, *logged, PROVISIONER_APPLY_PING_URL=url)
    assert SECRET not in done.stdout + done.stderr
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in folder.iterdir())
    return done


def test_a_monitor_hears_of_start_and_success(folder: Path, endpoint: Endpoint, monitor: Monitor) -> None:
    """POST to URL/start, then to the URL itself with the run in one line; its query stays."""
    done = pinged(folder, endpoint, monitor, "m.jsonl")

    assert done.returncode == 0
    assert monitor.pings == [
        (f"/{SECRET}/start?create=1", ""),
        (f"/{SECRET}?create=1", "exit 0: 2 created\n"),
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["broken.jsonl"], 65, "exit 65: 1 created\n"),
        (["m.jsonl", "--detailed-exitcode"], 10, "exit 10: 2 created\n"),
        (["m.jsonl", "-c", "none.toml"], 78, "exit 78: error: none.toml: cannot read the configuration"),
        (["none.jsonl"], 2, "none.jsonl"),
        ([], 2, "name a manifest"),
        (["m.jsonl", "--max-rate", "fast"], 2, "--max-rate"),
    ],
)
def test_a_monitor_hears_of_failure(
    folder: Path, endpoint: Endpoint, monitor: Monitor, arguments: list[str], code: int, line: str
) -> None:
    """The last ping has the exit code in its path, also when no run began; a change on request is a success."""
    (folder / "broken.jsonl").write_bytes(manifest_of("a") + b"broken\n")

    done = pinged(folder, endpoint, monitor, *arguments)

    path, body = monitor.pings[-1]
    assert done.returncode == code
    assert path == (f"/{SECRET}?create=1" if code == 10 else f"/{SECRET}/{code}?create=1")
    assert line in body


@pytest.mark.parametrize("status", [301, 307, 404, 500])
def test_a_monitor_that_refuses_changes_nothing(
    folder: Path, endpoint: Endpoint, monitor: Monitor, status: int
) -> None:
    """A ping that fails is a warning in the log; a redirect is not followed, and the job ends as it would."""
    monitor.status = status

    done = pinged(folder, endpoint, monitor, "m.jsonl")

    failed = [json.loads(line)["why"] for line in done.stderr.splitlines() if "ping.failed" in line]
    assert done.returncode == 0
    assert failed == [f"start: HTTP {status}", f"end: HTTP {status}"]
    assert all(SECRET in path for path, _ in monitor.pings)


def test_a_monitor_that_is_silent_is_not_waited_for(monitor: Monitor) -> None:
    """A monitor that accepts and never answers hears of start and end, and holds nobody up."""
    monitor.delay_s = 60
    ping = Ping(ping_url(monitor.url))

    ping.start()
    failures = ping.end(75, "2 created", 0.4)

    assert failures == ["start: no answer in time", "end: no answer in time"]
    assert monitor.pings == [(f"/{SECRET}/start?create=1", ""), (f"/{SECRET}/75?create=1", "exit 75: 2 created\n")]


@pytest.mark.parametrize(("signalled_s_ago", "patience"), [(None, 10.0), (1.0, 10.0), (20.0, 4.9), (30.0, 0.0)])
def test_a_silent_monitor_does_not_outlast_the_time_after_a_signal(
    signalled_s_ago: float | None, patience: float
) -> None:
    """Ten seconds at most, and the 25 seconds from a signal to the end hold with a silent monitor, too."""
    now = 1000.0
    signalled_at = None if signalled_s_ago is None else now - signalled_s_ago

    assert patience_s(signalled_at, now) == pytest.approx(patience)


def test_a_monitor_that_is_not_there_changes_nothing(folder: Path, endpoint: Endpoint, monitor: Monitor) -> None:
    """A host that refuses connections is a warning."""
    monitor.url = f"http://127.0.0.1:1/{SECRET}"

    done = pinged(folder, endpoint, monitor, "m.jsonl")

    assert (done.returncode, done.stderr.count("Connection refused")) == (0, 2)


@pytest.mark.parametrize(
    "url",
    [
        f"http://hc-ping.com/{SECRET}",
        f"ftp://127.0.0.1/{SECRET}",
        f"https://user:{SECRET}@hc-ping.com/x",
        f"https://hc-ping.com/{SECRET}#x",
        f"https://[{SECRET}/x",
        f"https://hc-ping.com:{SECRET}/x",
        f"https://hc-ping.com/{SECRET} x",
        SECRET,
    ],
)
def test_a_url_that_would_leak_is_refused_unseen(folder: Path, endpoint: Endpoint, url: str) -> None:
    """What is not https, or http on this machine, ends with 2, and the error does not repeat it."""
    done = run(folder, endpoint, "apply", "m.jsonl", "--ping-url", url, "--output", "json")

    assert done.returncode == 2
    assert "--ping-url" in done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert endpoint.truth()["calls"] == {}


def test_help_pings_nobody(folder: Path, endpoint: Endpoint, monitor: Monitor) -> None:
    """A command that only prints its help is no job."""
    pinged(folder, endpoint, monitor, "--help")

    assert monitor.pings == []


def test_the_versions_are_those_of_the_installation(tmp_path: Path) -> None:
    """`version --output json` names the program, Python, SQLite, the schemas and every package that is needed."""
    done = provisioner("version", "--output", "json", cwd=tmp_path)
    text = provisioner("version", cwd=tmp_path)

    found = json.loads(done.stdout)
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [
        re.split(r"[\[<>=; ]", one)[0] for one in [*needed["dependencies"], *needed["optional-dependencies"]["zstd"]]
    ]
    assert (done.returncode, text.returncode, found["exit_code"]) == (0, 0, 0)
    assert found["provisioner"] == provisioner_version
    assert found["sqlite"] == sqlite3.sqlite_version
    assert found["ledger_schema"] == SCHEMA_VERSION
    assert set(names) <= set(found["packages"])
    assert found["packages"]["botocore"] == version("botocore")
    assert f"ledger schema     {SCHEMA_VERSION}\n" in text.stdout


def test_a_summary_that_s3_does_not_take_in_time() -> None:
    """A summary in S3 may take only so long that the process ends in time; then it counts as not written (74)."""
    answered = threading.Event()
    with pytest.raises(LedgerError, match="s3://b/k: the result cannot be written: S3 has not answered within 0 s"):
        within(0.0, "s3://b/k", partial(answered.wait, LIMIT_S))
    answered.set()
