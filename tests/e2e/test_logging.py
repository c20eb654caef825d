"""Logs of a real run, on stderr and in a file."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.definition_lines import manifest_of, numbered
from tests.e2e.process import LIMIT_S, Endpoint, Process, command, provisioner, start, until
from tests.report.test_events import IN_EVERY_LINE, listed

if TYPE_CHECKING:
    from pathlib import Path

LOG = ("--log-file", "log.jsonl")


def events(text: str) -> list[dict[str, Any]]:
    """The events of a log, each of which is a JSON object with the common fields, as the documentation lists it."""
    known = {event.name: event for event in listed()}
    found: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    for one in found:
        event = known[one["event"]]
        assert one["level"] in event.levels
        assert one.keys() - IN_EVERY_LINE <= event.fields
    return found


def kept(folder: Path) -> list[dict[str, Any]]:
    """The events in the log file."""
    return events((folder / "log.jsonl").read_text())


def test_a_run_is_told_from_its_start_to_its_end(tmp_path: Path, endpoint: Endpoint) -> None:
    """Every line belongs to the run; the first says what is run, the last how it ended; the file has the same lines."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a", "b") + b"{}\n")
    endpoint.change(rate=4, burst=1)

    done = provisioner(
        *("apply", "m.jsonl", "--endpoint-url", endpoint.url, "--output", "json", "--log-level", "debug", *LOG),
        cwd=tmp_path,
    )

    summary, log = json.loads(done.stdout), events(done.stderr)
    first, last = log[0], log[-1]
    attempts = [one for one in log if one["event"] == "attempt.ended"]
    assert kept(tmp_path) == log
    assert {one["run_id"] for one in log} == {summary["run_id"]}
    assert (first["event"], first["command"], first["targets"]) == ("run.started", "apply", ["default"])
    assert (last["event"], last["exit_code"], last["outcomes"]) == ("run.finished", 65, {"created": 2})
    assert len(attempts) == summary["calls"]["create"] == 2 + summary["calls"]["throttled"]
    assert all(one["target"] == "default" and one["request_id"] and one["latency_s"] > 0 for one in attempts)
    assert [one["line"] for one in log if one["event"] == "definition.reported"] == [3, 3]
    assert "throttling.began" in {one["event"] for one in log}


def test_a_quiet_run_is_in_the_file(tmp_path: Path, endpoint: Endpoint) -> None:
    """With --quiet and exit code 0 nothing is on stderr, and the file has the run; a second run is added."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a"))
    common = ("--quiet", "--endpoint-url", endpoint.url)
    for words in (["apply", "m.jsonl"], ["verify"]):
        done = provisioner(*words, *common, cwd=tmp_path, PROVISIONER_LOG_FILE="log.jsonl")
        assert (done.returncode, done.stderr) == (0, "")

    assert [one["command"] for one in kept(tmp_path) if one["event"] == "run.finished"] == ["apply", "verify"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["m.jsonl", "--log-file", "no/log"], 74, "no/log: the log cannot be written: No such file or directory"),
        (["m.jsonl", "--log-file", "."], 2, "the log must be a file"),
        (["m.jsonl", "--log-file", "m.jsonl"], 2, "this is the manifest"),
        (["*.jsonl", *LOG], 2, "this is the manifest"),
        (["m.jsonl", "--summary-file", "log.jsonl", *LOG], 2, "name the same file"),
    ],
)
def test_a_file_that_cannot_be_the_log_ends_the_run_before_it_begins(
    tmp_path: Path, endpoint: Endpoint, arguments: list[str], code: int, message: str
) -> None:
    """What cannot be written ends with 74 and what is something else with 2; nothing is sent, and nothing is left."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a"))

    done = provisioner("apply", *arguments, "--endpoint-url", endpoint.url, cwd=tmp_path)

    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    assert endpoint.truth()["calls"] == {}
    assert [path.name for path in tmp_path.iterdir()] == ["m.jsonl"]
    assert (tmp_path / "m.jsonl").read_bytes() == manifest_of("a")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["m.jsonl", "--max-rate", "fast"], 2), (["m.jsonl", "-c", "none.toml"], 78), (["m.jsonl", "--deadline", "x"], 2)],
)
def test_a_run_that_never_begins_is_in_the_file(tmp_path: Path, arguments: list[str], code: int) -> None:
    """An operator who reads the file alone sees why nothing happened."""
    done = provisioner("apply", *arguments, *LOG, cwd=tmp_path)

    (event,) = kept(tmp_path)
    assert (done.returncode, event["event"], event["exit_code"]) == (code, "command.failed", code)
    assert event["why"] in done.stderr


def test_an_error_that_ends_a_run_is_logged_once(tmp_path: Path, endpoint: Endpoint) -> None:
    """It is the last line but one, and the end has its code."""
    done = provisioner("verify", "--endpoint-url", endpoint.url, *LOG, cwd=tmp_path)

    failed, finished = kept(tmp_path)[-2:]
    assert (done.returncode, failed["event"], failed["exit_code"]) == (74, "run.failed", 74)
    assert (finished["event"], finished["exit_code"]) == ("run.finished", 74)


def test_a_result_that_cannot_be_written_is_the_end_of_the_run_in_the_log(tmp_path: Path, endpoint: Endpoint) -> None:
    """A full disk under stdout is logged with the code of the process, and once."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a"))
    with open("/dev/full", "wb") as full:  # noqa: PTH123  a device
        run = Process(
            command("apply", "m.jsonl", *LOG, "--endpoint-url", endpoint.url, cwd=tmp_path), stdout=full.fileno()
        )
        run.communicate(timeout=LIMIT_S)

    ends = [(one["event"], one["exit_code"]) for one in kept(tmp_path) if "exit_code" in one]
    assert (run.returncode, ends) == (74, [("run.failed", 74), ("run.finished", 74)])


@pytest.mark.parametrize(("signals", "code"), [(1, 75), (2, 130)])
def test_the_end_of_a_run_that_is_stopped_is_logged(
    tmp_path: Path, endpoint: Endpoint, signals: int, code: int
) -> None:
    """Also where a second signal ends the process at once, the file has the end of the run."""
    (tmp_path / "m.jsonl").write_bytes(numbered(60))
    endpoint.change(rate=20, burst=2)
    process = start("apply", "m.jsonl", *LOG, "--endpoint-url", endpoint.url, cwd=tmp_path)
    until(lambda: endpoint.creates() >= 3, process)
    if signals > 1:
        endpoint.change(latency=5)
        seen = endpoint.creates()
        until(lambda: endpoint.creates() > seen, process)
    process.send_signal(signal.SIGTERM)
    if signals > 1:
        until(lambda: "run.stopping" in (tmp_path / "log.jsonl").read_text(), process)
        process.send_signal(signal.SIGTERM)
    process.communicate(timeout=LIMIT_S)

    last = kept(tmp_path)[-1]
    assert (process.returncode, last["event"], last["exit_code"]) == (code, "run.finished", code)
    assert last["stopped"] == "signal SIGTERM"
