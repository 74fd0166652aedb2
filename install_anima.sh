#!/bin/sh
# Installs Anima's programs, scripts and atlas into a folder, with the settings file that names them; called by the Dockerfile.
# The release is checked against a SHA-256, the two repositories against their commits (and Git LFS checks the atlas); all three are given by the builder.
set -eu
folder=$1
: "${ANIMA_SHA256:?wanted --build-arg ANIMA_SHA256=, the SHA-256 of Anima-Ubuntu-${ANIMA_VERSION}.zip}"
: "${ANIMA_SCRIPTS_COMMIT:?wanted --build-arg ANIMA_SCRIPTS_COMMIT=, a commit of Anima-Scripts-Public}"
: "${ANIMA_DATA_COMMIT:?wanted --build-arg ANIMA_DATA_COMMIT=, a commit of Anima-Scripts-Data-Public}"
github=https://github.com/Inria-Empenn

apt-get update
apt-get install --yes --no-install-recommends ca-certificates curl git git-lfs unzip
curl --fail --silent --show-error --location --output /tmp/anima.zip \
    "$github/Anima-Public/releases/download/v$ANIMA_VERSION/Anima-Ubuntu-$ANIMA_VERSION.zip"
echo "$ANIMA_SHA256  /tmp/anima.zip" | sha256sum --check -
unzip -q /tmp/anima.zip -d "$folder"
git lfs install
for part in "Anima-Scripts-Public $ANIMA_SCRIPTS_COMMIT" "Anima-Scripts-Data-Public $ANIMA_DATA_COMMIT"; do
    name=${part% *}
    git clone --quiet "$github/$name.git" "$folder/$name"
    git -C "$folder/$name" checkout --quiet "${part#* }"
    rm -rf "$folder/$name/.git"
done
cat > "$folder/config.txt" <<EOF
[anima-scripts]
anima = $folder/Anima-Binaries-$ANIMA_VERSION
anima-scripts-public-root = $folder/Anima-Scripts-Public
extra-data-root = $folder/Anima-Scripts-Data-Public
EOF
