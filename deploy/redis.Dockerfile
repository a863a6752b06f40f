# Redis with its configuration, as an unprivileged user.
#
#   docker build -f deploy/redis.Dockerfile -t kennel-redis:local .

ARG BASE_IMAGE=redis:7.4-bookworm@sha256:4fa24486b8bcca8eec45ee0eb166edc674795e53a2b53d1a9ef263eecebaac85
FROM ${BASE_IMAGE}

# Not the base image's /data, which belongs to another user.
RUN install --directory --owner=10001 --group=10001 /var/lib/kennel
COPY deploy/redis /etc/kennel/redis
WORKDIR /var/lib/kennel
USER 10001:10001
ENTRYPOINT ["sh", "/etc/kennel/redis/start.sh"]
