#!/bin/sh
# The image's command. Without arguments: `run` if patients are mounted at /input, else the help.
if [ "$#" -eq 0 ]; then
    if [ -d /input ]; then set -- run; else set -- --help; fi
fi
exec /opt/venv/bin/python -m app "$@"
