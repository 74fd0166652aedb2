#!/bin/sh
# Train the shipped networks further on a laboratory's own pairs (docs/finetune.md):
#   training/finetune.sh --data PAIRS --out my_weights [--prepared runs/open/prepared]
# In the environment: PYTHON.
set -eu
# glibc hands large blocks back to the system after every step otherwise, which halves the speed on a CPU
export GLIBC_TUNABLES=glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184:glibc.malloc.hugetlb=1
PYTHONPATH=$(cd "$(dirname "$0")/.." && pwd)${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH
exec "${PYTHON:-python}" -m training.finetune "$@"
