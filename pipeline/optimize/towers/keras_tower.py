"""A recipe's query tower as Keras holds it, kept beside its bundle: no other form can be made of a LiteRT file.

Without tables it is small. It is kept as plain JSON and numbers; nothing in it is run when it is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.artifacts import Artifact
from pipeline.core.errors import CorruptArtifactError

if TYPE_CHECKING:
    from pipeline.model.keras import keras

LAYERS, WEIGHTS = "query_tower.json", "query_tower.weights.h5"


def keep(tower: keras.Model, folder: Path) -> None:
    """Args: tower: as `stripping.without_tables` gives it, before the converter rounds its weights."""
    (folder / LAYERS).write_text(tower.to_json())
    tower.save_weights(str(folder / WEIGHTS))


def kept(recipe: Artifact) -> keras.Model:
    """Returns the tower a recipe's artifact holds.

    Raises:
        MissingInputError: it holds none.
        CorruptArtifactError: a file of the artifact is not what was sealed, or makes no tower.
    """
    from pipeline.model.keras import keras
    from pipeline.model.parts import layer_scope

    layers, weights = recipe.file(LAYERS), recipe.file(WEIGHTS)
    recipe.verify()
    try:
        with layer_scope():
            tower = keras.models.model_from_json(layers.read_text())
        tower.load_weights(str(weights))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptArtifactError(
            f"{recipe.path}: {LAYERS} and {WEIGHTS} make no tower ({(str(error).splitlines() or [''])[0][:120]}); "
            "run optimize again with --force."
        ) from None
    return tower
