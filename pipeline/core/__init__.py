"""What every stage stands on: settings, steps, runs, artifacts, schema, errors."""
