"""Every hour from Airflow (3.0 or later): one task for each target, mapped, ten at a time.

The workers have the command (`pip install cleanrooms_provisioner-0.1.0-py3-none-any.whl[postgres]`), the manifest and a
configuration that names the targets. All tasks share one ledger in PostgreSQL, where each leases its target. Its URL is
the Airflow variable ``provisioner_ledger``, a secret.

An exit code of the command decides what becomes of a task: 5, 6, 75 and 130 are tried again, since the next try goes on
where the last one stopped; every other code but 0 fails the task at once, since it needs somebody.
"""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime, timedelta

from airflow.sdk import Variable, dag, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException

TARGETS = ["prod-us", "prod-eu"]
MANIFEST = "/srv/algorithms/definitions.jsonl"
CONFIGURATION = "/srv/algorithms/provisioner.toml"
AGAIN = {5, 6, 75, 130}
DRAIN_S = 40
"""The run drains within 25 s of SIGTERM."""


@dag(
    schedule="7 * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["clean-rooms-ml"],
)
def provisioner() -> None:
    """Register AWS Clean Rooms ML algorithms."""

    @task(
        retries=3,
        retry_delay=timedelta(minutes=5),
        execution_timeout=timedelta(minutes=55),
        max_active_tis_per_dagrun=10,
        map_index_template="{{ target }}",
    )
    def apply(target: str) -> None:
        """Register the manifest in one target."""
        command = ["provisioner", "apply", MANIFEST, "--config", CONFIGURATION, "--target", target, "--deadline", "50m"]
        process = subprocess.Popen(
            command, env={**os.environ, "PROVISIONER_LEDGER": Variable.get("provisioner_ledger")}
        )
        try:
            code = process.wait()
        except BaseException:
            # The task is being ended: let the run drain, so that nothing stays unanswered that need not.
            process.terminate()
            try:
                process.wait(DRAIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            raise
        if code in AGAIN:
            raise AirflowException(f"{target}: provisioner ended with {code}, and is started again")
        if code:
            raise AirflowFailException(f"{target}: provisioner ended with {code}: see `provisioner explain {code}`")

    apply.expand(target=TARGETS)


provisioner()
