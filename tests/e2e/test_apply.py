"""``provisioner apply`` as its users meet it: the real process, a real endpoint, the three channels it speaks on."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.definition_lines import ROLE, numbered
from tests.e2e.folder import QUICK
from tests.e2e.process import EXAMPLE, ROOT, Endpoint, environment, executable, provisioner, start, until

if TYPE_CHECKING:
    from pathlib import Path


def applied(cwd: Path, endpoint: Endpoint, *arguments: object, stdin: bytes = b"") -> tuple[int, dict[str, Any]]:
    """Apply with JSON output; the exit code and the one object on stdout."""
    done = provisioner(
        "apply",
        *arguments,
        "--endpoint-url",
        endpoint.url,
        "--ledger",
        "l.db",
        "--output",
        "json",
        cwd=cwd,
        stdin=stdin,
    )
    assert done.stdout.count("\n") == 1, done.stderr
    return done.returncode, json.loads(done.stdout)


def exported(cwd: Path) -> dict[str, str]:
    """What the ledger exports, name to ARN."""
    done = provisioner("export", "--ledger", "l.db", "--format", "json", cwd=cwd)
    assert done.returncode == 0
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_a_manifest_is_registered_once_and_then_nothing_is_left_to_do(tmp_path: Path, endpoint: Endpoint) -> None:
    """Every definition becomes one algorithm, the export equals the truth, and a second run makes no create call."""
    count = EXAMPLE.read_text().count("\n")

    code, summary = applied(tmp_path, endpoint, EXAMPLE)
    again_code, again = applied(tmp_path, endpoint, EXAMPLE)

    truth = endpoint.truth()
    names = Counter(algorithm["name"] for algorithm in truth["algorithms"])
    assert (code, summary["outcomes"]["created"]) == (0, count)
    assert set(names.values()) == {1}
    assert len(names) == count
    assert exported(tmp_path) == {algorithm["name"]: algorithm["arn"] for algorithm in truth["algorithms"]}
    assert (again_code, again["outcomes"]["unchanged"], again["calls"]["create"]) == (0, count, 0)
    assert truth["calls"]["create"] == {"200": count}


def test_a_role_that_may_not_be_passed_says_which_policy_passes_it(tmp_path: Path, endpoint: Endpoint) -> None:
    """A 403 about iam:PassRole ends in the problem's message with the role, and the names that are usually allowed."""
    (tmp_path / "m.jsonl").write_bytes(numbered(1))
    endpoint.change(denied_roles=[ROLE])

    code, summary = applied(tmp_path, endpoint, "m.jsonl")

    message = summary["problems"][0]["message"]
    assert (code, summary["outcomes"]["failed"]) == (77, 1)
    assert f"Allow iam:PassRole on {ROLE}" in message
    assert "AWSCleanRoomsMLFullAccess passes only roles named cleanrooms-ml*" in message


def test_invalid_lines_do_not_stop_valid_ones(tmp_path: Path, endpoint: Endpoint) -> None:
    """Ten good and ten bad lines: ten created, exit 65, and each bad line is reported with its line and column."""
    code, summary = applied(tmp_path, endpoint, ROOT / "configs" / "broken.jsonl")

    lines = {problem["line"] for problem in summary["problems"]}
    assert (code, summary["outcomes"]["created"]) == (65, 10)
    assert summary["manifest"] == {"lines": 20, "valid": 10, "invalid": 10}
    assert len(lines) == 10
    assert all(problem["column"] >= 1 for problem in summary["problems"])


def test_strict_sends_nothing_when_a_line_is_invalid(tmp_path: Path, endpoint: Endpoint) -> None:
    """With --strict one invalid line keeps the whole manifest from being sent."""
    code, summary = applied(tmp_path, endpoint, ROOT / "configs" / "broken.jsonl", "--strict")

    assert (code, summary["outcomes"]["pending"], summary["calls"]["create"]) == (65, 10, 0)
    assert endpoint.truth()["calls"] == {}


def test_strict_sends_everything_when_all_lines_are_valid(tmp_path: Path, endpoint: Endpoint) -> None:
    """With --strict a valid manifest from standard input, which can be read but once, is registered."""
    code, summary = applied(tmp_path, endpoint, "-", "--strict", stdin=numbered(5))

    assert (code, summary["outcomes"]["created"], summary["manifest"]["lines"]) == (0, 5, 5)


