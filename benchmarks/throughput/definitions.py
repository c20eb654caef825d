"""Definitions of ordinary size, numbered."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

ACCOUNT = "123456789012"

REGISTRY = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"


def definition(number: int) -> dict[str, Any]:
    """The parameters of one create, 0.7 KB as JSON."""
    return {
        "name": f"algorithm {number:08d}",
        "description": f"Churn model of region {number % 12}, trained nightly",
        "roleArn": f"arn:aws:iam::{ACCOUNT}:role/cleanrooms-ml/algorithm-image-access",
        "trainingContainerConfig": {
            "imageUri": f"{REGISTRY}/churn-training:1.{number % 40}",
            "entrypoint": ["python3", "-m", "train"],
            "arguments": ["--epochs", "20", "--lr", "0.001"],
            "metricDefinitions": [{"name": "loss", "regex": "loss=([0-9.]+)"}],
        },
        "inferenceContainerConfig": {"imageUri": f"{REGISTRY}/churn-inference:1.{number % 40}"},
        "tags": {"team": "ads", "stage": "prod", "cost-center": "ads/lookalike"},
    }


def write_manifest(path: Path, count: int) -> None:
    """``count`` definitions, one a line."""
    with path.open("w") as file:
        for number in range(count):
            file.write(json.dumps(definition(number)) + "\n")
