#!/bin/sh
# Gives Redis its only user, whose password is the secret, and becomes Redis.
set -eu

secret=${REDIS_PASSWORD_FILE:-/run/secrets/redis_password}
password=$(cat "$secret")
if [ -z "$password" ]; then
  echo "$secret is empty: sh deploy/prepare.sh makes a password" >&2
  exit 1
fi
# Redis needs to know the hash only, and no command line shows either.
hash=$(printf %s "$password" | sha256sum | cut -d ' ' -f 1)
umask 077
{
  echo 'user default off'
  echo "user kennel on #$hash $(cat /etc/kennel/redis/rules)"
} >/tmp/users.acl
exec redis-server /etc/kennel/redis/redis.conf "$@"
