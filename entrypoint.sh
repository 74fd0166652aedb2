#!/bin/sh
# The image's command. Without arguments: `run` if patients are mounted at /input, else the help. A BIDS App's
# arguments, `bids_dir output_dir participant`, need no command before them.
if [ "${3:-}" = participant ]; then set -- bids "$@"; fi
if [ "$#" -eq 0 ]; then
    if [ -d /input ]; then set -- run; else set -- --help; fi
fi
exec /opt/venv/bin/python -m app "$@"
