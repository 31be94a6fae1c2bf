# The orchestrator: Airflow with the DAGs, and the light steps (ingest, validate, prepare, register, promote).
# docker build -f docker/airflow.Dockerfile -t nightshift-airflow .
ARG BASE_IMAGE=python:3.11-slim-bookworm
FROM ${BASE_IMAGE}

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 AIRFLOW_HOME=/srv/state/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/srv/nightshift/dags AIRFLOW__CORE__PLUGINS_FOLDER=/srv/nightshift/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False PYTHONPATH=/srv/nightshift
WORKDIR /srv/nightshift
COPY requirements.txt .
RUN python3 -m pip install --no-cache-dir uv && uv pip install --system --no-cache --compile-bytecode -r requirements.txt
COPY pipeline pipeline
COPY dags dags
COPY plugins plugins
RUN useradd --create-home --uid 10001 nightshift && mkdir -p /srv/state && chown nightshift /srv/state
USER nightshift
EXPOSE 8080
CMD ["airflow", "api-server"]
