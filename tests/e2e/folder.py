"""A folder in which commands are run against one endpoint."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3

from tests.definition_lines import manifest_of
from tests.e2e.process import Endpoint, environment, provisioner

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

QUIET = ("--log-level", "error")
QUICK = "[reconcile]\nsettle = '500ms'\nlist_lag = '100ms'\n"
"""A settle time that a test can wait for."""


class Folder:
    """A folder with a manifest, and an endpoint that all commands in it use."""

    def __init__(self, path: Path, endpoint: Endpoint, *names: str, config: str = QUICK) -> None:
        self.path = path
        self.endpoint = endpoint
        (path / "m.jsonl").write_bytes(manifest_of(*names))
        (path / "provisioner.toml").write_text(config)

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command that calls AWS; it must end with ``code``."""
        done = provisioner(*arguments, "--endpoint-url", self.endpoint.url, *QUIET, cwd=self.path)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def json(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """The result of such a command."""
        result: dict[str, Any] = json.loads(self.run(*arguments, "--output", "json", code=code).stdout)
        assert result["exit_code"] == code
        return result

    def ledger_id(self, ledger: str) -> str:
        """The id of a ledger in this folder."""
        done = provisioner("status", "-l", ledger, "--output", "json", cwd=self.path)
        found: str = json.loads(done.stdout)["ledger_id"]
        return found

    def there(self) -> list[dict[str, Any]]:
        """The algorithms that exist in AWS."""
        return [one for one in self.endpoint.truth()["algorithms"] if one["deleted_at"] is None]

    def alive(self) -> list[str]:
        """The names that exist in AWS."""
        return sorted(one["name"] for one in self.there())

    def deletes(self) -> int:
        """Delete calls that were answered."""
        return sum(self.endpoint.truth()["calls"].get("delete", {}).values())


def client(endpoint: Endpoint) -> Any:
    """Somebody else in the account."""
    keys = environment()
    return boto3.client(
        "cleanroomsml",
        region_name="us-east-1",
        endpoint_url=endpoint.url,
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=keys.get("AWS_SESSION_TOKEN"),
    )
