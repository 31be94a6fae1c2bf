"""Where things are kept: files, MLflow and the ledger."""
