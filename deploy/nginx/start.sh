#!/bin/sh
# Fills in the configuration, executes nginx, and reloads it when replicas come or go. Serves
# plain HTTP, or TLS if TLS_FOLDER is a folder with fullchain.pem and privkey.pem.
set -eu

# Added to the API's limits of bodies, for names and boundaries of a form.
form_bytes=1048576
look_again_seconds=2

CONFIG=$(dirname "$0")
: "${RUN:=/tmp/nginx}" "${SPOOL:=/var/spool/kennel}"
: "${REPLICAS_NAME:=api}" "${REPLICAS_PORT:=8000}" "${LOOK_UP:=getent ahostsv4}"
: "${PROXY_LISTEN:=8080}" "${PROXY_LISTEN_TLS:=8443}" "${PROXY_WORKERS:=2}"
: "${PROXY_CONNECTIONS_PER_ADDRESS:=256}" "${TLS_FOLDER:=}" "${TLS_PORT:=443}"
# Concurrency limit of predictions per replica: its number of threads. More would queue there
# without a limit instead of being refused.
requests=$((${WEB_WORKERS:-2} * ${WEB_THREADS:-40}))
LARGEST_REQUEST=$((${MAX_REQUEST_BYTES:-67108864} + form_bytes))
LARGEST_UPLOAD=$((${MAX_UPLOAD_BYTES:-4294967296} + form_bytes))
export CONFIG RUN SPOOL PROXY_LISTEN PROXY_LISTEN_TLS PROXY_WORKERS
export PROXY_CONNECTIONS_PER_ADDRESS TLS_FOLDER TLS_PORT LARGEST_REQUEST LARGEST_UPLOAD

# nginx has variables of its own: fill in only these.
ours='$CONFIG $RUN $SPOOL $PROXY_LISTEN $PROXY_LISTEN_TLS $PROXY_WORKERS $TLS_FOLDER
$PROXY_CONNECTIONS_PER_ADDRESS $TLS_PORT $LARGEST_REQUEST $LARGEST_UPLOAD'
fill_in() { envsubst "$ours" <"$CONFIG/$1" >"$RUN/$2"; }

# Whether the replicas have changed. While DNS fails, the last known replicas stay listed;
# nginx's own resolver would drop them all.
replicas_changed() {
  $LOOK_UP "$REPLICAS_NAME" | cut -d ' ' -f 1 | sort -u | while read -r address; do
    echo "server $address:$REPLICAS_PORT max_fails=1 fail_timeout=2s;"
  done >"$RUN/replicas.new"
  [ -s "$RUN/replicas.new" ] || return 1
  cmp -s "$RUN/replicas.new" "$RUN/replicas.conf" && return 1
  mv "$RUN/replicas.new" "$RUN/replicas.conf"
  bound_replicas
}

bound_replicas() {
  sed "s/;/ max_conns=$requests;/" "$RUN/replicas.conf" >"$RUN/bounded_replicas.conf"
}

watch_replicas() {
  while sleep "$look_again_seconds" && kill -0 $$; do
    if replicas_changed && [ -s "$RUN/nginx.pid" ]; then
      kill -HUP $$
    fi
  done
}

mkdir -p "$RUN"
rm -f "$RUN"/*.conf "$RUN/nginx.pid"
fill_in nginx.conf nginx.conf
if [ -n "$TLS_FOLDER" ]; then
  fill_in listen_tls.conf listen.conf
  fill_in redirect_tls.conf redirect.conf
else
  fill_in listen_plain.conf listen.conf
fi
# Pages of the allowed origins may read the proxy's own errors, too.
set -f
{
  echo 'map $http_origin $allowed_origin {'
  for origin in $(echo "${CORS_ORIGINS:-}" | tr ',' ' '); do
    case $origin in
      '*') echo 'default "*";' ;;
      *[!]A-Za-z0-9+.:/_[-]*) ;; # the API refuses to start and names it
      *) echo "\"$origin\" \$http_origin;" ;;
    esac
  done
  echo '}'
} >"$RUN/origins.conf"
set +f
# An upstream needs a server; nothing listens at this one.
if ! replicas_changed; then
  echo 'server 127.0.0.1:1;' >"$RUN/replicas.conf"
  bound_replicas
fi
watch_replicas &
exec nginx -e /dev/stderr -c "$RUN/nginx.conf" -g 'daemon off;'