def test_a_changed_definition_is_drifted_and_never_created_again(tmp_path: Path, endpoint: Endpoint) -> None:
    """A created name whose definition changed in the manifest ends as drifted, exit 3, without a call."""
    applied(tmp_path, endpoint, "-", stdin=numbered(3))

    code, summary = applied(tmp_path, endpoint, "-", stdin=numbered(3, description="new"))
    back_code, back = applied(tmp_path, endpoint, "-", stdin=numbered(3))

    assert (code, summary["outcomes"]["drifted"], summary["calls"]["create"]) == (3, 3, 0)
    assert (back_code, back["outcomes"]["unchanged"]) == (0, 3)


def test_a_quota_parks_the_target_and_keeps_the_rest_pending(tmp_path: Path, endpoint: Endpoint) -> None:
    """A 402 stops the target with exit 4, names the quota's value, and a later run continues where it stopped."""
    endpoint.change(quota=4)

    code, summary = applied(tmp_path, endpoint, "-", stdin=numbered(30))
    endpoint.change(quota=0)
    again_code, again = applied(tmp_path, endpoint, "-", stdin=numbered(30))

    outcomes = summary["outcomes"]
    assert code == 4
    assert outcomes["created"] == 4
    assert outcomes["parked"] >= 1
    assert sum(outcomes.values()) == 30
    assert "4" in summary["targets"]["default"]["halted"]
    assert (again_code, again["outcomes"]["created"], again["outcomes"]["unchanged"]) == (0, 26, 4)


