"""configs/schedule/: the examples for systemd, cron and Kubernetes are valid, and what they start works."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml  # type: ignore[import-untyped]  # moto needs it

from provisioner.exit_codes import ExitCode
from tests.definition_lines import manifest_of
from tests.e2e.process import ROOT, provisioner

FOLDER = ROOT / "configs" / "schedule"
AGAIN = {ExitCode.AMBIGUOUS, ExitCode.LOCKED, ExitCode.UNFINISHED}
"""Codes after which the next run does what is left, without anybody's help."""
ON_REQUEST = {ExitCode.DONE, ExitCode.CHANGED}
"""Codes that are no failures."""


class Job(NamedTuple):
    """What a scheduler starts: the arguments of the program, and variables."""

    arguments: list[str]
    variables: dict[str, str]


def unit() -> list[tuple[str, str]]:
    """Keys and values of the service, in order; a key may be repeated."""
    lines = (FOLDER / "provisioner.service").read_text().splitlines()
    return [(key, value) for key, _, value in (line.partition("=") for line in lines if re.match(r"[A-Z]\w+=", line))]


def container() -> Any:
    """The container of the CronJob."""
    (found,) = cronjob()["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    return found


def cronjob() -> Any:
    """The CronJob."""
    return yaml.safe_load((FOLDER / "cronjob.yaml").read_text())


def of_systemd() -> Job:
    """The job of the service."""
    words = shlex.split(dict(unit())["ExecStart"])
    assert words[:2] == ["/usr/bin/env", "provisioner"]
    variables = (value.partition("=") for key, value in unit() if key == "Environment")
    return Job(words[2:], {name: value for name, _, value in variables})


def of_cron() -> Job:
    """The job of the line for cron."""
    *variables, line = [
        line for line in (FOLDER / "provisioner.cron").read_text().splitlines() if line and not line.startswith("#")
    ]
    fields = line.split()
    assert all(re.fullmatch(r"\*|[0-9]+", field) for field in fields[:5])
    assert fields[5:7] == ["provisioner", "provisioner"]  # the user and the command
    assert "%" not in line  # cron reads it as a line break
    return Job(fields[7:], {name: value for name, _, value in (one.partition("=") for one in variables)})


def of_kubernetes() -> Job:
    """The job of the CronJob."""
    words = container()["args"]
    assert words[0] == "provisioner"
    return Job(words[1:], {one["name"]: one["value"] for one in container()["env"] if "value" in one})


@pytest.mark.parametrize("job", [of_systemd, of_cron, of_kubernetes], ids=lambda job: job.__name__)
def test_what_is_started_works(tmp_path: Path, job: Any) -> None:
    """The command with its variables registers a manifest; ledger and summary are where the example says."""
    (tmp_path / "definitions.jsonl").write_bytes(manifest_of("a", "b"))

    def here(text: str) -> str:
        return re.sub(r"^/(var/lib/provisioner|srv/algorithms|manifest|ledger)(?=/)", str(tmp_path), text)

    arguments, variables = job()
    wanted: dict[str, Any] = {name: here(value) for name, value in variables.items() if name.startswith("PROVISIONER_")}
    done = provisioner(*map(here, arguments), cwd=tmp_path, PROVISIONER_LOCAL="1", **wanted)

    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "summary.json").read_text())["outcomes"]["created"] == 2
    assert (tmp_path / "ledger.db").is_file()
    assert ("--quiet" in arguments) == (done.stdout + done.stderr == "")


@pytest.mark.parametrize("name", ["provisioner.service", "provisioner.timer"])
def test_systemd_accepts_the_units(name: str) -> None:
    """Systemd itself finds nothing wrong with them."""
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("NOT TESTED: the units, because systemd-analyze is not installed here")

    done = subprocess.run([verify, "verify", FOLDER / name], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_kubernetes_accepts_the_cronjob() -> None:
    """The CronJob fits the schema of the API, unknown fields included."""
    validate = Path(sys.executable).with_name("kubernetes-validate")

    done = subprocess.run(
        [validate, "--strict", "-k", "1.31", FOLDER / "cronjob.yaml"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_systemd_takes_for_a_success_what_the_next_run_finishes() -> None:
    """SuccessExitStatus has the codes that need nobody, and no other."""
    codes = {int(code) for code in dict(unit())["SuccessExitStatus"].split()}

    assert codes == (AGAIN | ON_REQUEST) - {ExitCode.DONE}


def test_kubernetes_has_a_rule_for_every_code() -> None:
    """Each exit code is started again or fails the job at once, in one rule only; 10 needs an option to occur."""
    spec = cronjob()["spec"]["jobTemplate"]["spec"]
    rules = {
        rule["action"]: rule.get("onExitCodes", {}).get("values", []) for rule in spec["podFailurePolicy"]["rules"]
    }

    assert set(rules["Count"]) == AGAIN | {ExitCode.INTERRUPTED}
    assert sorted([*rules["Count"], *rules["FailJob"]]) == sorted(set(ExitCode) - ON_REQUEST)
    assert all(
        rule["onExitCodes"]["containerName"] == container()["name"]
        for rule in spec["podFailurePolicy"]["rules"]
        if "onExitCodes" in rule
    )
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # what a podFailurePolicy needs


def test_every_scheduler_waits_for_the_drain() -> None:
    """None kills a run within the 25 seconds that it may take after a signal."""
    pod = cronjob()["spec"]["jobTemplate"]["spec"]["template"]["spec"]

    assert pod["terminationGracePeriodSeconds"] > 25
    assert int(dict(unit())["TimeoutStopSec"].removesuffix("s")) > 25
