"""`verify` and `rebuild` read an account by List and GetResources; through the real process and over HTTP."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.process import Endpoint, provisioner
from tests.emulator.support import client
from tests.faults.world import ledger_id_of

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

ROLE = "arn:aws:iam::123456789012:role/access"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/a:1"
METRICS = [{"name": f"m{number}", "regex": f"m{number}=(.*)"} for number in range(5)]


class Account:
    """A ledger with ``count`` created algorithms, whose target has the tagging API."""

    def __init__(self, folder: Path, endpoint: Endpoint, count: int) -> None:
        self.folder = folder
        self.endpoint = endpoint
        url = endpoint.url
        self.configure(f"endpoint_url = '{url}'", f"tagging_endpoint_url = '{url}'")
        lines = [
            {
                "name": f"n{number}",
                "roleArn": ROLE,
                "tags": {"team": "ads"},
                "trainingContainerConfig": {"imageUri": IMAGE, "metricDefinitions": METRICS},
            }
            for number in range(count)
        ]
        (folder / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert self.run("apply", "m.jsonl").returncode == 0
        self.cleanrooms = client(url)

    def configure(self, *target: str) -> None:
        """Write the configuration, with these lines for the target."""
        lines = ["[pace]", "initial_rate = 1000.0", "[targets.here]", *target]
        (self.folder / "c.toml").write_text("\n".join(lines))

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """The command, with its result as JSON."""
        return provisioner(*arguments, "-c", "c.toml", "--output", "json", cwd=self.folder)

    def verify(self, *arguments: object) -> tuple[int, list[tuple[str, str]], dict[str, int]]:
        """Exit code, kind and name of each finding, and the calls that were made."""
        done = self.run("verify", *arguments)
        told = json.loads(done.stdout)
        findings = [(finding["kind"], finding["name"]) for finding in told["findings"]]
        return done.returncode, findings, {kind: number for kind, number in told["calls"].items() if number}

    def rebuild(self) -> tuple[int, dict[str, Any]]:
        """Lose the ledger and rebuild it; exit code and summary."""
        identity = ledger_id_of(self.folder / "ledger.db")
        for file in self.folder.glob("ledger.db*"):
            file.unlink()
        done = self.run("rebuild", "--ledger-id", identity)
        return done.returncode, json.loads(done.stdout)

    @property
    def arns(self) -> dict[str, str]:
        """By name, what exists."""
        return {one["name"]: one["arn"] for one in self.endpoint.truth()["algorithms"]}

    def delete(self, name: str) -> None:
        """Delete one behind the ledger's back."""
        self.cleanrooms.delete_configured_model_algorithm(configuredModelAlgorithmArn=self.arns[name])


def test_no_get_where_nothing_differs(tmp_path: Path, endpoint: Endpoint) -> None:
    """250 algorithms are verified with three List and three GetResources, and a lost ledger is rebuilt with as many."""
    account = Account(tmp_path, endpoint, 250)

    assert account.verify() == (0, [], {"list": 3, "get_resources": 3})

    code, told = account.rebuild()

    assert (code, told["calls"]["list"], told["calls"]["get_resources"], told["calls"]["get"]) == (0, 3, 3, 0)
    assert account.verify() == (0, [], {"list": 3, "get_resources": 3})
    assert json.loads(account.run("apply", "m.jsonl").stdout)["outcomes"]["unchanged"] == 250


def test_without_the_permission_get_does_the_work(tmp_path: Path, endpoint: Endpoint) -> None:
    """A denied GetResources is one warning, which says what it costs; verify finds the same and ends with 0."""
    account = Account(tmp_path, endpoint, 40)
    endpoint.change(denied_actions=["tag:GetResources"])

    done = account.run("verify")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["calls"]["get"] == 40
    assert done.stderr.count("GetResources is denied") == 1
    assert "a hundred calls in place of one" in done.stderr


def test_a_rebuild_leaves_out_nothing(tmp_path: Path, endpoint: Endpoint) -> None:
    """What GetResources does not show is read with Get."""
    account = Account(tmp_path, endpoint, 20)
    endpoint.change(tagging_omissions=0.4)

    code, told = account.rebuild()

    assert (code, told["targets"]["here"]["resolved"]) == (0, {"rebuilt": 20})
    assert 0 < told["calls"]["get"] < 20