def test_one_json_object_is_printed_when_the_run_cannot_begin(tmp_path: Path) -> None:
    """With --output json a wrong configuration still gives one object on stdout, with the exit code in it."""
    (tmp_path / "c.toml").write_text("[run]\nledgr = 'x'\n")

    done = provisioner("apply", EXAMPLE, "--config", "c.toml", "--output", "json", cwd=tmp_path)

    assert done.returncode == 78
    assert json.loads(done.stdout)["exit_code"] == 78
    assert "did you mean run.ledger" in json.loads(done.stdout)["error"].lower()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["apply"], 2, "name a manifest, or a saved plan with --plan"),
        (["apply", "nothing.jsonl", "--local"], 2, "nothing.jsonl"),
        (["apply", str(EXAMPLE), "--endpoint-url", "http://example.com"], 78, "https"),
        (["apply", str(EXAMPLE), "--local", "--target", "moon"], 2, "moon"),
        (["apply", str(EXAMPLE), "--local", "--deadline", "soon"], 2, "duration"),
        (["apply", str(EXAMPLE), "--local", "--ledger", "no/such/folder/l.db"], 74, "no/such/folder"),
        (["export", "--ledger", "none.db"], 74, "none.db"),
        (["status", "--ledger", "none.db"], 74, "none.db"),
        (["verify", "--prune-duplicates"], 2, "--yes"),
        (["frobnicate"], 2, "frobnicate"),
    ],
)
def test_wrong_use_is_one_line_without_a_traceback(
    tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    """What a user can get wrong ends with its exit code and a line that names it."""
    done = provisioner(*arguments, cwd=tmp_path)

    output = done.stdout + done.stderr
    assert done.returncode == code, output
    assert message in output
    assert "Traceback" not in output


def test_a_signal_drains_the_run_and_the_next_run_finishes_it(tmp_path: Path, endpoint: Endpoint) -> None:
    """SIGTERM ends the run with 75 and true counts; run again, everything is registered once."""
    endpoint.change(rate=20, burst=5)
    (tmp_path / "m.jsonl").write_bytes(numbered(100))
    arguments = ("m.jsonl", "--endpoint-url", endpoint.url, "--ledger", "l.db", "--output", "json")
    run = start("apply", *arguments, cwd=tmp_path)
    until(lambda: endpoint.truth()["calls"].get("create", {}).get("200", 0) >= 5, run)

    run.send_signal(signal.SIGTERM)
    stdout, _ = run.communicate(timeout=30)
    endpoint.change(rate=0)
    code, summary = applied(tmp_path, endpoint, "m.jsonl")

    outcomes = json.loads(stdout)["outcomes"]
    assert run.returncode == 75
    assert outcomes["pending"] > 0
    assert outcomes["created"] + outcomes["pending"] == json.loads(stdout)["manifest"]["valid"]
    assert code == 0
    assert summary["outcomes"]["created"] + summary["outcomes"]["unchanged"] == 100
    assert len(endpoint.truth()["algorithms"]) == 100


def test_progress_and_logs_stay_off_stdout(tmp_path: Path) -> None:
    """Stdout holds the summary alone; on a stderr that is no terminal logs are JSON, one object a line."""
    (tmp_path / "m.jsonl").write_bytes(numbered(3) + b"{}\n")

    done = provisioner("apply", "m.jsonl", "--local", "--output", "json", cwd=tmp_path)

    assert json.loads(done.stdout)["outcomes"]["created"] == 3
    events = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert "definition.reported" in events


def test_local_keeps_its_account_beside_the_ledger(tmp_path: Path) -> None:
    """With --local the next command finds the account of the one before: verify agrees with the ledger."""
    (tmp_path / "m.jsonl").write_bytes(numbered(3))

    first = provisioner("apply", "m.jsonl", "--local", cwd=tmp_path)
    verified = provisioner("verify", "--local", cwd=tmp_path)

    assert (first.returncode, verified.returncode) == (0, 0)
    assert "3 created" in first.stdout
    assert "0 findings" in verified.stdout


def test_local_needs_no_way_through_a_proxy(tmp_path: Path) -> None:
    """With --local the proxy that a company's network asks for is left alone: it cannot lead to this machine."""
    (tmp_path / "m.jsonl").write_bytes(numbered(3))
    proxy = "http://127.0.0.1:9"

    applied = provisioner("apply", "m.jsonl", "--local", cwd=tmp_path, HTTP_PROXY=proxy, http_proxy=proxy, NO_PROXY="")
    verified = provisioner("verify", "--local", cwd=tmp_path, HTTP_PROXY=proxy, http_proxy=proxy, NO_PROXY="")

    assert (applied.returncode, verified.returncode) == (0, 0), applied.stdout
    assert "0 findings" in verified.stdout
    assert "proxy" not in applied.stderr


@pytest.mark.parametrize(
    "left_over",
    [
        {"AWS_SECURITY_TOKEN": "x", "AWS_SESSION_TOKEN": "y", "AWS_CREDENTIAL_EXPIRATION": "2020-01-01T00:00:00Z"},
        {"AWS_PROFILE": "gone", "AWS_DEFAULT_PROFILE": "gone"},
        {"AWS_CONFIG_FILE": "broken", "AWS_SHARED_CREDENTIALS_FILE": "broken"},
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ENDPOINT_URL_STS": "x", "AWS_USE_FIPS_ENDPOINT": "true"},
        {"AWS_CA_BUNDLE": "/none", "REQUESTS_CA_BUNDLE": "/none", "AWS_USE_DUALSTACK_ENDPOINT": "true"},
        {
            "AWS_RETRY_MODE": "none",
            "AWS_MAX_ATTEMPTS": "x",
            "AWS_DEFAULTS_MODE": "x",
            "AWS_STS_REGIONAL_ENDPOINTS": "x",
        },
        {"AWS_REQUEST_CHECKSUM_CALCULATION": "x", "AWS_SDK_UA_APP_ID": "x y\n", "AWS_REGION": "no where"},
    ],
    ids=lambda variables: next(iter(variables)),
)
def test_local_depends_on_nothing_that_is_meant_for_aws(tmp_path: Path, left_over: dict[str, Any]) -> None:
    """With --local no variable and no file of the SDK matters, whether left over, broken or for elsewhere."""
    (tmp_path / "c.toml").write_text("[targets.a]\naccount_id = '111111111111'\n[targets.b]\n")
    (tmp_path / "m.jsonl").write_bytes(numbered(2))
    (tmp_path / "broken").write_text("[default\nregion")

    done = provisioner("apply", "m.jsonl", "--local", "-c", "c.toml", cwd=tmp_path, **left_over)

    assert (done.returncode, "4 created" in done.stdout) == (0, True), done.stdout + done.stderr


def test_local_targets_lie_in_the_accounts_that_the_configuration_names(tmp_path: Path) -> None:
    """With --local an account guard and a role say whose account a target is, so that targets do not meet in one."""
    (tmp_path / "c.toml").write_text(
        "[targets.guarded]\nprofile = 'prod'\naccount_id = '111111111111'\n"
        "[targets.assumed]\nassume_role_arn = 'arn:aws:iam::222222222222:role/p'\nexternal_id = 'secret-1'\n"
        "[targets.both]\nassume_role_arn = 'arn:aws:iam::333333333333:role/p'\naccount_id = '333333333333'\n"
        "[targets.plain]\n"
    )
    (tmp_path / "m.jsonl").write_bytes(numbered(2))

    done = provisioner("apply", "m.jsonl", "--local", "-c", "c.toml", "--output", "json", cwd=tmp_path)
    verified = provisioner("verify", "--local", "-c", "c.toml", cwd=tmp_path)

    rows = [json.loads(line) for line in provisioner("export", cwd=tmp_path).stdout.splitlines()]
    assert (done.returncode, json.loads(done.stdout)["outcomes"]["created"]) == (0, 8)
    assert {row["target"]: row["arn"].split(":")[4] for row in rows} == {
        "guarded": "111111111111",
        "assumed": "222222222222",
        "both": "333333333333",
        "plain": "123456789012",
    }
    assert (verified.returncode, "0 findings" in verified.stdout) == (0, True)


def test_local_guards_accounts(tmp_path: Path) -> None:
    """With --local a role of another account than the guard's is refused as it is on AWS: 77, and nothing is sent."""
    (tmp_path / "c.toml").write_text(
        "[targets.a]\nassume_role_arn = 'arn:aws:iam::222222222222:role/p'\naccount_id = '333333333333'\n"
    )
    (tmp_path / "m.jsonl").write_bytes(numbered(2))

    done = provisioner("apply", "m.jsonl", "--local", "-c", "c.toml", "--output", "json", cwd=tmp_path)

    summary = json.loads(done.stdout)
    assert (done.returncode, summary["calls"]["create"]) == (77, 0)
    assert "the wrong account" in summary["targets"]["a"]["halted"]


def test_local_warns_once_that_it_uses_no_profile(tmp_path: Path) -> None:
    """With --local the profiles of the selected targets are named once on stderr as unused; without any nothing is."""
    (tmp_path / "c.toml").write_text(
        "".join(f"[targets.{name}]\nprofile = 'prod'\nregion = 'us-{name}-1'\n" for name in ("east", "west", "south"))
    )
    (tmp_path / "m.jsonl").write_bytes(numbered(2))
    arguments = ("apply", "m.jsonl", "--local")

    warned = provisioner(*arguments, "-c", "c.toml", "-t", "east", "-t", "west", cwd=tmp_path)
    quiet = provisioner(*arguments, "--ledger", "other.db", cwd=tmp_path)

    notices = [json.loads(line) for line in warned.stderr.splitlines() if "profile" in line]
    assert [(notice["event"], notice["level"], notice["targets"]) for notice in notices] == [
        ("profiles.ignored", "warning", ["east", "west"])
    ]
    assert (warned.returncode, quiet.returncode, "profile" in quiet.stderr) == (0, 0, False)


def test_targets_share_a_ledger_and_keep_their_defaults(tmp_path: Path) -> None:
    """Each target gets every definition, under its own defaults, and its own counts in the summary."""
    (tmp_path / "c.toml").write_text(
        '[targets.east]\nregion = "us-east-1"\n[targets.west]\nregion = "us-west-2"\n[targets.west.defaults]\n'
        'description = "west"\n'
    )
    (tmp_path / "m.jsonl").write_bytes(numbered(4))

    done = provisioner("apply", "m.jsonl", "--local", "-c", "c.toml", "--output", "json", cwd=tmp_path)

    summary = json.loads(done.stdout)
    assert done.returncode == 0
    assert summary["manifest"]["lines"] == 4
    assert {name: target["outcomes"]["created"] for name, target in summary["targets"].items()} == {
        "east": 4,
        "west": 4,
    }
    rows = [json.loads(line) for line in provisioner("export", cwd=tmp_path).stdout.splitlines()]
    assert {(row["target"], row["arn"].split(":")[3]) for row in rows} == {("east", "us-east-1"), ("west", "us-west-2")}


def test_a_target_that_moved_is_refused(tmp_path: Path, endpoint: Endpoint) -> None:
    """A target is one account and Region: the same name in another Region ends with 78, and nothing is sent."""
    applied(tmp_path, endpoint, "-", stdin=numbered(2))
    (tmp_path / "c.toml").write_text('[targets.default]\nregion = "eu-west-1"\n')

    code, summary = applied(tmp_path, endpoint, "-", "-c", "c.toml", stdin=numbered(3))

    assert (code, summary["calls"]["create"]) == (78, 0)
    assert "us-east-1" in summary["targets"]["default"]["halted"]


def test_reconcile_counts_the_open_entries_of_all_targets(tmp_path: Path, endpoint: Endpoint) -> None:
    """What is still open stands in the totals of the summary as it does in each target, until nothing is."""
    targets = "".join(
        f"[targets.{name}]\nregion = '{region}'\nendpoint_url = '{endpoint.url}'\n"
        for name, region in [("east", "us-east-1"), ("west", "us-west-2")]
    )
    (tmp_path / "early.toml").write_text(f"[run]\ndeadline = '1s'\n{targets}")
    (tmp_path / "due.toml").write_text(f"[reconcile]\nsettle = '1s'\nlist_lag = '0s'\n{targets}")
    (tmp_path / "m.jsonl").write_bytes(numbered(2))
    endpoint.change(lost_reply=1.0)
    provisioner("apply", "m.jsonl", "-c", "due.toml", "--no-wait", cwd=tmp_path)

    early = provisioner("reconcile", "-c", "early.toml", "--output", "json", cwd=tmp_path)
    due = provisioner("reconcile", "-c", "due.toml", "--output", "json", cwd=tmp_path)

    first, later = json.loads(early.stdout), json.loads(due.stdout)
    assert (early.returncode, first["open"]) == (75, 4)
    assert [target["open"] for target in first["targets"].values()] == [2, 2]
    assert (due.returncode, later.get("open", 0)) == (0, 0)
    assert [target["resolved"] for target in later["targets"].values()] == [{"recovered": 2}, {"recovered": 2}]


def test_what_is_missing_is_created_again_when_asked_for(tmp_path: Path) -> None:
    """Verify finds what is gone, exit 3; with --mark-missing the next apply creates it again."""
    (tmp_path / "m.jsonl").write_bytes(numbered(3))
    (tmp_path / "provisioner.toml").write_text(QUICK)
    provisioner("apply", "m.jsonl", "--local", cwd=tmp_path)
    for state in tmp_path.glob("ledger.db.local*"):
        state.unlink()

    unchanged = provisioner("apply", "m.jsonl", "--local", cwd=tmp_path)
    time.sleep(0.5)  # the settle time: what is so new may only lag
    marked = provisioner("verify", "--local", "--mark-missing", cwd=tmp_path)
    again = provisioner("apply", "m.jsonl", "--local", cwd=tmp_path)
    verified = provisioner("verify", "--local", cwd=tmp_path)

    assert "3 unchanged" in unchanged.stdout
    kinds = [line.split()[0] for line in marked.stdout.splitlines()]
    assert (marked.returncode, kinds.count("missing")) == (3, 3)
    assert marked.stdout.count("but it is gone from AWS; `apply` creates it again, marked\n") == 3
    assert (again.returncode, "3 created" in again.stdout) == (0, True)
    assert verified.returncode == 0


@pytest.mark.parametrize("command", ["verify", "reconcile", "status", "export"])
def test_a_ledger_that_is_not_there_is_not_made(tmp_path: Path, command: str) -> None:
    """Only what registers makes a ledger: a misspelt path is an error for everybody else."""
    local = ["--local"] if command in {"verify", "reconcile"} else []

    done = provisioner(command, *local, "--ledger", "none.db", cwd=tmp_path)

    assert done.returncode == 74
    assert "there is no ledger here" in done.stdout + done.stderr
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize(
    ("redirection", "code"), [(">&-", 74), ("2>&-", 0), (">&- 2>&- <&-", 74), (">/dev/full", 74), ("| head -c 1", 0)]
)
def test_no_state_of_the_standard_streams_harms_a_run(tmp_path: Path, redirection: str, code: int) -> None:
    """Everything is registered in each case; a stdout that is closed or full ends with 74."""
    (tmp_path / "m.jsonl").write_bytes(numbered(2))
    line = f"set -o pipefail; {executable()} apply m.jsonl --local {redirection}"

    done = subprocess.run(["/bin/bash", "-c", line], cwd=tmp_path, env=environment(), capture_output=True, check=False)

    assert done.returncode == code, done.stderr
    assert len(json.loads(provisioner("export", "--format", "json", cwd=tmp_path).stdout)) == 2


def test_wrong_use_is_one_json_object_too(tmp_path: Path) -> None:
    """With --output json a wrong option gives the one object as well, exit 2."""
    done = provisioner("apply", "m.jsonl", "--output", "json", "--frobnicate", cwd=tmp_path)

    assert (done.returncode, json.loads(done.stdout)["exit_code"]) == (2, 2)
