#!/bin/sh
# Rebuild weights/ from open data, or from the MSSEG-2 challenge's patients by the paper's recipe (hours on a GPU; see training/README.md):
#   training/train.sh --open DIR
#   training/train.sh --msseg2 DIR
# Rebuild weights/brain.pt, the brain extraction, from open data (an hour on one core):  training/train.sh --brain DIR
# Try both chains on made-up data, without touching weights/:  training/train.sh --tiny
# In the environment: RUNS and WEIGHTS (folders), STEPS, FEATURES, MINUTES (a run, at most), FOLDS and PREPROCESSING (--msseg2), PYTHON.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python}
# glibc hands large blocks back to the system after every step otherwise, which halves the speed on a CPU
export GLIBC_TUNABLES=glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184:glibc.malloc.hugetlb=1

# Each in a shell of its own, so that its variables are its own.
# open_recipe DIR RUNS WEIGHTS OPTIONS...
open_recipe() (
    data=$1 runs=$2 weights=$3
    shift 3
    [ -d "$data/open_ms_pairs" ] || "$PYTHON" -m training.open_pairs --data "$data"
    "$PYTHON" -m training.prepare --data "$data" --out "$runs/prepared"
    "$PYTHON" -m training.train --prepared "$runs/prepared" --run "$runs/made" --seed 31 "$@"
    for fold in 1 2; do
        "$PYTHON" -m training.train --prepared "$runs/prepared" --run "$runs/fold$fold" --fold "$fold" --seed "4$fold" \
            --from "$runs/made/last.pt" "$@"
    done
    "$PYTHON" -m training.publish "$runs/fold1/last.pt" "$runs/fold2/last.pt" --weights "$weights"
    "$PYTHON" -m training.validate --prepared "$runs/prepared" --weights "$weights" --choose --card
)

# paper_recipe DIR RUNS WEIGHTS FOLDS PREPROCESSING OPTIONS...
paper_recipe() (
    data=$1 runs=$2 weights=$3 folds=$4 preprocessing=$5
    shift 5
    "$PYTHON" -m training.msseg2 --data "$data" --out "$runs/prepared" --folds "$folds" --preprocessing "$preprocessing"
    best=
    for fold in $(seq "$folds"); do
        "$PYTHON" -m training.train --prepared "$runs/prepared" --run "$runs/fold$fold" --fold "$fold" "$@"
        best="$best$runs/fold$fold/best.pt
"
    done
    # a path may hold spaces: one a line
    printf '%s' "$best" | tr '\n' '\0' | xargs -0 "$PYTHON" -m training.publish --weights "$weights"
    "$PYTHON" -m training.validate --prepared "$runs/prepared" --weights "$weights" --card
)

usage() {
    echo "usage: training/train.sh --open DIR | --msseg2 DIR | --brain DIR | --tiny" >&2
    exit 2
}

asked=${STEPS:+--steps $STEPS}${FEATURES:+ --features $FEATURES}${MINUTES:+ --minutes $MINUTES}
case "${1:-}" in
--open)
    [ $# -eq 2 ] || usage
    # shellcheck disable=SC2086  # options are words
    open_recipe "$2" "${RUNS:-runs/open}" "${WEIGHTS:-weights}" $asked
    ;;
--msseg2)
    [ $# -eq 2 ] || usage
    # shellcheck disable=SC2086
    paper_recipe "$2" "${RUNS:-runs/msseg2}" "${WEIGHTS:-weights}" "${FOLDS:-5}" "${PREPROCESSING:-native}" $asked
    ;;
--brain)
    [ $# -eq 2 ] || usage
    "$PYTHON" -m training.brain_train --data "$2" --run "${RUNS:-runs/brain}" --weights "${WEIGHTS:-weights}/brain.pt" \
        ${STEPS:+--steps "$STEPS"}
    ;;
--tiny)
    runs=$(mktemp -d)
    trap 'rm -rf "$runs"' EXIT
    small="--steps 4 --features 8 --validate-steps 4 --patch 32"
    "$PYTHON" -m training.tiny open "$runs/open data"
    "$PYTHON" -m training.tiny msseg2 "$runs/challenge data"
    # shellcheck disable=SC2086
    open_recipe "$runs/open data" "$runs/open" "$runs/open weights" $small
    # shellcheck disable=SC2086
    paper_recipe "$runs/challenge data" "$runs/msseg2" "$runs/msseg2 weights" 2 none $small
    cat "$runs/msseg2 weights/MODEL_CARD.md"
    ;;
*)
    usage
    ;;
esac
