"""Manifests, plans and results in S3, through the real process and a real S3 on this machine."""

from __future__ import annotations

import gzip
import json
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.definition_lines import manifest_of
from tests.e2e.process import Endpoint, provisioner
from tests.s3 import BUCKET, Store, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    """One S3 for all tests."""
    with running() as opened:
        yield opened


def test_a_batch_whose_files_are_all_in_s3(store: Store, endpoint: Endpoint, tmp_path: Path) -> None:
    """Plan, apply, verify and export work with S3 as with files; nothing but the ledger is on disk."""
    run = partial(provisioner, cwd=tmp_path, AWS_ENDPOINT_URL_S3=store.environment()["AWS_ENDPOINT_URL_S3"])
    there = ("--endpoint-url", endpoint.url, "--ledger", "l.db")
    manifest = store.put("m.jsonl.gz", gzip.compress(manifest_of("a", "b")))
    planned = run("plan", manifest, "-o", f"s3://{BUCKET}/plan", *there)
    summary = f"s3://{BUCKET}/summary.json"
    applied = run("apply", "--plan", f"s3://{BUCKET}/plan", "--summary-file", summary, *there)
    again = run("apply", manifest, "--output", "json", *there)
    verified = run("verify", manifest, store.put("more.jsonl", manifest_of("c")), *there)
    exported = run("export", "--ledger", "l.db", "--out", f"s3://{BUCKET}/arns.csv", "--format", "csv")

    assert [one.returncode for one in (planned, applied, again, exported)] == [0, 0, 0, 0], applied.stderr
    assert (verified.returncode, f"default: c: s3://{BUCKET}/more.jsonl:1: it is not" in verified.stdout) == (3, True)
    assert json.loads(store.get("summary.json"))["outcomes"]["created"] == 2
    assert json.loads(again.stdout)["outcomes"]["unchanged"] == 2
    assert [line.split(b",")[1] for line in store.get("arns.csv").splitlines()] == [b"name", b"a", b"b"]
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith("l.db")]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("validate", "s3://nowhere/m.jsonl"),
            2,
            "provisioner: s3://nowhere/m.jsonl: there is no such bucket. Check its name",
        ),
        (
            ("validate", f"s3://{BUCKET}/*.jsonl"),
            2,
            "there is no such object. Check its key; patterns are not expanded",
        ),
        (("status", "--ledger", f"s3://{BUCKET}/ledger.db"), 2, "a ledger cannot be in S3"),
        (
            ("validate", f"s3://{BUCKET}/folder/"),
            2,
            "this does not name an object in S3. Name one object: s3://BUCKET/KEY",
        ),
        (
            ("validate", f"s3://{BUCKET}/list.json"),
            65,
            f"aws s3 cp s3://{BUCKET}/list.json - | jq -c '.[]' > list.conv",
        ),
        (("apply", "--local", f"s3://{BUCKET}/m.jsonl"), 2, "--local calls nothing but the embedded endpoint"),
        (
            ("discover", "--endpoint-url", "http://localhost:9", "--out", f"s3://{BUCKET}/list.json"),
            2,
            "the object exists already",
        ),
        (("apply", "--local", f"s3://{BUCKET}/m", "--summary-file", f"s3://{BUCKET}/m"), 2, "this is the manifest"),
        (("apply", "--local", "m", "--log-file", f"s3://{BUCKET}/log"), 2, "a log is appended to"),
    ],
)
def test_what_is_wrong_with_a_name_is_said(
    store: Store, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    """A name that cannot be used ends the command as the same mistake with a file does, and says what to type."""
    store.put("list.json", b'[\n  {\n    "name": "a"\n  }\n]\n')
    done = provisioner(*arguments, cwd=tmp_path, AWS_ENDPOINT_URL_S3=store.environment()["AWS_ENDPOINT_URL_S3"])

    assert done.returncode == code
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
