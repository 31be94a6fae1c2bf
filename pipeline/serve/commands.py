"""The tools of this room."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

tools = typer.Typer()
tokens = typer.Typer(no_args_is_help=True)
tools.add_typer(tokens, name="token", help="Who may ask the server.")

BundleOption = Annotated[Path | None, typer.Option("--bundle", help="Serve this release bundle, not the champion.")]
PortOption = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")]
FileOption = Annotated[Path | None, typer.Option("--port-file", help="File that gets the port once it is taken.")]
ParentOption = Annotated[int | None, typer.Option("--parent", help="Process this one dies with.", hidden=True)]
NameOption = Annotated[str, typer.Option("--name", help="Who or what it is for; told in the record of admin calls.")]
ScopeOption = Annotated[
    Literal["read", "write", "admin"],
    typer.Option("--scope", help="read: asks; write: also tells events; admin: also changes items."),
]
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


@tokens.command("add")
def add_token(name: NameOption, scope: ScopeOption = "read", set_: SetOption = None) -> None:
    """Makes a token and prints it, this once; the server keeps only its SHA-256 and takes it up within seconds."""
    from pipeline.core import settings as settings_module
    from pipeline.serve import tokens as kept

    path = kept.file_of(settings_module.load(set_ or []))
    token = kept.add(path, name, scope)
    print(token, flush=True)
    # Apart from the token, so that `TOKEN=$(...)` holds nothing else.
    stated = f"{name}:{scope}:{kept.digest_of(token.encode())}"
    typer.echo(f'Kept in {path}; without that file set serve.token_digests to ["{stated}"].', err=True)


@tokens.command("list")
def list_tokens(set_: SetOption = None) -> None:
    """Prints who may ask, with which scope and since when; not the tokens, which nobody keeps."""
    from pipeline.core import settings as settings_module
    from pipeline.serve import tokens as kept

    settings = settings_module.load(set_ or [])
    for token in [*kept.read(kept.file_of(settings)), *kept.stated(settings.serve.token_digests)]:
        print(f"{token.name:24} {token.scope:6} {token.made_at or 'of serve.token_digests'}")


@tokens.command("remove")
def remove_token(name: NameOption, set_: SetOption = None) -> None:
    """Takes a token back; a running server lets it in no more within seconds."""
    from pipeline.core import settings as settings_module
    from pipeline.serve import tokens as kept

    path = kept.file_of(settings_module.load(set_ or []))
    kept.remove(path, name)
    print(f"The token {name} is removed from {path}.")
