# The embedded model server, which takes tensorflow/serving's place where that does not
# run (arm64) or cannot be pulled: same port, same flags, same folder of models.
#
#   docker build -f deploy/model-server.Dockerfile -t kennel-model-server .

ARG BASE_IMAGE=python:3.11-slim-bookworm
FROM ${BASE_IMAGE}

RUN groupadd --gid 10001 kennel \
 && useradd --uid 10001 --gid kennel --no-create-home --home-dir /tmp \
        --shell /usr/sbin/nologin kennel

WORKDIR /app
COPY pyproject.toml constraints.txt ./
# Dependencies only, so that a change of code does not install TensorFlow again.
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/venv \
 && python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*p['dependencies'], *p['optional-dependencies']['train'], sep='\n')" > /tmp/requirements.txt \
 && pip --python /opt/venv/bin/python install --quiet \
        --constraint constraints.txt --requirement /tmp/requirements.txt \
 && rm /tmp/requirements.txt

COPY models models
COPY kennel kennel

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
USER 10001:10001
EXPOSE 8500
ENTRYPOINT ["python", "-m", "kennel.cli", "model-server", "--host=0.0.0.0", "--port=8500"]
CMD ["--model_config_file=/models/models.config", "--model_config_file_poll_wait_seconds=10"]
