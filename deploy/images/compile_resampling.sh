# Compiles SOURCE, the fast resize, into FOLDER, with pyproject.toml's options; x86 only.
#
#   sh deploy/images/compile_resampling.sh SOURCE FOLDER
set -eu

mkdir -p "$2"
[ "$(uname -m)" = x86_64 ] || exit 0

packages="gcc libc6-dev"
headers=$(python -c 'import sysconfig; print(sysconfig.get_path("include"))')
# Python's own images include its headers; Debian has them in a package.
[ -e "$headers/Python.h" ] || packages="$packages python3-dev"
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $packages >/dev/null

suffix=$(python -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
cc -O3 -ffp-contract=off -fPIC -shared -I "$headers" "$1" -o "$2/_resampling$suffix"
