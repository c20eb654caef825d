"""Creates per second that the embedded endpoint serves: with and without signatures, in memory and with a file.

    python -m benchmarks.emulator [--creates 10000] [--connections 32] [--rounds 3]

The endpoint runs in its own process; this one sends the load over loopback, as requests that are signed beforehand, so
the client costs little. The cases take turns, so a slow minute of the machine affects all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from provisioner.emulator import credentials, truth_at

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFINITION = {
    "description": "blazingtext 1 on cpu",
    "roleArn": "arn:aws:iam::123456789012:role/cleanrooms-ml/algorithm-image-access",
    "trainingContainerConfig": {
        "imageUri": "811284229777.dkr.ecr.us-east-1.amazonaws.com/blazingtext:1-cpu",
        "entrypoint": ["python3", "/opt/ml/code/train.py"],
        "arguments": ["--epochs", "10", "--lr", "0.001", "--framework", "blazingtext"],
    },
    "tags": {"framework": "blazingtext", "processor": "cpu", "cost-center": "ads/lookalike"},
}
"""As large as a real definition, about 600 bytes."""

CASES = {
    "signatures verified": ["--verify"],
    "not verified": ["--no-verify"],
    "verified, state file": ["--verify", "--state"],
}


def requests(host: str, count: int) -> list[bytes]:
    """``count`` creates with different names, signed by hand: botocore's signer takes longer than the endpoint."""
    keys = credentials()
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    scope = f"{stamp[:8]}/us-east-1/cleanrooms-ml/aws4_request"
    key = f"AWS4{keys.secret_access_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    made = []
    for number in range(count):
        body = json.dumps({"name": f"benchmark {number}", **DEFINITION}).encode()
        canonical = (
            f"POST\n/configured-model-algorithms\n\nhost:{host}\nx-amz-date:{stamp}\n\nhost;x-amz-date\n"
            f"{sha256(body).hexdigest()}"
        )
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        head = (
            f"POST /configured-model-algorithms HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
            f"X-Amz-Date: {stamp}\r\nAuthorization: AWS4-HMAC-SHA256 Credential={keys.access_key_id}/{scope}, "
            f"SignedHeaders=host;x-amz-date, Signature={signature}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


async def send_all(host: str, made: list[bytes], connections: int) -> float:
    """Sends all requests; returns the seconds until the last response."""
    pending = iter(made)
    address, port = host.split(":")
    before = time.perf_counter()
    await asyncio.gather(*[_send(address, int(port), pending) for _ in range(connections)])
    return time.perf_counter() - before


async def _send(address: str, port: int, pending: Iterator[bytes]) -> None:
    reader, writer = await asyncio.open_connection(address, port)
    for request in pending:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
    writer.close()
    await writer.wait_closed()


def cpu_seconds(process_id: int) -> float:
    """The CPU time of a process so far, in user and system mode."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(switches: list[str], creates: int, connections: int) -> tuple[float, float]:
    """Creates per second, and the endpoint's CPU per create in microseconds."""
    import uvloop

    with tempfile.TemporaryDirectory() as directory:
        if switches[-1] == "--state":
            switches = [*switches, str(Path(directory, "state.db"))]
        command = [sys.executable, "-m", "provisioner", "emulate", *switches]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            made = requests(url.removeprefix("http://"), creates)
            used = cpu_seconds(process.pid)
            elapsed = uvloop.run(send_all(url.removeprefix("http://"), made, connections))
            used = cpu_seconds(process.pid) - used
            assert len(truth_at(url).alive) == creates
        finally:
            process.terminate()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
    return creates / elapsed, used / creates * 1e6


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--creates", type=int, default=10_000, help="in each round")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    results: dict[str, list[tuple[float, float]]] = {case: [] for case in CASES}
    for _ in range(options.rounds):
        for case, switches in CASES.items():
            results[case].append(measure(switches, options.creates, options.connections))
    print(f"machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    print(f"command: python -m benchmarks.emulator {' '.join(sys.argv[1:])}".rstrip())
    print(f"{options.creates} creates, {options.connections} connections, {options.rounds} rounds\n")
    print("| endpoint | creates/s, median (least to most) | CPU per create, median |")
    print("|---|---|---|")
    for case, rounds in results.items():
        rates = sorted(rate for rate, _ in rounds)
        cpu = statistics.median(cost for _, cost in rounds)
        print(f"| {case} | {statistics.median(rates):,.0f} ({rates[0]:,.0f} to {rates[-1]:,.0f}) | {cpu:.0f} us |")


if __name__ == "__main__":
    main()
