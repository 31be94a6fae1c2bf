"""The tools of this room."""

from __future__ import annotations

import typer

tools = typer.Typer()
