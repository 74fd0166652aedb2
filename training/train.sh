#!/bin/sh
# Rebuild weights/ from open data:  training/train.sh --open DIR   (hours on two CPU cores; see training/README.md)
# Try the whole chain on made-up data, without touching weights/:  training/train.sh --tiny
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python}
# glibc hands large blocks back to the system after every step otherwise, which halves the speed on a CPU
export GLIBC_TUNABLES=glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184:glibc.malloc.hugetlb=1

case "${1:-}" in
--open)
    [ $# -eq 2 ] || { echo "usage: training/train.sh --open DIR" >&2; exit 2; }
    data=$2 runs=runs/open weights=weights
    options="--steps ${STEPS:-1200} --features ${FEATURES:-16}"
    ;;
--tiny)
    runs=$(mktemp -d) data=$runs/data weights=$runs/weights
    trap 'rm -rf "$runs"' EXIT
    options="--steps 4 --features 8 --validate-steps 4 --patch 32"
    "$PYTHON" -m training.tiny "$data"
    ;;
*)
    echo "usage: training/train.sh --open DIR | --tiny" >&2
    exit 2
    ;;
esac

"$PYTHON" -m training.prepare --data "$data" --out "$runs/prepared"
for seed in 1 2; do
    # shellcheck disable=SC2086  # options are words
    "$PYTHON" -m training.train --prepared "$runs/prepared" --run "$runs/seed$seed" --seed "$seed" $options
done
"$PYTHON" -m training.publish "$runs/seed1/best.pt" "$runs/seed2/best.pt" --weights "$weights"
"$PYTHON" -m training.validate --prepared "$runs/prepared" --weights "$weights" --choose
