#!/bin/sh
# Fills in the configuration and becomes nginx. Two modes: plain, or with TLS if TLS_FOLDER
# is set to one with fullchain.pem and privkey.pem.
set -eu

# Around the bodies that the API limits: names and boundaries of a form.
form_bytes=1048576
# 127.0.0.11 in Docker, another in podman and Kubernetes. IPv6 is written in brackets.
nameserver=$(sed -n 's/^nameserver[[:space:]]*//p' /etc/resolv.conf | head -n 1)
case $nameserver in *:*) nameserver="[$nameserver]" ;; esac

CONFIG=$(dirname "$0")
: "${RUN:=/tmp/nginx}" "${SPOOL:=/var/spool/kennel}"
: "${API:=api:8000}" "${RESOLVER:=$nameserver}"
: "${PROXY_LISTEN:=8080}" "${PROXY_LISTEN_TLS:=8443}" "${PROXY_WORKERS:=2}"
: "${PROXY_CONNECTIONS_PER_ADDRESS:=256}" "${TLS_FOLDER:=}" "${TLS_PORT:=443}"
LARGEST_REQUEST=$((${MAX_REQUEST_BYTES:-67108864} + form_bytes))
LARGEST_UPLOAD=$((${MAX_UPLOAD_BYTES:-4294967296} + form_bytes))
export CONFIG RUN SPOOL API RESOLVER PROXY_LISTEN PROXY_LISTEN_TLS PROXY_WORKERS
export PROXY_CONNECTIONS_PER_ADDRESS TLS_FOLDER TLS_PORT LARGEST_REQUEST LARGEST_UPLOAD

# nginx has variables of its own: only ours are filled in.
ours='$CONFIG $RUN $SPOOL $API $RESOLVER $PROXY_LISTEN $PROXY_LISTEN_TLS $PROXY_WORKERS
$PROXY_CONNECTIONS_PER_ADDRESS $TLS_FOLDER $TLS_PORT $LARGEST_REQUEST $LARGEST_UPLOAD'
fill_in() { envsubst "$ours" <"$CONFIG/$1" >"$RUN/$2"; }

mkdir -p "$RUN"
rm -f "$RUN"/redirect*.conf
fill_in nginx.conf nginx.conf
if [ -n "$TLS_FOLDER" ]; then
  fill_in listen_tls.conf listen.conf
  fill_in redirect_tls.conf redirect.conf
else
  fill_in listen_plain.conf listen.conf
fi
exec nginx -e /dev/stderr -c "$RUN/nginx.conf" -g 'daemon off;'
