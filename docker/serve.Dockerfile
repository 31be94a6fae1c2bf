# The recommendation server: no TensorFlow, no pandas, no MLflow, no training code in the process or the image.
# docker build -f docker/serve.Dockerfile -t nightshift-serve .
ARG BASE_IMAGE=python:3.11-slim-bookworm
FROM ${BASE_IMAGE}

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIPELINE_SERVE__LOG_FORMAT=json
WORKDIR /srv/nightshift
COPY requirements.txt .
# The versions everything else was tested with, of the few packages the server imports.
RUN grep -E '^(ai-edge-litert|boto3|faiss-cpu|hiredis|httptools|msgspec|numpy|prometheus-client|pydantic-settings|pyyaml|redis|typer|uvloop)==' \
      requirements.txt > serve.txt \
    && python3 -m pip install --no-cache-dir uv && uv pip install --system --no-cache --compile-bytecode -r serve.txt
COPY pipeline/__init__.py pipeline/__main__.py pipeline/cli.py pipeline/steps.py pipeline/
COPY pipeline/core pipeline/core
COPY pipeline/store pipeline/store
COPY pipeline/model pipeline/model
COPY pipeline/serve pipeline/serve
# The command line gathers every room's tools; their light command modules come along, their code does not.
COPY pipeline/ingest/__init__.py pipeline/ingest/commands.py pipeline/ingest/
COPY pipeline/optimize/__init__.py pipeline/optimize/commands.py pipeline/optimize/
COPY pipeline/promote/__init__.py pipeline/promote/commands.py pipeline/promote/
COPY pipeline/simulate/__init__.py pipeline/simulate/commands.py pipeline/simulate/
RUN useradd --create-home --uid 10001 nightshift && mkdir -p /srv/state && chown nightshift /srv/state
USER nightshift
EXPOSE 8080
# Open to everybody, like /readyz; all that answers about the shop asks for a token, and without one it does not start:
# PIPELINE_SERVE__TOKEN_DIGESTS='["shop:read:SHA256"]', or serve/tokens.json below the store's root.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python3", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["python3", "-m", "pipeline", "serve", "--set", "serve.host=0.0.0.0", "--port", "8080"]
