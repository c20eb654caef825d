"""The values that an option can have."""

from __future__ import annotations

from typing import Any

import click


class Choice(click.Choice[str]):
    """One of several words; a mistyped one gets the nearest."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:  # noqa: ANN401  as in click
        """What the choices are, and which of them was probably meant."""
        from provisioner.config.tables import nearest

        message = super().get_invalid_choice_message(value, ctx)
        near = nearest(str(value), list(self.choices), "")
        return f"{message} {near}" if near else message
