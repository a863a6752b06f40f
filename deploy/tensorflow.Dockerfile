# The two images with TensorFlow: the trainer and the embedded model server. The embedded
# server replaces tensorflow/serving where that does not run (arm64) or cannot be pulled:
# same port, same flags, same folder of models.
#
#   docker build -f deploy/tensorflow.Dockerfile --target trainer      -t kennel-trainer .
#   docker build -f deploy/tensorflow.Dockerfile --target model-server -t kennel-model-server .

ARG BASE_IMAGE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b
FROM ${BASE_IMAGE} AS tensorflow
# Large wheels download slowly when several images are built at once.
ARG PIP_DEFAULT_TIMEOUT=60

RUN groupadd --gid 10001 kennel \
 && useradd --uid 10001 --gid kennel --no-create-home --home-dir /tmp \
        --shell /usr/sbin/nologin kennel

WORKDIR /build
COPY pyproject.toml constraints.txt deploy/images/list_requirements.py ./
# Only dependencies, so that a code change does not reinstall TensorFlow.
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/venv \
 && python list_requirements.py pyproject.toml constraints.txt train > requirements.txt \
 && pip --python /opt/venv/bin/python install --quiet --report report.json \
        --require-hashes --only-binary :all: --requirement requirements.txt \
 && python list_requirements.py --installed report.json >> /opt/venv/installed.txt

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp

FROM tensorflow AS trainer
# The demo's photos and weights, and Kaggle's client for submissions.
RUN --mount=type=cache,target=/root/.cache/pip \
    python list_requirements.py pyproject.toml constraints.txt demo kaggle \
        > requirements.txt \
 && pip --python /opt/venv/bin/python install --quiet --report report.json \
        --require-hashes --only-binary :all: --requirement requirements.txt \
 && python list_requirements.py --installed report.json >> /opt/venv/installed.txt
COPY models /app/models
COPY export /app/export
COPY service /app/service
COPY worker /app/worker
COPY kennel /app/kennel
# The host's ./var: paths on the command line are relative to it.
WORKDIR /kennel
ENV KENNEL_HOME=/kennel
USER 10001:10001
ENTRYPOINT ["python", "-m", "kennel.cli"]
CMD ["--help"]

FROM tensorflow AS model-server
COPY models /app/models
COPY kennel /app/kennel
WORKDIR /app
USER 10001:10001
EXPOSE 8500
ENTRYPOINT ["python", "-m", "kennel.cli", "model-server", "--host=0.0.0.0", "--port=8500"]
CMD ["--model_config_file=/models/models.config", "--model_config_file_poll_wait_seconds=10"]
