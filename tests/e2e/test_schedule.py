"""configs/schedule/ and the Containerfile: what each example starts works, and it treats exit codes as it should.

Whether a scheduler accepts its example is asked of a tool that knows the format; `make check-schedules` runs those.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml  # moto needs it

from provisioner.exit_codes import ExitCode
from tests.definition_lines import manifest_of
from tests.e2e.process import ROOT, executable, provisioner
from tests.missing import missing
from tests.postgres import fresh_ledger

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = ROOT / "configs" / "schedule"
AGAIN = {ExitCode.AMBIGUOUS, ExitCode.LOCKED, ExitCode.UNFINISHED}
"""Codes after which the next run does what is left, without anybody's help."""
ON_REQUEST = {ExitCode.DONE, ExitCode.CHANGED}
"""Codes that are no failures."""
DRAIN_S = 25
"""A run may take so long after a signal."""
LIMIT_S = 60


class Job(NamedTuple):
    """What a scheduler starts: the arguments of the program, and variables."""

    arguments: list[str]
    variables: dict[str, str]


class _Template(yaml.SafeLoader):  # type: ignore[misc]  # Any to mypy
    """Reads a template of CloudFormation; what its functions would return is their argument."""


def _argument(loader: yaml.SafeLoader, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    return loader.construct_sequence(node) if isinstance(node, yaml.SequenceNode) else None


_Template.add_multi_constructor("!", _argument)


def read(name: str) -> Any:
    """The example of that name."""
    return yaml.load((FOLDER / name).read_text(), Loader=_Template)  # noqa: S506  a subclass of the safe one


def unit() -> list[tuple[str, str]]:
    """Keys and values of the service, in order; a key may be repeated."""
    lines = (FOLDER / "provisioner.service").read_text().splitlines()
    return [(key, value) for key, _, value in (line.partition("=") for line in lines if re.match(r"[A-Z]\w+=", line))]


def job_of(name: str) -> Any:
    """The spec of the Job of a CronJob."""
    return read(name)["spec"]["jobTemplate"]["spec"]


def pod_of(name: str) -> Any:
    """The spec of its pods."""
    return job_of(name)["template"]["spec"]


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


def of_kubernetes(name: str = "cronjob.yaml") -> Job:
    """The job of the CronJob."""
    (container,) = pod_of(name)["containers"]
    return Job(container["args"], {one["name"]: one["value"] for one in container["env"] if "value" in one})


def of_indexed_job() -> Job:
    """The job of one pod of the Indexed Job."""
    arguments, variables = of_kubernetes("indexed-job.yaml")
    return Job(arguments, {**variables, "PROVISIONER_APPLY_JOB": "provisioner-targets-29402347"})


def of_ecs() -> Job:
    """The job of the ECS task."""
    (container,) = read("ecs.yaml")["Resources"]["Task"]["Properties"]["ContainerDefinitions"]
    return Job(container["Command"], {one["Name"]: one["Value"] for one in container["Environment"]})


def of_batch() -> Job:
    """The job of one child of the array."""
    container = read("batch.yaml")["Resources"]["Job"]["Properties"]["ContainerProperties"]
    variables = {one["Name"]: one["Value"] for one in container["Environment"]}
    return Job(container["Command"], variables)


def states() -> Any:
    """What the state machine does for one target."""
    return read("step-functions.asl.json")["States"]["EachTarget"]["ItemProcessor"]["States"]


def of_step_functions() -> Job:
    """The job of one item of the map."""
    (override,) = states()["Apply"]["Parameters"]["Overrides"]["ContainerOverrides"]
    words = re.findall(r"'([^']*)'|(\$\.target)", override["Command.$"])
    return Job([word or "prod-us" for word, _ in words], {})


def of_airflow() -> Job:
    """The job of one mapped task."""
    started: list[Job] = []

    def start(command: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        started.append(Job(command[1:], {"PROVISIONER_LEDGER": env["PROVISIONER_LEDGER"]}))
        return subprocess_of("exit 0")

    Airflow(start).run()
    return started[0]


def of_github() -> Job:
    """The job of the workflow's last step."""
    step = read("github-actions.yml")["jobs"]["apply"]["steps"][-1]
    (line,) = re.findall(r"^provisioner (.*) \|\| code=\$\?$", step["run"], re.MULTILINE)
    return Job(shlex.split(line), {name: value for name, value in step["env"].items() if "${{" not in value})


JOBS = (
    of_systemd,
    of_kubernetes,
    of_indexed_job,
    of_ecs,
    of_batch,
    of_step_functions,
    of_airflow,
    of_github,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with what the examples name: a manifest, and the configuration of the targets."""
    (tmp_path / "definitions.jsonl").write_bytes(manifest_of("a", "b"))
    targets = {"prod-us": "us-east-1", "prod-eu": "eu-west-1"}
    (tmp_path / "provisioner.toml").write_text(
        "".join(f"[targets.{name}]\nregion = '{region}'\n" for name, region in targets.items())
    )
    return tmp_path


def put(folder: Path, text: str) -> str:
    """``text`` with the paths of an example in ``folder``."""
    return re.sub(r"^/(var/lib/provisioner|srv/algorithms|manifest|ledger)(?=/)", str(folder), text)


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.__name__)
def test_what_is_started_works(folder: Path, job: Callable[[], Job]) -> None:
    """The command with its variables registers the manifest; ledger and summary are where the example says."""
    arguments, variables = job()
    wanted: dict[str, Any] = {name: put(folder, value) for name, value in variables.items()}
    in_file = str(folder / "ledger.db")
    # The workers of a job need a database.
    ledger = fresh_ledger().url if job in {of_batch, of_indexed_job} else in_file
    wanted |= {"PROVISIONER_LEDGER": ledger, "PROVISIONER_LOCAL": "1"}
    done = provisioner(*(put(folder, word) for word in arguments), cwd=folder, **wanted)

    assert done.returncode == 0, done.stderr
    assert (folder / "ledger.db").is_file() == (ledger == in_file)
    if any("SUMMARY_FILE" in name for name in variables):
        assert json.loads((folder / "summary.json").read_text())["outcomes"]["created"] >= 2
    if "PROVISIONER_LEDGER" in variables and job is not of_airflow:
        assert put(folder, variables["PROVISIONER_LEDGER"]) == str(folder / "ledger.db")
    assert ("--quiet" in arguments) == (done.stdout + done.stderr == "")


def test_the_line_of_cron_works_without_an_environment(folder: Path) -> None:
    """With the variables of the file, the few that cron sets, and nothing else; it prints nothing."""
    arguments, variables = of_cron()
    bin_folder = executable().parent
    own = [f"{name}={put(folder, value)}" for name, value in variables.items() if name != "PATH"]
    # The endpoint that stands for AWS, and its keys, are what a user has in the profile.
    own += ["PROVISIONER_LOCAL=1", f"PATH={bin_folder}:{variables['PATH']}", f"HOME={folder}", "LOGNAME=provisioner"]
    line = shlex.join(["provisioner", *(put(folder, word) for word in arguments)])
    done = subprocess.run(
        ["/usr/bin/env", "-i", *own, variables["SHELL"], "-c", line],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert json.loads((folder / "summary.json").read_text())["outcomes"]["created"] == 4


class Airflow:
    """A stand-in for the few names of Airflow that the example uses: it runs the tasks when the DAG is made.

    Args:
        start: in place of ``subprocess.Popen``.
    """

    class Error(Exception):
        """Tried again."""

    class FailError(Error):
        """Not tried again."""

    def __init__(self, start: Callable[..., subprocess.Popen[bytes]]) -> None:
        self._start = start
        self.targets: list[str] = []

    def run(self) -> None:
        """Import the example, whose last line makes the DAG."""
        sdk, exceptions = types.ModuleType("airflow.sdk"), types.ModuleType("airflow.sdk.exceptions")
        sdk.__dict__.update(dag=self._dag, task=self._task, Variable=types.SimpleNamespace(get=lambda name: name))
        exceptions.__dict__.update(AirflowException=self.Error, AirflowFailException=self.FailError)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "airflow.sdk", sdk)
            patch.setitem(sys.modules, "airflow.sdk.exceptions", exceptions)
            patch.setattr(subprocess, "Popen", self._start)
            runpy.run_path(str(FOLDER / "airflow_dag.py"))

    def _dag(self, **_options: object) -> Callable[[Any], Any]:
        return lambda function: function

    def _task(self, **options: object) -> Callable[[Any], Any]:
        assert options["retries"]

        def decorated(function: Callable[[str], None]) -> Any:
            return types.SimpleNamespace(expand=lambda target: self._do(function, target[0]))

        return decorated

    def _do(self, function: Callable[[str], None], target: str) -> None:
        self.targets.append(target)
        function(target)


def airflow_tries_again(code: int) -> bool:
    """Whether Airflow starts the job again after this code; it fails at once otherwise."""
    with pytest.raises(Airflow.Error) as raised:
        Airflow(lambda *_, **__: subprocess_of(f"exit {code}")).run()
    return not isinstance(raised.value, Airflow.FailError)


_popen = subprocess.Popen


def subprocess_of(script: str) -> subprocess.Popen[bytes]:
    """A shell that runs ``script``."""
    return _popen(["/bin/sh", "-c", script])


def github_fails(code: int, folder: Path) -> bool:
    """Whether the workflow's last step fails after this code, with the code."""
    command = folder / "provisioner"
    command.write_text(f"#!/bin/sh\nexit {code}\n")
    command.chmod(0o700)
    script = read("github-actions.yml")["jobs"]["apply"]["steps"][-1]["run"]
    done = _popen(["/bin/bash", "-e", "-c", script], env={"PATH": f"{folder}:{os.defpath}"}, stdout=subprocess.PIPE)
    said, _ = done.communicate(timeout=LIMIT_S)
    assert (b"::warning::" in said) == (code in AGAIN)
    assert done.returncode in {0, code}
    return bool(done.returncode)


def test_systemd_takes_for_a_success_what_the_next_run_finishes() -> None:
    """SuccessExitStatus has the codes that need nobody, and no other."""
    codes = {int(code) for code in dict(unit())["SuccessExitStatus"].split()}

    assert codes == (AGAIN | ON_REQUEST) - {ExitCode.DONE}


@pytest.mark.parametrize(("name", "fails"), [("cronjob.yaml", "FailJob"), ("indexed-job.yaml", "FailIndex")])
def test_kubernetes_has_a_rule_for_every_code(name: str, fails: str) -> None:
    """Each exit code is started again or fails at once, in one rule only; 10 needs an option to occur."""
    (container,), rules = pod_of(name)["containers"], job_of(name)["podFailurePolicy"]["rules"]
    codes = {rule["action"]: rule["onExitCodes"]["values"] for rule in rules if "onExitCodes" in rule}

    assert set(codes["Count"]) == AGAIN | {ExitCode.INTERRUPTED}
    assert sorted([*codes["Count"], *codes[fails]]) == sorted(set(ExitCode) - ON_REQUEST)
    assert {rule["onExitCodes"]["containerName"] for rule in rules if "onExitCodes" in rule} == {container["name"]}
    assert pod_of(name)["restartPolicy"] == "Never"  # what a podFailurePolicy needs


def test_the_pods_of_the_indexed_job_are_one_job() -> None:
    """All begin at once, under the name of the Kubernetes job, and one is replaced only when it has ended."""
    job, (container,) = job_of("indexed-job.yaml"), pod_of("indexed-job.yaml")["containers"]
    named = {one["name"]: one["valueFrom"] for one in container["env"] if "valueFrom" in one}

    assert (job["parallelism"], job["podReplacementPolicy"]) == (job["completions"], "Failed")
    assert "job-name" in named["PROVISIONER_APPLY_JOB"]["fieldRef"]["fieldPath"]


def test_workers_on_kubernetes_are_replaced_only_where_that_helps() -> None:
    """The job fails at once for the codes with which every other worker would end too."""
    policy = read("../fleet/job.yaml")["spec"]["podFailurePolicy"]
    (fails,) = [rule["onExitCodes"]["values"] for rule in policy["rules"] if rule["action"] == "FailJob"]

    assert set(fails) == set(ExitCode) - AGAIN - ON_REQUEST - {ExitCode.INTERRUPTED, ExitCode.LEDGER}


def test_the_cluster_of_ray_runs_the_command(tmp_path: Path) -> None:
    """Ray's schema accepts the configuration; the command of its first lines needs nothing but a cluster."""
    text = (ROOT / "configs" / "fleet" / "ray-cluster.yaml").read_text()
    ray = importlib.util.find_spec("ray")
    if ray is None or ray.origin is None:
        missing("Ray is not installed here")
    schema = json.loads((Path(ray.origin).parent / "autoscaler" / "ray-schema.json").read_text())
    importlib.import_module("jsonschema").validate(yaml.safe_load(text), schema)  # Ray needs it
    (shown,) = re.findall(r'^#   ray exec ray-cluster.yaml "provisioner (.*?)"$', text, re.MULTILINE | re.DOTALL)
    words = shlex.split(shown.replace("\\\n#", "").replace("-address auto", "-address 127.0.0.1:1"))
    (tmp_path / "provisioner.toml").write_text('[targets.prod-us]\nregion = "us-east-1"\n')
    done = provisioner(*words, cwd=tmp_path)

    assert done.returncode == ExitCode.CONFIGURATION
    assert "127.0.0.1:1: Ray cannot be used: it does not answer" in done.stdout + done.stderr


def test_batch_starts_again_what_the_next_try_finishes() -> None:
    """The codes that need nobody; and the last rule ends every other one, which Batch would try again otherwise."""
    rules = read("batch.yaml")["Resources"]["Job"]["Properties"]["RetryStrategy"]["EvaluateOnExit"]
    again = {int(rule["OnExitCode"]) for rule in rules if rule["Action"] == "RETRY" and "OnExitCode" in rule}

    assert again == AGAIN
    assert rules[-1] == {"OnExitCode": "*", "Action": "EXIT"}
    assert len(rules) <= 5  # what Batch takes


def test_ecs_raises_an_alarm_for_what_needs_somebody() -> None:
    """The rule matches every code but those that the next run finishes, and a task that never ran."""
    detail = read("ecs.yaml")["Resources"]["Alarm"]["Properties"]["EventPattern"]["detail"]
    ran, never_ran = detail["$or"]

    assert set(ran["containers"]["exitCode"][0]["anything-but"]) == AGAIN | ON_REQUEST | {ExitCode.INTERRUPTED}
    assert never_ran == {"stopCode": ["TaskFailedToStart"]}


def test_ecs_allows_what_apply_needs(tmp_path: Path) -> None:
    """The policy of the task is the one that `iam-policy apply` prints."""
    (policy,) = read("ecs.yaml")["Resources"]["TaskRole"]["Properties"]["Policies"]
    printed = provisioner("iam-policy", "apply", cwd=tmp_path)

    assert policy["PolicyDocument"] == json.loads(printed.stdout)


def test_step_functions_starts_again_what_the_next_try_finishes() -> None:
    """The codes that need nobody, a bounded number of times."""
    (choice,) = states()["WhatNow"]["Choices"]
    bounded, ran, codes = choice["And"]

    assert {code["NumericEquals"] for code in codes["Or"]} == AGAIN | {ExitCode.INTERRUPTED}
    assert (bounded["Variable"], ran["IsPresent"]) == ("$.tries", True)


def test_airflow_starts_again_what_the_next_try_finishes() -> None:
    """The codes that need nobody; every other one fails the task at once."""
    again = {code for code in set(ExitCode) - {ExitCode.DONE} if airflow_tries_again(code)}

    assert again == AGAIN | {ExitCode.INTERRUPTED}


class Ended:
    """A process whose caller is ended while it waits for it for the first time."""

    def __init__(self) -> None:
        self.process = _popen(
            ["/bin/sh", "-c", "trap 'exit 75' TERM; echo ready; while :; do sleep 0.05; done"], stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        with self.process.stdout as said:
            said.readline()
        self.terminate = self.process.terminate
        self._waited = False

    def wait(self, timeout: float | None = None) -> int:
        """As of a process, but the first time."""
        if not self._waited:
            self._waited = True
            raise TimeoutError
        return self.process.wait(timeout)


def test_airflow_lets_a_run_drain() -> None:
    """A task that is ended sends SIGTERM to its run and waits for it, and then ends as it was told to."""
    ended = Ended()
    with pytest.raises(TimeoutError):
        Airflow(lambda *_, **__: ended).run()  # type: ignore[arg-type]  # has what the example uses

    assert ended.process.returncode == ExitCode.UNFINISHED


def test_github_fails_for_what_needs_somebody(tmp_path: Path) -> None:
    """A code that the next run finishes is a warning; every other one is the code of the step."""
    assert {code for code in ExitCode if github_fails(code, tmp_path)} == set(ExitCode) - AGAIN - {ExitCode.DONE}


def test_every_scheduler_waits_for_the_drain() -> None:
    """None kills a run within the time that it may take after a signal."""
    (task,) = read("ecs.yaml")["Resources"]["Task"]["Properties"]["ContainerDefinitions"]

    assert pod_of("cronjob.yaml")["terminationGracePeriodSeconds"] > DRAIN_S
    assert pod_of("indexed-job.yaml")["terminationGracePeriodSeconds"] > DRAIN_S
    assert int(dict(unit())["TimeoutStopSec"].removesuffix("s")) > DRAIN_S
    assert task["StopTimeout"] > DRAIN_S
    assert int(*re.findall(r"^DRAIN_S = (\d+)$", (FOLDER / "airflow_dag.py").read_text(), re.MULTILINE)) > DRAIN_S


def test_the_image_starts_the_command_itself() -> None:
    """It is process 1, without a shell before it that would keep the signals, and not root."""
    lines = (ROOT / "Containerfile").read_text().splitlines()

    assert 'ENTRYPOINT ["provisioner"]' in lines
    assert "STOPSIGNAL SIGTERM" in lines
    assert "USER 65532:65532" in lines
    assert {pod_of(name)["securityContext"]["runAsUser"] for name in ("cronjob.yaml", "indexed-job.yaml")} == {65532}


def test_the_image_is_built_from_all_that_it_needs() -> None:
    """What is copied is let through, and so is what links in the package lead to."""
    let_through = {line[1:] for line in (ROOT / ".containerignore").read_text().splitlines() if line.startswith("!")}
    lines = (ROOT / "Containerfile").read_text().splitlines()
    words = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    copied = {word for line in words for word in line}
    linked = {path.resolve() for path in (ROOT / "provisioner").rglob("*") if path.is_symlink()}

    assert copied == let_through
    assert {path.relative_to(ROOT).as_posix() for path in linked} <= copied


def test_the_page_names_every_example() -> None:
    """docs/schedule.md has a row for each file."""
    page = (ROOT / "docs" / "schedule.md").read_text()

    assert [path.name for path in FOLDER.iterdir() if f"`{path.name}`" not in page and path.is_file()] == []


def tool(name: str, *arguments: object) -> tuple[int, str]:
    """Exit code and output of a tool that the development requirements bring, or the system."""
    beside = Path(sys.executable).with_name(name)
    command = str(beside) if beside.exists() else shutil.which(name)
    if command is None:
        missing(f"{name} is not installed here")
    done = subprocess.run([command, *map(str, arguments)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.schedules
class TestFormats:
    """What the schedulers' own tools say of the examples."""

    @pytest.mark.parametrize("name", ["provisioner.service", "provisioner.timer"])
    def test_systemd_accepts_the_units(self, name: str) -> None:
        """Systemd itself finds nothing wrong with them."""
        assert tool("systemd-analyze", "verify", FOLDER / name) == (0, "")

    def test_systemd_finds_the_service_hardened(self) -> None:
        """What the service could do if it were taken over, from 0 to 10, is "OK" by systemd's scale."""
        service = FOLDER / "provisioner.service"
        code, said = tool("systemd-analyze", "security", "--offline=true", "--threshold=20", service)

        assert code == 0, said

    @pytest.mark.parametrize(
        ("name", "version"), [("cronjob.yaml", "1.31"), ("indexed-job.yaml", "1.33"), ("../fleet/job.yaml", "1.31")]
    )
    def test_kubernetes_accepts_the_jobs(self, name: str, version: str) -> None:
        """They fit the schema of the API, unknown fields included."""
        code, said = tool("kubernetes-validate", "--strict", "-k", version, FOLDER / name)

        assert code == 0, said

    @pytest.mark.parametrize("name", ["ecs.yaml", "batch.yaml"])
    def test_cloudformation_accepts_the_templates(self, name: str) -> None:
        """They fit the schemas of their resources."""
        assert tool("cfn-lint", FOLDER / name) == (0, "")

    def test_step_functions_accepts_the_state_machine(self) -> None:
        """It is valid Amazon States Language."""
        assert tool("statelint", FOLDER / "step-functions.asl.json") == (0, "")

    def test_github_accepts_the_workflow(self) -> None:
        """No finding: pinned actions, least permissions, no secret left behind, nothing to inject."""
        code, said = tool("zizmor", "--offline", FOLDER / "github-actions.yml")

        assert code == 0, said

    def test_the_containerfile_is_sound(self) -> None:
        """No finding of hadolint."""
        assert tool("hadolint", ROOT / "Containerfile") == (0, "")

    def test_airflow_accepts_the_dag(self, tmp_path: Path) -> None:
        """Airflow itself finds one DAG with a mapped task; `make check-airflow` installs it."""
        if (python := os.environ.get("AIRFLOW")) is None:
            pytest.skip("Airflow is large: `make check-airflow` installs it")
        script = f"""
from airflow.dag_processing.dagbag import DagBag
found = DagBag({str(FOLDER / "airflow_dag.py")!r})
assert not found.import_errors, found.import_errors
print(sorted((dag.dag_id, [task.is_mapped for task in dag.tasks]) for dag in found.dags.values()))
"""
        done = subprocess.run(
            [python, "-c", script],
            env={**os.environ, "AIRFLOW_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )

        assert done.stdout.splitlines()[-1:] == ["[('provisioner', [True])]"], done.stdout + done.stderr
