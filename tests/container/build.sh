#!/usr/bin/env bash
# Builds the real Dockerfile as localhost/ms-new-lesions:test: with Docker where its daemon answers, else, as root on Debian, with buildah.
# Buildah is for machines that reach Debian's packages and PyPI but no container registry: a small Debian stands in for the base image.
set -euo pipefail
cd "$(dirname "$0")/../.."
image=localhost/ms-new-lesions:test
standin=localhost/ms-new-lesions-base:bookworm-slim
options=(--tag "$image" --build-arg "COMMIT=$(git describe --always --dirty --abbrev=40 --exclude '*')"
    --build-arg "CREATED=$(date --utc +%Y-%m-%dT%H:%M:%SZ)")

if docker info >/dev/null 2>&1; then
    docker build "${options[@]}" ${BASE_IMAGE:+--build-arg "BASE_IMAGE=$BASE_IMAGE"} .
    exit
fi

export CONTAINERS_CONF=$PWD/tests/container/containers.conf
if ! { command -v buildah && command -v runc && command -v mmdebstrap && podman info; } >/dev/null 2>&1; then
    packages=(buildah podman runc netavark mmdebstrap)
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "no Docker daemon; wanted one, or working ${packages[*]}, which this script installs as root on Debian" >&2
        exit 1
    fi
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install --yes --no-install-recommends "${packages[@]}"
fi

# This machine's way to PyPI: its certificates, and a folder of wheels if pip is set to look in one.
wheels=${PIP_FIND_LINKS:-$(python3 -m pip config get global.find-links 2>/dev/null || true)}
if ! podman image exists "$standin"; then
    settings=$(mktemp)
    printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' >"$settings"
    [ ! -d "$wheels" ] || echo "find-links = $wheels" >>"$settings"
    # the apt setting, and what is left out, are those of Docker's own Debian and Ubuntu images
    # shellcheck disable=SC2016 # mmdebstrap fills in "$1"
    mmdebstrap --variant=minbase --include=ca-certificates,usr-is-merged \
        --customize-hook='upload /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt' \
        --customize-hook="upload $settings /etc/pip.conf" \
        --customize-hook='chmod 644 "$1/etc/pip.conf"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --customize-hook='rm -f "$1"/var/cache/apt/*.bin' \
        --customize-hook='echo "Dir::Cache::pkgcache \"\"; Dir::Cache::srcpkgcache \"\";" >"$1/etc/apt/apt.conf.d/docker-clean"' \
        bookworm - | podman import --quiet - "$standin"
    rm "$settings"
fi
if [ -d "$wheels" ]; then
    options+=(--volume "$wheels:$wheels:ro")
else
    options+=(--build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu)
fi
buildah build --format docker --layers --network host --build-arg TORCH=cpu --build-arg "BASE_IMAGE=$standin" \
    --build-arg "BASE_DIGEST=$(podman image inspect --format '{{.Digest}}' "$standin")" "${options[@]}" .
