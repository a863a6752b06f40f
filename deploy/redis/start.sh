#!/bin/sh
# Creates Redis' only user, with the password from the secret, and executes Redis.
set -eu

folder=$(dirname "$0")
: "${REDIS_PASSWORD_FILE:=/run/secrets/redis_password}" "${RUN:=/tmp}"
password=$(cat "$REDIS_PASSWORD_FILE")
if [ -z "$password" ]; then
  echo "$REDIS_PASSWORD_FILE is empty: sh deploy/prepare.sh makes a password" >&2
  exit 1
fi
# Redis needs only the hash; no command line shows the hash or the password.
hash=$(printf %s "$password" | sha256sum | cut -d ' ' -f 1)
umask 077
{
  echo 'user default off'
  echo "user kennel on #$hash $(cat "$folder/rules")"
} >"$RUN/users.acl"
exec redis-server "$folder/redis.conf" --aclfile "$RUN/users.acl" "$@"
