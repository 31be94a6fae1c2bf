"""The tools of this room."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

tools = typer.Typer()


class Form(StrEnum):
    """What a bundle can be exported as."""

    savedmodel = "savedmodel"
    onnx = "onnx"


@tools.command("export")
def export_command(
    run: Annotated[str, typer.Option("--run", help="Run id whose registered bundle is exported.")],
    to: Annotated[Path, typer.Option("--to", help="Folder of models; gets MODEL/VERSION/.")],
    form: Annotated[Form, typer.Option("--form", help="TensorFlow's SavedModel, or ONNX.")] = Form.savedmodel,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="A setting.")] = None,
) -> None:
    """Writes a registered bundle's tower and items in another form, once that is proven to answer like the bundle."""
    from pipeline.core import settings as settings_module
    from pipeline.core.run import Run
    from pipeline.optimize.exporting.export import export
    from pipeline.store.shared import open_shared

    settings = settings_module.load(set_ or [])
    opened = Run.open(settings.store.root.resolve(), run, settings.shop.timezone, shared=open_shared(settings))
    print(f"export: {export(settings, opened, to, form.value)}")
