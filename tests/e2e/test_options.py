"""Where an option's value comes from, and what the help says about it."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from typing import TYPE_CHECKING, Any

import click
import pytest

from provisioner.cli.program import COMMANDS, wants_json
from provisioner.cli.program import provisioner as group
from tests.definition_lines import manifest_of
from tests.e2e.process import provisioner

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a manifest of two definitions."""
    (tmp_path / "m.jsonl").write_bytes(manifest_of("a", "b"))
    return tmp_path


def commands() -> dict[str, click.Command]:
    """Every command, by the words that call it."""
    found: dict[str, click.Command] = {}
    context = click.Context(group)
    for name in COMMANDS:
        command = group.get_command(context, name)
        assert command is not None
        inner = command.commands if isinstance(command, click.Group) else {}
        found |= {f"{name} {word}": one for word, one in inner.items()} if inner else {name: command}
    return found


def test_every_default_is_in_the_help() -> None:
    """An option that stands for something when it is not given says so in the help."""
    silent = [
        f"{name} {option.opts[-1]}"
        for name, command in commands().items()
        for option in command.params
        if isinstance(option, click.Option) and not option.is_flag and isinstance(option.default, int | float | str)
        if option.default != "" and not option.show_default and "[default:" not in (option.help or "")
    ]

    assert silent == []


def test_a_bound_that_may_be_0_says_what_0_is() -> None:
    """Nothing at all, or as much as you like: the help leaves no doubt."""
    unclear = [
        f"{name} {option.opts[-1]}"
        for name, command in commands().items()
        for option in command.params
        if option.opts[-1].startswith("--max-") and isinstance(option.type, click.IntRange | click.FloatRange)
        if option.type.min == 0 and isinstance(option, click.Option) and "0 is no bound" not in (option.help or "")
    ]

    assert unclear == []


def test_an_empty_value_is_refused() -> None:
    """`destroy --run "$RUN"`, where RUN is not set, must not be a command without --run; so for all values."""
    accepted = []
    for name, command in commands().items():
        needed = {one.name: "bash" for one in command.params if isinstance(one, click.Argument) and one.required}
        for one in command.params:
            if (isinstance(one, click.Option) and one.is_flag) or one.name == "options":  # the latter are of `apply`
                continue
            others = [text for argument, text in needed.items() if argument != one.name]
            given = [*others, max(one.opts, key=len), ""] if isinstance(one, click.Option) else [""]
            with contextlib.suppress(click.BadParameter):
                command.make_context(name, given)
                accepted.append(f"{name} {given}")

    assert accepted == []


def test_an_option_is_set_by_its_variable(folder: Path) -> None:
    """A common option by PROVISIONER_<OPTION>, any by PROVISIONER_<COMMAND>_<OPTION>, which goes before; flags win."""
    named: dict[str, Any] = {"PROVISIONER_LEDGER": "general.db", "PROVISIONER_LOCAL": "1"}

    general = provisioner("apply", "m.jsonl", cwd=folder, **named)
    own = provisioner("apply", "m.jsonl", cwd=folder, **named, PROVISIONER_APPLY_LEDGER="own.db")
    flag = provisioner("apply", "m.jsonl", "-l", "flag.db", cwd=folder, **named, PROVISIONER_APPLY_LEDGER="own2.db")
    wrong = provisioner("apply", "m.jsonl", cwd=folder, **named, PROVISIONER_APPLY_MAX_RATE="fast")

    assert [one.returncode for one in (general, own, flag, wrong)] == [0, 0, 0, 2]
    assert {path.name for path in folder.glob("*.db")} == {"general.db", "own.db", "flag.db"}
    assert "--max-rate" in wrong.stderr
    assert "PROVISIONER_APPLY_MAX_RATE" in wrong.stderr


def test_targets_are_set_by_a_variable(folder: Path) -> None:
    """An option that can be repeated takes a list that is separated by blanks."""
    (folder / "c.toml").write_text("".join(f"[targets.{name}]\nregion='us-{name}-1'\n" for name in ("east", "west")))
    named: dict[str, Any] = {"PROVISIONER_CONFIG": "c.toml", "PROVISIONER_TARGET": "east west"}

    done = provisioner("apply", "m.jsonl", "--local", "--output", "json", cwd=folder, **named)

    assert list(json.loads(done.stdout)["targets"]) == ["east", "west"]


def test_every_option_has_a_variable_of_its_own() -> None:
    """No two options of any commands share the variable that is theirs alone."""
    own = [
        option.envvar[0]
        for command in commands().values()
        for option in command.params
        if isinstance(option, click.Option) and isinstance(option.envvar, list)
    ]
    options = [one for command in commands().values() for one in command.params if isinstance(one, click.Option)]

    assert len(own) == len(set(own)) == len(options)
    assert "PROVISIONER_LEDGER_RENAME_TARGET_LOCK_TIMEOUT" in own


@pytest.mark.parametrize("place", ["working folder", "user's folder", "variable"])
def test_a_configuration_is_found_and_named(folder: Path, place: str) -> None:
    """PROVISIONER_CONFIG, ./provisioner.toml, else the user's folder; what was found, and not named, is reported."""
    path = {"working folder": "provisioner.toml", "user's folder": "home/provisioner/provisioner.toml"}
    config = folder / path.get(place, "own.toml")
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text("[run]\nledger = 'here.db'\n")
    named: dict[str, Any] = {"PROVISIONER_CONFIG": "own.toml"} if place == "variable" else {}
    named["XDG_CONFIG_HOME"] = str(folder / "home")

    applied = provisioner("apply", "m.jsonl", "--local", cwd=folder, **named)
    status = provisioner("status", cwd=folder, **named)

    found = [json.loads(line) for line in applied.stderr.splitlines() if "configuration.found" in line]
    assert (applied.returncode, status.returncode) == (0, 0)
    assert (config.parent / "here.db").exists()
    assert [event["path"].endswith("provisioner.toml") for event in found] == [True] * (place != "variable")
    assert ("Configuration: " in status.stderr) == (place != "variable")


