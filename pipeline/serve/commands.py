"""The tools of this room."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

tools = typer.Typer()

BundleOption = Annotated[Path | None, typer.Option("--bundle", help="Serve this release bundle, not the champion.")]
PortOption = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")]
FileOption = Annotated[Path | None, typer.Option("--port-file", help="File that gets the port once it is taken.")]
ParentOption = Annotated[int | None, typer.Option("--parent", help="Process this one dies with.", hidden=True)]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="May be repeated.")]


@tools.command("serve")
def serve(
    bundle: BundleOption = None,
    port: PortOption = None,
    port_file: FileOption = None,
    parent: ParentOption = None,
    set_: SetOption = None,
) -> None:
    """Serves recommendations, search and similar items over HTTP; follows the champion without a restart."""
    from pipeline.core import settings as settings_module
    from pipeline.core.process import die_with_parent

    if parent is not None:
        die_with_parent(parent)
    given = [*(set_ or []), *([f"serve.port={port}"] if port is not None else [])]
    settings = settings_module.load(given)

    from pipeline.serve import server

    server.serve(settings, bundle, port_file)
