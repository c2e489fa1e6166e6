#!/usr/bin/env bash
# Runs a training command until it is done, for machines whose runs are preempted: as long as it ends with code 75 (preempted, a
# checkpoint is saved), the same command goes on. Any other code ends the script with that code.
#
#   scripts/spot.sh tool train vqa --model dandelin/vilt-b32-mlm --data HuggingFaceM4/VQAv2
#
# --fresh counts for the first start alone. SIGTERM, SIGINT, SIGUSR1 and SIGHUP go on to the command, which saves and ends; the script then ends with its code instead of going on.
#
#   SPOT_RESTARTS   how often to go on at most (no limit unless set)
#   SPOT_PAUSE      seconds before going on (5)
set -um # -m: the command has a process group of its own, so that Ctrl-C reaches it once, through here

if [ "$#" -eq 0 ]; then
    echo "usage: $0 COMMAND [ARGS...]" >&2
    exit 2
fi
limit=${SPOT_RESTARTS:-}
pause=${SPOT_PAUSE:-5}

child='' stopped='' interrupted=''
pass_on() {
    stopped=$1 interrupted=yes
    [ -z "$child" ] || kill -s "$1" "$child" 2>/dev/null
}
for name in TERM INT USR1 HUP; do
    # shellcheck disable=SC2064 # the name of now
    trap "pass_on $name" "$name"
done

# Runs a command to its end, with signals passed on to it; sets $code.
run() {
    "$@" &
    child=$!
    # A signal that came before $child was known has not reached it.
    [ -z "$stopped" ] || kill -s "$stopped" "$child" 2>/dev/null
    while true; do
        interrupted=''
        wait "$child" # a signal ends it early, with a code of its own
        code=$?
        [ -n "$interrupted" ] || break
    done
    child=''
}

restarts=0
while true; do
    run "$@"
    if [ "$code" -ne 75 ] || [ -n "$stopped" ]; then
        exit "$code"
    fi
    if [ -n "$limit" ] && [ "$restarts" -ge "$limit" ]; then
        echo "preempted again after $restarts restarts (SPOT_RESTARTS): run the same command to go on" >&2
        exit 75
    fi
    restarts=$((restarts + 1))
    for argument in "$@"; do # the run that goes on is the one begun
        shift
        [ "$argument" = --fresh ] || set -- "$@" "$argument"
    done
    echo "preempted; going on in $pause s (restart $restarts${limit:+ of $limit})" >&2
    run sleep "$pause"
    [ -z "$stopped" ] || exit 75
done
