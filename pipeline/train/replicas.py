"""How many copies of the towers learn together: every GPU of the machine, or logical replicas on its CPU."""

from __future__ import annotations

from typing import Any

from pipeline.core.errors import SettingsError
from pipeline.core.sections import Train
from pipeline.model.keras import tf


def mirrored_strategy(settings: Train) -> Any:
    """Returns the strategy of one training; must come before TensorFlow's first operation.

    Raises: SettingsError: the batch does not divide evenly, or TensorFlow already runs with fewer CPU replicas.
    """
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
        _one_thread()
    devices = _devices(settings)
    shared_evenly(settings, len(devices))
    return tf.distribute.MirroredStrategy(devices)


def shared_evenly(settings: Train, replicas: int) -> None:
    """Raises: SettingsError: batch or negatives do not divide by the number of replicas."""
    for name in ("batch_size", "uniform_negatives"):
        if getattr(settings, name) % replicas:
            raise SettingsError(
                f"train.{name} is {getattr(settings, name)}, which {replicas} replicas cannot share evenly; "
                f"make it a multiple of {replicas}."
            )


def _devices(settings: Train) -> list[str]:
    gpus = tf.config.list_physical_devices("GPU")
    if settings.replicas == 0 and gpus:
        return [f"/gpu:{number}" for number in range(len(gpus))]
    wanted = max(settings.replicas, 1)
    cpu = tf.config.list_physical_devices("CPU")[0]
    logical = tf.config.get_logical_device_configuration(cpu)
    if wanted > len(logical or [None]):
        try:
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * wanted)
        except RuntimeError:
            raise SettingsError(
                f"train.replicas is {wanted}, but TensorFlow already runs in this process with fewer; "
                "run the step in a process of its own."
            ) from None
    return [f"/cpu:{number}" for number in range(wanted)]


def _one_thread() -> None:
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:  # TensorFlow already runs; op determinism alone must do
        return
