#!/usr/bin/env bash
# Trains on several nodes under Slurm, over as many time limits and preemptions as it takes:
#
#   sbatch scripts/slurm.sh
#   sbatch --nodes 4 --gpus-per-node 4 scripts/slurm.sh tool train vqa --config run.yaml --output-dir /shared/runs
#
# Two minutes before the time limit Slurm sends SIGUSR1 to this script, which passes it on; the tool saves a checkpoint, ends with
# code 75, and the job goes back into the queue, where the same command goes on. A job that is cancelled saves too and stays out.
#
#   SLURM_RESTARTS  how often the job puts itself back at most (100)
#
# What to adapt: the lines down to COMMAND. The output folder must be one that all nodes see.
#SBATCH --job-name=tool-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log
set -u
COMMAND=(
    tool train vqa
    --model dandelin/vilt-b32-mlm
    --data HuggingFaceM4/VQAv2
    --output-dir "${RUNS:-runs}"
)
# source /shared/venvs/tool/bin/activate

[ "$#" -eq 0 ] || COMMAND=("$@")
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then # the run that goes on is the one begun
    kept=()
    for argument in "${COMMAND[@]}"; do
        [ "$argument" = --fresh ] || kept+=("$argument")
    done
    COMMAND=("${kept[@]}")
fi
GPUS=${SLURM_GPUS_ON_NODE:-1}
MAIN=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
PORT=$((20000 + SLURM_JOB_ID % 10000)) # two jobs on one node don't meet
COMMAND+=(--num-processes "$GPUS" --num-machines "$SLURM_NNODES" --main-address "$MAIN:$PORT")

step='' ended='' interrupted=''
# shellcheck disable=SC2317 # called by the traps
pass_on() {
    interrupted=yes
    # SIGUSR1 even for SIGTERM: srun hands it to the tool, but kills the step on a SIGTERM of its own.
    [ -z "$step" ] || kill -s USR1 "$step" 2>/dev/null
}
trap pass_on USR1
trap 'ended=yes; pass_on' TERM INT

# One launcher a node; the shell there knows the node's number and then becomes the tool. The nodes end one after the other, so none
# is killed because another has ended (--kill-on-bad-exit), unless it stays for two minutes (--wait).
# shellcheck disable=SC2016 # expanded on the node
srun --ntasks-per-node=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --kill-on-bad-exit=0 --wait=120 \
    bash -c 'exec "$@" --machine-rank "$SLURM_NODEID"' node "${COMMAND[@]}" &
step=$!
[ -z "$interrupted" ] || pass_on # a signal that came before $step was known
while true; do
    interrupted=''
    wait "$step" # a signal ends it early, with a code of its own
    code=$?
    [ -n "$interrupted" ] || break
done

if [ "$code" -eq 75 ] && [ -z "$ended" ]; then
    if [ "${SLURM_RESTART_COUNT:-0}" -ge "${SLURM_RESTARTS:-100}" ]; then
        echo "preempted again after $SLURM_RESTART_COUNT restarts (SLURM_RESTARTS): sbatch it again to go on" >&2
    else
        echo "preempted: back into the queue" >&2
        scontrol requeue "$SLURM_JOB_ID" || echo "Slurm doesn't requeue this job: sbatch it again to go on" >&2
    fi
fi
exit "$code"
