#!/usr/bin/env bash
# A cohort on the nodes of a Slurm cluster: starts a Dask scheduler here and workers as Slurm jobs, ends both.
#     slurm.sh [options of sbatch] -- [options of ms-new-lesions run]
# docs/cluster.md says the rest.
set -euo pipefail
usage="usage: slurm.sh [options of sbatch, with --array=1-N for N workers] -- [options of ms-new-lesions run]"
asked=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do asked+=("$1"); shift; done
if [ $# -lt 2 ]; then echo "$usage" >&2; exit 2; fi
shift
for program in sbatch squeue scancel openssl dask ms-new-lesions; do
    if ! command -v "$program" >/dev/null; then
        echo "Error: $program is not in PATH; wanted it here and on the nodes (docs/cluster.md)" >&2
        exit 1
    fi
done

# Whoever reaches a Dask scheduler can run what they like: only who can read this folder gets in. Workers read
# it, too.
private=$(mktemp -d "$PWD/.slurm-XXXXXX")
workers=
scheduler=
run=
end() {
    [ -z "$run" ] || { kill "$run" && wait "$run"; } 2>/dev/null || true
    [ -z "$workers" ] || scancel "$workers" || true
    [ -z "$scheduler" ] || { kill "$scheduler" && wait "$scheduler"; } 2>/dev/null || true
    rm -rf "$private"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
key=$private/key.pem
certificate=$private/certificate.pem
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=ms-new-lesions -keyout "$key" -out "$certificate" \
    -addext keyUsage=critical,keyCertSign,digitalSignature,keyEncipherment 2>/dev/null
export DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION=true DASK_DISTRIBUTED__COMM__TLS__CA_FILE=$certificate
for part in SCHEDULER WORKER CLIENT; do
    export "DASK_DISTRIBUTED__COMM__TLS__${part}__CERT=$certificate" "DASK_DISTRIBUTED__COMM__TLS__${part}__KEY=$key"
done
# jobs come and go: a patient is to blame only if ten workers died with it
export DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=${DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES:-10}
# as app/__main__.py has it
export GLIBC_TUNABLES=glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184:glibc.malloc.hugetlb=1

address=$private/scheduler.json
dask scheduler --protocol tls --port 0 --no-dashboard --scheduler-file "$address" 2>"$private/scheduler.log" &
scheduler=$!
until [ -s "$address" ]; do
    if ! kill -0 "$scheduler" 2>/dev/null; then
        tail -n 1 "$private/scheduler.log" >&2
        echo "Error: dask scheduler does not start (the line above is its last)" >&2
        exit 1
    fi
    sleep 0.2
done

# Slurm names the GPUs of a job in CUDA_VISIBLE_DEVICES; the limit of memory is Slurm's to keep
# shellcheck disable=SC2016 # the node fills it in
worker='exec dask worker --scheduler-file "$0" --nthreads 1 --memory-limit 0 --no-dashboard --death-timeout 300 \
    --local-directory "${TMPDIR:-/tmp}" ${CUDA_VISIBLE_DEVICES:+--resources GPU=1}'
workers=$(sbatch --parsable --requeue --job-name=ms-new-lesions ${asked[@]+"${asked[@]}"} \
    --wrap "bash -c '$worker' '$address'")
workers=${workers%%;*}
ms-new-lesions run --scheduler "$(sed -n 's/.*"address": "\([^"]*\)".*/\1/p' "$address")" "$@" &
run=$!
while kill -0 "$run" 2>/dev/null; do
    if [ -z "$(squeue --noheader --jobs "$workers" 2>&1)" ]; then
        sleep 5 # `run` may be about to end as well
        kill -0 "$run" 2>/dev/null || break
        echo "Error: every worker has ended; their logs, slurm-${workers}_*.out, say why" >&2
        exit 1
    fi
    sleep 2
done
wait "$run"
