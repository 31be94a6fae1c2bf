"""Raw files become batches of rows: cut, parsed, pseudonymised."""
