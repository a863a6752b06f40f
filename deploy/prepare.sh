#!/bin/sh
# Creates what compose needs and git ignores: .env, folders and passwords. Existing files
# stay unchanged.
set -eu
umask 022
cd "$(dirname "$0")/.."

[ -e .env ] || cp .env.example .env

# Only you can open the folder of secrets; the containers' users read the files in it.
mkdir -p var/models var/data var/keys secrets
chmod 700 secrets
for name in redis grafana; do
  secret=secrets/$name-password
  [ -s "$secret" ] || od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$secret"
done
[ -e secrets/prometheus-api-key ] || : >secrets/prometheus-api-key

# The trainer writes here as your user; if you are root, as the user of the images.
if [ "$(id -u)" -eq 0 ]; then
  chown 10001:10001 var var/models var/data
elif ! grep -q '^TRAINER_USER=' .env; then
  echo "TRAINER_USER=$(id -u):$(id -g)" >>.env
fi
echo "ready for: docker compose up -d --build"
