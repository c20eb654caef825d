"""The file of the configuration: its text, and the tables that it has, unchecked."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from provisioner.errors import ConfigurationError


def tables_of(path: str) -> dict[str, Any]:
    """The tables of the TOML file at ``path``, unchecked.

    Raises:
        ConfigurationError: the file cannot be read or is not TOML.
    """
    return _parsed(_text_of(path), path)


def _text_of(path: str) -> str:
    """The text of the file, without a byte-order mark at its start."""
    try:
        content = Path(path).read_bytes()
    except IsADirectoryError as error:
        raise ConfigurationError("the configuration is a directory", where=path, hint="Name a TOML file") from error
    except (OSError, ValueError) as error:  # a path with a null byte is a ValueError
        why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        hint = "Check the path and its permissions"
        raise ConfigurationError("cannot read the configuration", where=path, why=why, hint=hint) from error
    try:
        return content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        why = f"line {line}, byte 0x{content[error.start]:02x}"
        hint = "Save the file as UTF-8"
        raise ConfigurationError("the configuration is not valid UTF-8", where=path, why=why, hint=hint) from error


def _parsed(text: str, path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        from provisioner.config.slips import slip

        what, why = "the configuration is not valid TOML", str(error)
        if (found := slip(text, why)) is None:
            raise ConfigurationError(what, where=path, why=why) from error
        raise ConfigurationError(what, where=f"{path}:{found.line}", why=found.why, hint=found.hint) from error
    except (ValueError, RecursionError) as error:  # tomllib itself does not catch these
        why = "a number has too many digits" if isinstance(error, ValueError) else "it is nested too deeply"
        raise ConfigurationError("the configuration is not valid TOML", where=path, why=why) from error
