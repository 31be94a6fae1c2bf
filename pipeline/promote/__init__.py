"""Commits a verdict to the ledger and projects the champion to servers and MLflow; takes it back; shows it."""
