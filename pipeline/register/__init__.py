"""Registers the release bundle in MLflow, with where it came from, as the challenger."""
