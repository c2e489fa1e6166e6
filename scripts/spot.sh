#!/usr/bin/env bash
# Runs a training command until it is done: on a spot machine that was preempted and restarted, or after `--max-steps`-like stops.
# usage: scripts/spot.sh tool train vqa --model dandelin/vilt-b32-mlm --data HuggingFaceM4/VQAv2
set -u
if [ "$#" -eq 0 ]; then
    echo "usage: $0 COMMAND [ARGS...]" >&2
    exit 2
fi
trap 'exit 130' INT
trap 'exit 143' TERM
while true; do
    "$@"
    code=$?
    # 75: preempted, a checkpoint is saved; the same command goes on.
    [ "$code" -eq 75 ] || exit "$code"
    echo "preempted; going on in 5 s" >&2
    sleep 5
done