def test_a_named_configuration_goes_before_a_found_one(folder: Path) -> None:
    """--config wins over ./provisioner.toml, which is not read at all then."""
    (folder / "provisioner.toml").write_text("broken")
    (folder / "c.toml").write_text("[run]\nledger = 'named.db'\n")

    done = provisioner("apply", "m.jsonl", "--local", "-c", "c.toml", cwd=folder)

    assert (done.returncode, (folder / "named.db").exists()) == (0, True)
    assert provisioner("status", cwd=folder).returncode == 78


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["aply"], "Did you mean provisioner apply?"),
        (["frobnicate"], "The commands are apply, "),
        (["config", "shwo"], "there is no command 'config shwo'. Did you mean provisioner config show?"),
        (["ledger", "erase"], "The commands are backup, check, copy, rename-target"),
        (["list", "--state", "FAILD"], "'deleted', 'superseded'. Did you mean failed? See `provisioner list --help`"),
        (["apply", "m.jsonl", "--adopt", "sam"], "Did you mean same?"),
        (["apply", "m.jsonl", "--adopt", "x"], "is not one of 'never', 'same', 'any'. See `provisioner apply --help`"),
        (["emulate", "--names", "unqiue"], "Did you mean unique?"),
        (
            ["list", "--state", ""],
            "'--state': it is empty. Give a value, or leave the option out. See `provisioner list",
        ),
        (["show", ""], "'NAME': it is empty. Give a value. See `provisioner show --help`"),
        (["apply", "m.jsonl", "--max-in-fligh", "3"], "Did you mean '--max-in-flight'? See `provisioner apply --help`"),
        (["apply", "m.jsonl", "-c", "c.toml", "-t", "prdo", "--local"], "Did you mean prod?"),
        (["apply", "m.jsonl", "-c", "c.toml", "-t", "moon", "--local"], "The configuration has prod, test"),
        (["status", "-t", "defalt"], "Did you mean default?"),
    ],
)
def test_what_was_mistyped_gets_the_nearest(folder: Path, arguments: list[str], hint: str) -> None:
    """A mistyped command, option, value or target ends with 2 and the nearest that there is, or else all of them."""
    (folder / "c.toml").write_text("[targets.prod]\n[targets.test]\n")
    if arguments[0] == "status":
        provisioner("apply", "m.jsonl", "--local", cwd=folder)

    done = provisioner(*arguments, cwd=folder)

    assert done.returncode == 2
    assert hint in done.stderr


@pytest.mark.parametrize(
    ("line", "variables", "expected"),
    [
        ("apply m", {}, False),
        ("apply m --output json", {}, True),
        ("apply m --output=json", {}, True),
        ("apply m", {"PROVISIONER_OUTPUT": "json"}, True),
        ("apply m --output text", {"PROVISIONER_OUTPUT": "json"}, False),
        ("apply m", {"PROVISIONER_OUTPUT": "json", "PROVISIONER_APPLY_OUTPUT": "text"}, False),
        ("status", {"PROVISIONER_APPLY_OUTPUT": "json"}, False),
    ],
)
def test_json_is_recognised_on_a_line_that_cannot_be_read(
    line: str, variables: dict[str, str], expected: object
) -> None:
    """Whether an error is also a JSON object follows the same order: flag, the command's variable, the common one."""
    assert wants_json(line.split(), variables) is expected


def test_json_is_recognised_from_every_commands_own_variable() -> None:
    """The variable of a nested command has its words too; that of its group alone is none."""
    own = {
        words: option.envvar[0]
        for words, command in commands().items()
        for option in command.params
        if option.name == "output" and isinstance(option.envvar, list)
    }

    assert own["ledger rename-target"] == "PROVISIONER_LEDGER_RENAME_TARGET_OUTPUT"
    assert [words for words, variable in own.items() if not wants_json(words.split(), {variable: "json"})] == []
    assert not wants_json(["ledger", "rename-target"], {"PROVISIONER_LEDGER_OUTPUT": "json"})


@pytest.mark.parametrize("name", commands())
def test_every_help_has_an_example_that_works(name: str) -> None:
    """Every command shows examples of itself at the end of its help, and each is one that the program accepts."""
    called = set()
    for line in (commands()[name].epilog or "").splitlines()[2:]:
        for part in line.split("|"):
            words = shlex.split(part.partition(" > ")[0])
            if words[0] != "provisioner":
                continue
            context: click.Context = group.make_context("provisioner", words[1:])
            _, command, rest = group.resolve_command(context, words[1:])
            path = words[1:2]
            while isinstance(command, click.Group):
                path.append(rest[0])
                _, command, rest = command.resolve_command(click.Context(command), rest)
            assert command is not None
            command.make_context(words[1], rest, parent=context)
            called.add(" ".join(path))

    assert name in called


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_is_plain_english(name: str) -> None:
    """No help text uses a word in a sense that only this project gives it."""
    texts = [
        command.get_help(click.Context(command)) for words, command in commands().items() if words.split()[0] == name
    ]

    assert [re.findall(r"\b(?:tells?|told|mend|settle[sd]|ours|least level)\b", text.lower()) for text in texts] == [
        [] for _ in texts
    ]
