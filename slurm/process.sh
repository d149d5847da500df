#!/bin/bash
# Runs a command as one of the processes that srun started, telling it which one it is in the
# variables that PyTorch and accelerate read: process.sh COMMAND ...
set -euo pipefail
if ((${SLURM_NTASKS:-1} > 1)); then
    export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS
    export LOCAL_WORLD_SIZE=${SLURM_NTASKS_PER_NODE:-$SLURM_NTASKS}
    hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
    export MASTER_ADDR=${hosts%%$'\n'*} MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
fi
# In this process's place, so that signals reach the command.
exec "$@"