def test_a_rebuild_asks_get_which_of_two_exist(tmp_path: Path, endpoint: Endpoint) -> None:
    """Two of one name are read, not more; while List still shows one that is gone, no ledger is made."""
    account = Account(tmp_path, endpoint, 20)
    endpoint.change(names="duplicates", list_delete_lag=3600.0, tagging_ghosts=1.0)
    tags = account.cleanrooms.get_configured_model_algorithm(configuredModelAlgorithmArn=account.arns["n3"])["tags"]
    account.cleanrooms.create_configured_model_algorithm(name="n3", roleArn=ROLE, tags=tags)

    code, told = account.rebuild()
    account.delete("n3")
    lagging, refused = account.rebuild()

    assert (code, told["targets"]["here"]["resolved"], told["calls"]["get"]) == (5, {"rebuilt": 20}, 2)
    assert [problem["code"] for problem in told["problems"]] == ["duplicate"]
    assert (lagging, refused["calls"]["get"]) == (75, 2)
    assert not (tmp_path / "ledger.db").exists()


@pytest.mark.parametrize("switches", [{"tagging_lag": 3600.0}, {"tagging_omissions": 1.0}, {"tagging_omissions": 0.4}])
def test_an_index_with_gaps_makes_no_finding(tmp_path: Path, endpoint: Endpoint, switches: dict[str, Any]) -> None:
    """What it does not show (yet), Get does; nothing is missing for it."""
    account = Account(tmp_path, endpoint, 40)
    endpoint.change(**switches)

    code, findings, calls = account.verify()

    assert (code, findings) == (0, [])
    assert 0 < calls["get"] <= 40


def test_a_difference_is_found_and_proven(tmp_path: Path, endpoint: Endpoint) -> None:
    """One deleted that is still in the index, and one whose tags were changed: two Gets, two findings."""
    account = Account(tmp_path, endpoint, 40)
    endpoint.change(tagging_ghosts=1.0)
    account.delete("n7")
    account.cleanrooms.tag_resource(resourceArn=account.arns["n8"], tags={"team": "other"})

    code, findings, calls = account.verify()

    assert (code, sorted(findings)) == (3, [("drifted", "n8"), ("missing", "n7")])
    assert calls == {"list": 1, "get_resources": 1, "get": 2}


def test_metrics_in_another_order_are_no_drift(tmp_path: Path, endpoint: Endpoint) -> None:
    """The service may return metricDefinitions in any order: verify compares them as a set."""
    account = Account(tmp_path, endpoint, 10)
    endpoint.change(shuffle_metrics=True, denied_actions=["tag:GetResources"])

    assert account.verify() == (0, [], {"list": 1, "get": 10, "get_resources": 1})


def test_an_endpoint_of_ones_own_is_not_asked_for_tags(tmp_path: Path, endpoint: Endpoint) -> None:
    """Without tagging_endpoint_url, nothing but Clean Rooms ML is called."""
    account = Account(tmp_path, endpoint, 10)
    account.configure(f"endpoint_url = '{endpoint.url}'")

    assert account.verify() == (0, [], {"list": 1, "get": 10})
    assert "get_resources" not in endpoint.truth()["calls"]


def test_the_embedded_endpoint_is_asked_for_tags(tmp_path: Path) -> None:
    """With --local, both APIs are on one URL."""
    lines = [json.dumps({"name": f"n{number}", "roleArn": ROLE}) + "\n" for number in range(10)]
    (tmp_path / "m.jsonl").write_text("".join(lines))
    assert provisioner("apply", "m.jsonl", "--local", cwd=tmp_path).returncode == 0

    done = provisioner("verify", "--local", "--output", "json", cwd=tmp_path)

    told = json.loads(done.stdout)
    assert (done.returncode, told["findings"]) == (0, [])
    assert told["calls"] == {
        "create": 0,
        "throttled": 0,
        "list": 1,
        "get": 0,
        "get_resources": 1,
        "tag": 0,
        "delete": 0,
    }
