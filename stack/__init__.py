"""The embedded stack: Airflow, MLflow and the recommendation server on one machine, all state under one folder."""
