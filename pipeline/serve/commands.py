"""The tools of this room."""

from __future__ import annotations

import re
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
ReplicasOption = Annotated[
    str | None,
    typer.Option("--replicas", metavar="LEAST..MOST", help="So many servers as the load asks for, on Ray Serve."),
]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="May be repeated.")]


@tools.command("serve")
def serve(
    bundle: BundleOption = None,
    port: PortOption = None,
    port_file: FileOption = None,
    replicas: ReplicasOption = None,
    parent: ParentOption = None,
    set_: SetOption = None,
) -> None:
    """Serves recommendations, search and similar items over HTTP; follows the champion without a restart."""
    from pipeline.core import settings as settings_module
    from pipeline.core.process import die_with_parent

    if parent is not None:
        die_with_parent(parent)
    given = [*(set_ or []), *([f"serve.port={port}"] if port is not None else [])]
    if replicas is not None:
        _serve_replicas([*given, *replicas_settings(replicas)], bundle, port_file)
        return
    settings = settings_module.load(given)

    from pipeline.serve import server

    server.serve(settings, bundle, port_file)


def _serve_replicas(given: list[str], bundle: Path | None, port_file: Path | None) -> None:
    from pipeline.core import settings as settings_module
    from pipeline.core.errors import UsageError

    if bundle:
        raise UsageError("Replicas follow the champion; give --bundle without --replicas, or leave it out.")
    settings = settings_module.load(given)

    from pipeline.serve import on_ray

    on_ray.serve(settings, given, port_file)


def replicas_settings(replicas: str) -> list[str]:
    """Returns LEAST..MOST as assignments.

    Raises: UsageError: not a number or a range of them, or one that ends before it begins.
    """
    from pipeline.core.errors import UsageError

    match = re.fullmatch(r"([1-9][0-9]{0,3})(?:\.\.([1-9][0-9]{0,3}))?", replicas)
    least, most = (match[1], match[2] or match[1]) if match else ("1", "0")
    if int(most) < int(least):
        raise UsageError(f"--replicas {replicas!r} is no range of replicas; write LEAST..MOST, such as 1..4.")
    return [f"replicas.least={least}", f"replicas.most={most}"]


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
