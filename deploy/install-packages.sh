#!/usr/bin/env bash
# Installs what `make run` needs from Debian; with the argument `tests`, what the suite needs beside it. Called by root, it also
# makes the users that the services run as.
set -euo pipefail

missing=()
need() { # PACKAGE TEST…: the package is missing when the test fails
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

has_postgres() {
    local folder
    for folder in /usr/lib/postgresql/*/bin; do
        [[ -x $folder/initdb && ${folder//[^0-9]/} -ge 15 ]] && return 0
    done
    command -v initdb
}

need postgresql has_postgres
need postgresql-contrib test -n "$(compgen -G '/usr/share/postgresql/*/extension/bloom.control')"
need openssl command -v openssl
need gcc command -v cc
need libc6-dev test -e /usr/include/stdio.h
need curl command -v curl
need softhsm2 test -e /usr/lib/softhsm/libsofthsm2.so
need opensc command -v pkcs11-tool
if [[ ${1:-} == tests ]]; then
    need python3-venv python3 -c 'import ensurepip'
    need nodejs command -v node
    need npm command -v npm
    need chromium command -v chromium
fi

may_install=true
sudo=()
if [[ $(id -u) -ne 0 ]]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo=(sudo -n); else may_install=false; fi
fi

# Only root's installation runs the services as users of their own.
for user in clm-core clm-secure; do
    if [[ $(id -u) -eq 0 ]] && ! getent passwd "$user" >/dev/null; then
        echo "Making the user $user"
        useradd --system --user-group --no-create-home --shell /usr/sbin/nologin "$user"
    fi
done

if [[ ${#missing[@]} -eq 0 ]]; then
    exit 0
fi

install=(apt-get install --yes --no-install-recommends "${missing[@]}")
if ! $may_install; then
    echo "These packages are missing. Install them with:" >&2
    echo "    sudo ${install[*]}" >&2
    exit 1
fi

echo "Installing ${missing[*]}"
# The package would otherwise make and start a cluster of its own on port 5432.
no_cluster=/etc/postgresql-common/createcluster.d/clm-local.conf
"${sudo[@]}" mkdir -p "${no_cluster%/*}"
echo "create_main_cluster = false" | "${sudo[@]}" tee "$no_cluster" >/dev/null
trap '"${sudo[@]}" rm -f "$no_cluster"' EXIT
"${sudo[@]}" apt-get update --quiet=2
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive "${install[@]}" --quiet=2 >/dev/null
