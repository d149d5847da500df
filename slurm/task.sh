#!/bin/bash
# Runs a command as one of the processes that srun started: task.sh CONTROL COMMAND ...
# It is told which one it is, in the variables that PyTorch and accelerate read. When a file "stop"
# appears in the folder CONTROL, the command gets USR1, and nothing else of the step does. The
# command's code goes into CONTROL, because srun's says little about several, or about a lost node.
set -uo pipefail
control=$1
shift
if ((${SLURM_NTASKS:-1} > 1)); then
    export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS
    export LOCAL_WORLD_SIZE=${SLURM_NTASKS_PER_NODE:-$SLURM_NTASKS}
    hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
    export MASTER_ADDR=${hosts%%$'\n'*} MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
fi

# True once process $1 handles USR1 itself: before, during its imports, nobody would hear it.
handles_usr1() {
    local key value
    while read -r key value; do
        if [[ $key == SigCgt: ]]; then
            # The low half only: the whole has 64 bits, and USR1 is number 10.
            ((16#${value: -8} >> 9 & 1))
            return
        fi
    done 2>/dev/null <"/proc/$1/status"
    return 1
}

# What Slurm sends reaches every process of the step, the command too; this shell stays for its code.
asked=0 next=0 looked=0
trap 'asked=1' USR1 USR2
trap : TERM INT
(trap '' USR1 USR2 && exec "$@") &
command=$!
exec {rest}<> <(:)
while kill -0 "$command" 2>/dev/null; do
    # The folder may be on a network's storage: one look a second.
    if ((asked == 0 && EPOCHSECONDS > looked)); then
        looked=$EPOCHSECONDS
        [[ ! -e $control/stop ]] || asked=1
    fi
    # Again every ten seconds: one that comes between two stages of a command is lost.
    if ((asked == 1 && EPOCHSECONDS >= next)) && handles_usr1 "$command"; then
        kill -s USR1 "$command" 2>/dev/null
        next=$((EPOCHSECONDS + 10))
    fi
    read -r -t 0.2 -u "$rest" || true
done
wait "$command"
code=$?
echo "$code" >"$control/code.${SLURM_PROCID:-0}"
exit "$code"
