# The heavy steps (train, optimize, gate), for a machine with GPUs: give a base image that brings CUDA.
# docker build -f docker/train.Dockerfile --build-arg BASE_IMAGE=<an image with CUDA and Python 3.11> -t nightshift-train .
ARG BASE_IMAGE=python:3.11-slim-bookworm
FROM ${BASE_IMAGE}

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TF_CPP_MIN_LOG_LEVEL=3
WORKDIR /srv/nightshift
COPY requirements.txt .
RUN python3 -m pip install --no-cache-dir uv && uv pip install --system --no-cache --compile-bytecode -r requirements.txt
COPY pipeline pipeline
RUN useradd --create-home --uid 10001 nightshift && mkdir -p /srv/state && chown nightshift /srv/state
USER nightshift
ENTRYPOINT ["python3", "-m", "pipeline"]
CMD ["--help"]
