"""Definitions as they are in life: the images, sizes and names of configs/example.jsonl, numbered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

EXAMPLES: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).resolve().parents[2] / "configs" / "example.jsonl").read_text("utf-8").splitlines()
]


def definition(number: int) -> dict[str, Any]:
    """The parameters of one create, 0.8 KB as JSON; neighbours have names of different images."""
    example = EXAMPLES[number % len(EXAMPLES)]
    return example | {"name": f"{example['name']} {number:08d}"}


def write_manifest(path: Path, count: int) -> None:
    """``count`` definitions, one a line."""
    with path.open("w") as file:
        for number in range(count):
            file.write(json.dumps(definition(number)) + "\n")
