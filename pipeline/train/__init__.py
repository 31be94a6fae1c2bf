"""The two towers, trained under MirroredStrategy: examples, loss, checkpoints, evaluation."""
