# shellcheck shell=bash
# Shared by the sbatch files of this folder; sourced by them, never run by itself.
#
# A sbatch file calls, in this order:
#   prepare_job [requirements file ...]     modules, virtual environment, variables
#   run_step COMMAND ...                    runs it under srun, passes the stop signal on, sets $exit_code
#   continue_later FOLDER NAME SCRIPT ...   submits the job again where work remains

readonly STOPPED_AFTER_SAVING=75 # exit code of every command of this project that was asked to stop

say() { printf '%s %s\n' "$(date '+%F %T')" "$*"; }
fail() { say "error: $*" >&2; exit 2; }

prepare_job() {
    : "${SCRATCH:?set SCRATCH to a folder with room for outputs}"
    export RUNS="${RUNS:-$SCRATCH/videopapr/runs}" DATASETS="${DATASETS:-$SCRATCH/videopapr/data}"
    mkdir -p "$RUNS" "$DATASETS" || fail "cannot write to $RUNS or $DATASETS"
    cd "$ROOT" || fail "no folder $ROOT"
    load_software "$@"
    # Weights are fetched beforehand on a login node; most compute nodes have no internet.
    export HF_HOME="${HF_HOME:-$SCRATCH/huggingface}" HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1
    export PYTHONUNBUFFERED=1 OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
    # Since Slurm 22.05 srun no longer inherits --cpus-per-task.
    export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"
    started=$(mktemp "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/started.XXXXXX") || fail "no room for temporary files"
    say "job ${SLURM_JOB_ID:-?} on $(hostname), code at $ROOT, runs at $RUNS"
}

# An environment made once (VENV) is used as it is; otherwise one is built on the node's own disk.
load_software() {
    if type module >/dev/null 2>&1; then
        module purge
        # shellcheck disable=SC2086
        module load ${MODULES:-StdEnv/2023 python/3.11} || fail "cannot load modules"
    fi
    if [[ -n ${VENV:-} ]]; then
        # shellcheck disable=SC1091
        source "$VENV/bin/activate" || fail "no virtual environment at $VENV"
        return
    fi
    : "${SLURM_TMPDIR:?set VENV to a virtual environment: this cluster gives no SLURM_TMPDIR}"
    local requirements=() file
    for file in "$@"; do requirements+=(-r "$ROOT/slurm/$file"); done
    virtualenv --no-download "$SLURM_TMPDIR/env" || fail "cannot make a virtual environment"
    # shellcheck disable=SC1091
    source "$SLURM_TMPDIR/env/bin/activate"
    pip install --no-index --upgrade pip || fail "cannot upgrade pip without an index"
    pip install --no-index "${requirements[@]}" || fail "cannot install ${requirements[*]}"
}

# Slurm signals only this shell (--signal=B:...), so the signal has to be handed on. The command runs
# in the background because a shell that waits for a foreground command runs no trap.
run_step() {
    cancelled=0
    local step interrupted
    srun "$@" &
    step=$!
    trap 'pass_on USR1 "time is nearly up"' USR1
    trap 'cancelled=1; pass_on TERM "the job is cancelled"' TERM INT
    # A trap ends `wait` early with a code of its own; the command's code comes from the next `wait`.
    interrupted=1
    while ((interrupted)); do
        interrupted=0
        wait "$step"
        exit_code=$?
    done
    trap - USR1 TERM INT
    say "the command ended with code $exit_code"
}

pass_on() {
    interrupted=1
    say "$2: asking the command to save and stop"
    kill -s "$1" "$step" 2>/dev/null
}

# Submits the job again only if the command itself says that it stopped after saving, the job was
# not cancelled, RESUBMIT=1, a file called NAME (a regular expression) under FOLDER is newer than this job's start (so that a job
# which gets nowhere does not come back for ever), and it was not yet done RESUBMIT_MAX times.
continue_later() {
    local folder=$1 name=$2
    shift 2
    [[ $exit_code -eq $STOPPED_AFTER_SAVING ]] || return 0
    local count=${RESUBMIT_COUNT:-0} most=${RESUBMIT_MAX:-10}
    if [[ ${RESUBMIT:-0} != 1 ]]; then
        say "work remains; submit the same command again to continue (RESUBMIT=1 does so by itself)"
    elif [[ $cancelled -eq 1 ]]; then
        say "work remains, but the job was cancelled: not submitted again"
    elif [[ -z $(find "$folder" -newer "$started" -regextype posix-extended -regex ".*/($name)" -print -quit 2>/dev/null) ]]; then
        say "work remains, but this job saved nothing new in $folder: not submitted again"
    elif ((count >= most)); then
        say "work remains, but the job was already continued $count times (RESUBMIT_MAX)"
    else
        # shellcheck disable=SC2086
        (cd "${SLURM_SUBMIT_DIR:-.}" && RESUBMIT_COUNT=$((count + 1)) sbatch ${RESUBMIT_OPTIONS:-} "$@") &&
            say "submitted again ($((count + 1)) of at most $most)"
    fi
}
