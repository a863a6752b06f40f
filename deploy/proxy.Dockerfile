# nginx with its configuration, as an unprivileged user.
#
#   docker build -f deploy/proxy.Dockerfile -t kennel-proxy:local .

ARG BASE_IMAGE=nginx:1.28-bookworm
FROM ${BASE_IMAGE}

# Large requests are buffered here; a new volume takes the owner of this folder.
RUN install --directory --owner=10001 --group=10001 /var/spool/kennel
COPY deploy/nginx /etc/kennel/nginx
USER 10001:10001
EXPOSE 8080 8443
# SIGQUIT: nginx finishes requests in flight first.
STOPSIGNAL SIGQUIT
ENTRYPOINT ["sh", "/etc/kennel/nginx/start.sh"]
