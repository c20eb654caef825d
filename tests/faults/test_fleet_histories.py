"""Histories of a fleet: a sample by default, more as torture.

PROVISIONER_FLEET_HISTORIES says how many, PROVISIONER_FLEET_SEED from which seed on.

Targets come and go, change their tags and are chosen by patterns; definitions are for some of them, with templates;
commands meet faults and are killed. A model knows what each target is to have. After every command no algorithm exists
twice, and nothing was made, changed or deleted where the command had no business; in the end every account is as the
manifest says, and one more run changes nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from fnmatch import fnmatchcase
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from provisioner.emulator import Behaviour, Truth, running
from tests.e2e.process import Endpoint, provisioner, start
from tests.faults.invariants import check_invariants
from tests.faults.world import entries_of, ledger_id_of, older_of

if TYPE_CHECKING:
    from pathlib import Path

    from provisioner.emulator import Algorithm, Emulator

COUNT = int(os.environ.get("PROVISIONER_FLEET_HISTORIES", "40"))
STEPS = 10
CONFIGURATION = (
    "[reconcile]\nsettle = '400ms'\nlist_lag = '60ms'\n[run]\nread_timeout = '1s'\n[pace]\ninitial_rate = 200\n"
)
NAMES = ("a1", "a2", "b1", "of {target}", "in {account_id}")
FAULTS: dict[str, tuple[str, ...]] = {
    "script": ("lost_reply", "lost_request", "error:503", "reset", "no_arn", "throttle", "conflict", "denied_role"),
    "delete_script": ("lost_reply", "lost_request", "error:503", "conflict", "error:404"),
    "tag_script": ("lost_reply", "lost_request", "error:503"),
    "list_script": ("error:503", "truncated", "lost_reply", "denied"),
    "get_script": ("error:503", "truncated", "error:404"),
}
DESTROYING = ("destroy", "--yes", "--name")
REPAIR = ("--on-change", "replace", "--prune", "--retry-failed", "--adopt", "any", "--yes")


class Target(NamedTuple):
    """A target of the configuration: its name, its account, and the value of its tag ``env``."""

    name: str
    account_id: str
    env: str

    def fits(self, patterns: list[str]) -> bool:
        """Whether ``patterns`` select it: inclusions add up, exclusions apply to all of them."""
        chosen = [one for one in patterns if not one.startswith("!")]
        left_out = [one[1:] for one in patterns if one.startswith("!")]
        return (not chosen or any(map(self._fits, chosen))) and not any(map(self._fits, left_out))

    def _fits(self, pattern: str) -> bool:
        return pattern == f"tag:env={self.env}" or fnmatchcase(self.name, pattern)


Line = tuple[int, str, list[str]]
"""A definition: its version, which its description tells; the value of its tag ``team``; and its targets."""


class Fleet:
    """A folder with a fleet and a manifest, and the model of what each target is to have.

    Args:
        path: a fresh directory.
        emulator: with all accounts.
        seed: of everything.
    """

    def __init__(self, path: Path, emulator: Emulator, seed: int) -> None:
        self.path = path
        self.emulator = emulator
        self.random = random = Random(seed)  # noqa: S311  replayable
        self.targets = [Target(f"t{number}", f"{100_000_000_000 + number}", "dev") for number in range(3)]
        self.lines: dict[str, Line] = {name: (1, "", []) for name in random.sample(NAMES, 3)}
        self.done: list[str] = [f"seed {seed}"]
        self.configure()

    def configure(self) -> None:
        """Write configuration and manifest."""
        urls = f"endpoint_url = '{self.emulator.url}'\nsts_endpoint_url = '{self.emulator.url}'\n"
        tables = [
            f"[targets.{one.name}]\nregion = 'us-east-1'\naccount_id = '{one.account_id}'\n{urls}"
            f"assume_role_arn = 'arn:aws:iam::{one.account_id}:role/p'\ntags = {{env = '{one.env}'}}\n"
            for one in self.targets
        ]
        defaults = "[defaults]\ntemplates = true\nroleArn = 'arn:aws:iam::{account_id}:role/access'\n"
        (self.path / "provisioner.toml").write_text(CONFIGURATION + defaults + "".join(tables))
        lines = [
            {"name": name, "description": f"v{version}", "tags": {"team": team or "none"}}
            | ({"targets": of} if of else {})
            for name, (version, team, of) in self.lines.items()
        ]
        (self.path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def wanted(self, target: Target) -> dict[str, tuple[str, str]]:
        """What ``target`` is to have, by name: description and team."""
        known = [one for _, _, of in self.lines.values() for one in of]
        missing = {one for one in known if not any(other.fits([one.removeprefix("!")]) for other in self.targets)}
        return {
            name.format(target=target.name, account_id=target.account_id): (f"v{version}", team or "none")
            for name, (version, team, of) in self.lines.items()
            if target.fits(of) and not missing & set(of)
        }

    def held(self) -> dict[str, Algorithm]:
        """What exists, by ARN, with the tags that it has now."""
        return {one.arn: one for one in self.emulator.truth.alive}

    def change(self) -> None:
        """Somebody edits the manifest or the configuration."""
        random = self.random
        name = random.choice(NAMES)
        audience = random.choice([[], [], [random.choice(self.targets).name], ["!t1"], ["tag:env=dev"]])
        match random.randrange(5):
            case 0 if len(self.lines) > 1:
                self.lines.pop(name, None)
            case 1 if len(self.targets) > 2:
                self.targets.remove(random.choice(self.targets))
            case 2 if len(self.targets) < 4:
                number = next(one for one in range(9) if f"t{one}" not in {target.name for target in self.targets})
                self.targets.append(Target(f"t{number}", f"{100_000_000_000 + number}", "prod"))
            case 3:
                at = random.randrange(len(self.targets))
                self.targets[at] = self.targets[at]._replace(env=random.choice(["dev", "prod"]))
            case _:
                version = self.lines.get(name, (0, "", []))[0]
                self.lines[name] = (version + random.randint(0, 1), random.choice(["", "ads"]), audience)
        self.configure()

    def meddle(self) -> None:
        """The next calls meet faults, or none."""
        scripts: dict[str, list[str]] = {kind: [] for kind in FAULTS}
        if self.random.random() < 0.7:
            kind = self.random.choice(list(FAULTS))
            scripts[kind] = self.random.choices(FAULTS[kind], k=self.random.randint(1, 4))
        Endpoint(self.emulator.url).change(**scripts)
        self.done.append(str(scripts))

    def act(self) -> None:
        """One command, perhaps killed; then all that holds after any command."""
        random = self.random
        patterns = random.choice([[], [], [random.choice(self.targets).name], ["tag:env=dev"], ["!t1"]])
        chosen = [one for one in self.targets if one.fits(patterns)]
        glob = random.choice(["*", "*", "a*", "?1"])
        options = [one for one in ("--prune", "--retry-failed") if random.random() < 0.5]
        options += random.choice([[], ["--on-change", "replace"], ["--on-change", "replace", "--keep", "1"]])
        command = random.choice(
            [
                ["apply", "m.jsonl", "--yes", "--name", glob, *options],
                ["apply", "m.jsonl", "--yes", "--name", glob, *options],
                ["plan", "m.jsonl", "--name", glob, *options],
                [*DESTROYING, glob],
                ["verify", "--name", glob, "--mark-missing", "--mark-unrecorded", "--prune-duplicates", "--yes"],
                ["reconcile"],
            ]
        )
        before, wanted = self.held(), {one.account_id: self.wanted(one) for one in chosen}
        tags = {arn: dict(one.tags) for arn, one in before.items()}
        self.run(*command, *(f"-t{one}" for one in patterns), kill_after_s=random.choice([None, None, random.random()]))
        after = self.held()
        for arn in {*before, *after}:
            if arn in before and arn in after and tags[arn] == after[arn].tags:
                continue
            one = after.get(arn) or before[arn]
            assert one.account_id in wanted, f"{command} {patterns} changed {one} elsewhere"
            assert fnmatchcase(one.name, glob), f"{command} changed {one.name}"
            assert command[0] in {"apply", "destroy"} or (command[0] == "verify" and arn not in after), command
            if arn not in before:
                assert command[0] == "apply", f"{command} made {one.name}"
                assert one.name in wanted[one.account_id], f"{one.name} was made in {one.account_id}"
        self.check()

    def run(self, *command: str, kill_after_s: float | None = None) -> dict[str, Any] | None:
        """Run a command; its result, None if it was killed."""
        arguments = (*command, "--output", "json", "--log-level", "error")
        if kill_after_s is not None:
            process = start(*arguments, cwd=self.path)
            asyncio.run(asyncio.sleep(kill_after_s))
            process.kill()
            asyncio.run(asyncio.sleep(0.05))  # what it has sent arrives
            _, stderr = process.communicate(timeout=60)
            self.done.append(f"{' '.join(command)} killed after {kill_after_s}")
            assert "Traceback" not in stderr, stderr
            return None
        done = provisioner(*arguments, cwd=self.path)
        self.done.append(f"{' '.join(command)} -> {done.returncode}")
        assert "Traceback" not in done.stderr, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        assert result["exit_code"] == done.returncode != 1, done.stdout
        if "outcomes" in result:
            parts = Counter[str]()
            for target in result["targets"].values():
                parts.update(target["outcomes"])
            assert +parts == +Counter(result["outcomes"]), done.stdout
        return result

    def check(self) -> None:
        """The invariants of each account, and the ledger's own."""
        ledger = self.path / "ledger.db"
        checked = provisioner("ledger", "check", cwd=self.path)
        if "there is no ledger here" in checked.stderr or "the ledger is empty" in checked.stderr:
            return
        assert checked.returncode == 0, checked.stdout + checked.stderr
        for number in range(9):
            account_id = f"{100_000_000_000 + number}"
            held = [one for one in self.emulator.truth.algorithms if one.account_id == account_id]
            target = f"t{number}"
            older = older_of(ledger, target=target)
            check_invariants(Truth(held, {}, []), entries_of(ledger, target), ledger_id_of(ledger), older=older)

    def finish(self) -> None:
        """Without faults it comes to what the manifest says, and stays there."""
        Endpoint(self.emulator.url).change(**{kind: [] for kind in FAULTS})
        self.run("apply", "m.jsonl", "--yes")
        first, *others = self.lines
        if others:
            del self.lines[first]
            self.lines[others[0]] = (9, "ads", [])
            self.configure()
        for _ in range(4):
            done = self.run("apply", "m.jsonl", *REPAIR)
            self.check()
            if done and not done["exit_code"]:
                break
            self.run("verify", "--mark-missing", "--mark-unrecorded", "--prune-duplicates", "--yes")
        for target in self.targets:
            here = [one for one in self.held().values() if one.account_id == target.account_id]
            made = [(one.name, (json.loads(bytes(one.definition))["description"], one.tags["team"])) for one in here]
            assert sorted(made) == sorted(self.wanted(target).items()), target
        before = self.held().keys()
        again = self.run("apply", "m.jsonl", *REPAIR)
        assert again
        assert not any(again["calls"][kind] for kind in ("create", "tag", "delete")), again
        assert self.held().keys() == before


def history(path: Path, seed: int, steps: int) -> None:
    """One history."""
    path.mkdir()
    with running(Behaviour(names="duplicates", latency=0.01, seed=seed)) as emulator:
        fleet = Fleet(path, emulator, seed)
        try:
            for _ in range(steps):
                fleet.random.choice([fleet.change, fleet.change, fleet.meddle])()
                fleet.act()
            fleet.finish()
        except BaseException:
            print(*fleet.done, sep="\n")  # noqa: T201  what replays it
            raise


@pytest.mark.parametrize("seed", [3])
def test_one_history(tmp_path: Path, seed: int) -> None:
    """A short one: killed commands, faults, and targets that come and go."""
    history(tmp_path / "fleet", seed, 3)


@pytest.mark.torture
def test_many_histories(tmp_path: Path) -> None:
    """Each from a seed of its own."""
    first = int(os.environ.get("PROVISIONER_FLEET_SEED", "0")) or Random().randrange(10**6)  # noqa: S311
    for seed in range(first, first + COUNT):
        history(tmp_path / str(seed), seed, STEPS)
    print(f"{COUNT} histories from seed {first}")  # noqa: T201  the campaign's figures
