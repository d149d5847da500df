# shellcheck shell=bash
# The common prologue and ending of the sbatch files of this folder; sourced by them, never run by itself.
#
# A sbatch file calls, in this order:
#   prepare_job [requirements file ...]     settings of the site, modules, virtual environment, variables
#   run_step COMMAND ...                    runs it under srun, tells it when to stop, sets $exit_code
#   continue_later FOLDER NAME SCRIPT ...   submits the job again where work remains
# and sets chain=1 before if array tasks of it continue one another.

readonly STOPPED_AFTER_SAVING=75 # exit code of every command of this project that was asked to stop
readonly WARNING_S=300           # the sbatch files ask for Slurm's signal this long before the limit

say() { printf '%s %s\n' "$(date '+%F %T')" "$*"; }
fail() { say "error: $*" >&2; exit 2; }

# Set at once, since a signal may come while the environment is made; run_step acts on what came. They
# only take notes: bash may break off a trap that does more, where it interrupts a `read`.
warned=0 judged=0 cancelled=0 stop_at="" stop_reason="" chain=${chain:-0} exit_code=1
trap 'warned=1' USR1
trap 'cancelled=1' TERM INT

stop_is_due() {
    if was_cancelled; then
        stop_reason="the job is cancelled"
        return 0
    fi
    ((warned == 1)) || return 1
    stop_reason="time is nearly up"
    if ((judged == 0)); then
        judged=1
        stop_at=$EPOCHSECONDS
        short_limit
    fi
    ((EPOCHSECONDS >= stop_at))
}

# TERM also comes at the limit itself, where a site gives no warning, or it was not enough. Then the job
# stops at once, but it may come back.
was_cancelled() {
    ((cancelled == 1)) || return 1
    [[ $(field Reason "$(scontrol show job -o "${SLURM_JOB_ID:-0}" 2>/dev/null)") == TimeLimit ]] || return 0
    cancelled=0 warned=1 judged=1 stop_at=0
    return 1
}

# Where the limit is hardly longer than the warning, Slurm warns in the job's first seconds; such a job
# works on until three quarters of its time are over.
short_limit() {
    local record limit end
    record=$(scontrol show job -o "${SLURM_JOB_ID:-0}" 2>/dev/null) || return 0
    limit=$(seconds "$(field TimeLimit "$record")") || return 0
    end=$(date -d "$(field EndTime "$record")" +%s 2>/dev/null) || return 0
    if ((limit <= WARNING_S + 90)); then
        stop_at=$((end - limit / 4))
        say "the limit of $limit s is short: stopping in $((stop_at - EPOCHSECONDS)) s"
    fi
}

field() { [[ $2 =~ (^| )$1=([^ ]+) ]] && printf '%s\n' "${BASH_REMATCH[2]}"; }

seconds() { # of D-HH:MM:SS or HH:MM:SS
    [[ $1 =~ ^(([0-9]+)-)?([0-9]+):([0-9]+):([0-9]+)$ ]] || return 1
    local days=${BASH_REMATCH[2]:-0} h=${BASH_REMATCH[3]} m=${BASH_REMATCH[4]} s=${BASH_REMATCH[5]}
    echo $(((10#$days * 24 + 10#$h) * 3600 + 10#$m * 60 + 10#$s))
}

# A moment's rest that starts no process.
exec {rest}<> <(:)
pause() { read -r -t 0.2 -u "$rest" || true; }

prepare_job() {
    read_site
    [[ -n ${SCRATCH:-} ]] || fail "set SCRATCH to a folder with room for outputs"
    export RUNS="${RUNS:-$SCRATCH/videopapr/runs}" DATASETS="${DATASETS:-$SCRATCH/videopapr/data}"
    # What this job's processes and this shell tell each other; on storage that all nodes see.
    control=$RUNS/.jobs/${SLURM_JOB_ID:-$$}
    rm -rf "$control"
    mkdir -p "$RUNS" "$DATASETS" "$control" || fail "cannot write to $RUNS or $DATASETS"
    started=$control/started this_start="$HOSTNAME $$ $EPOCHSECONDS"
    echo "$this_start" >"$started"
    trap remove_control EXIT
    local task=""
    [[ -z ${SLURM_ARRAY_TASK_ID:-} ]] || task=" (task $SLURM_ARRAY_TASK_ID of array job ${SLURM_ARRAY_JOB_ID:-?})"
    say "job ${SLURM_JOB_ID:-?}$task on $(hostname), start number $((${SLURM_RESTART_COUNT:-0} + 1)), code at $ROOT, runs at $RUNS"
    cd "$ROOT" || fail "no folder $ROOT"
    load_software "$@"
    # Weights are fetched beforehand on a login node; most compute nodes have no internet.
    export HF_HOME="${HF_HOME:-$SCRATCH/huggingface}" HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1
    export PYTHONUNBUFFERED=1 OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
    # Since Slurm 22.05 srun no longer inherits --cpus-per-task.
    export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"
    # Where one process of several dies, the others have this long to say so.
    export SLURM_WAIT=45
}

# Runs at the end of the job's shell. On a node that was only thought lost that may be after another start of
# the job has made the folder its own; then it stays.
remove_control() { [[ $(cat "$started" 2>/dev/null) != "$this_start" ]] || rm -rf "$control"; }

# Lines NAME=VALUE of slurm/site.env (or the file that SITE_ENV names); what the environment says wins.
# As scripts/slurm_site.py reads them: what a Windows editor adds, and quotes around a value, are not its part.
read_site() {
    local file=${SITE_ENV:-$ROOT/slurm/site.env} line name value
    [[ -e $file ]] || { [[ -z ${SITE_ENV:-} ]] || fail "SITE_ENV: no file $file"; return 0; }
    while IFS= read -r line || [[ -n $line ]]; do # the last line may have no end
        line=${line#$'\xef\xbb\xbf'}
        line=${line%$'\r'}
        name=${line%%=*} value=${line#*=}
        [[ $line == *=* && $name =~ ^[A-Z][A-Z0-9_]*$ ]] || continue
        case $value in \"*\" | \'*\') value=${value:1:-1} ;; esac
        [[ -z $value || -n ${!name+set} ]] || eval "export $name=\"$value\"" # the user's own file; it may say $HOME
    done <"$file"
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
    [[ -n ${SLURM_TMPDIR:-} ]] || fail "set VENV to a virtual environment: this cluster gives no SLURM_TMPDIR"
    local requirements=() file
    for file in "$@"; do requirements+=(-r "$ROOT/slurm/$file"); done
    virtualenv --no-download "$SLURM_TMPDIR/env" || fail "cannot make a virtual environment"
    # shellcheck disable=SC1091
    source "$SLURM_TMPDIR/env/bin/activate"
    pip install --no-index --upgrade pip || fail "cannot upgrade pip without an index"
    pip install --no-index "${requirements[@]}" || fail "cannot install ${requirements[*]}"
}

# Signals are never handed to srun: TERM makes it kill the step, and USR1 reaches every process of it.
# A file tells slurm/task.sh, which tells the command alone.
run_step() {
    if stop_is_due; then
        say "$stop_reason: stopping before the command began; nothing is lost"
        exit_code=$STOPPED_AFTER_SAVING
        return
    fi
    (trap '' TERM INT USR1 && exec srun bash "$ROOT/slurm/task.sh" "$control" "$@") &
    local step=$! told=0
    while kill -0 "$step" 2>/dev/null; do
        if ((told == 0)) && stop_is_due; then
            say "$stop_reason: asking the command to save and stop"
            : >"$control/stop"
            told=1
        fi
        pause
    done
    wait "$step"
    exit_code=$?
    judge_ending "${SLURM_NTASKS:-1}"
    rm -rf "$control/stop" "$control"/code.*
}

# srun's own code says 0 after a lost node, and no more than the highest of several. Each process has
# written its own: the first that means neither done nor stopped decides.
judge_ending() {
    local file code done=0 stopped=0 bad=""
    for file in "$control"/code.*; do
        [[ -s $file ]] || continue
        code=$(<"$file")
        case $code in
            0) ((done += 1)) ;;
            "$STOPPED_AFTER_SAVING") ((stopped += 1)) ;;
            *)
                bad=${bad:-$code}
                # Above 128 it is that of a signal.
                ((code <= 128)) || say "process ${file##*.} was killed by signal $((code - 128))"
                ;;
        esac
    done
    if [[ -n $bad ]]; then
        exit_code=$bad
    elif ((done + stopped == $1)); then
        exit_code=$((stopped > 0 ? STOPPED_AFTER_SAVING : 0))
    elif ((exit_code == 0)); then
        exit_code=1
        say "$(($1 - done - stopped)) of $1 processes ended without a word: a node was lost, or the step"
    fi
    say "the command ended with code $exit_code"
}

# Submits the job again only if the command itself says that it stopped after saving, the job was
# not cancelled, RESUBMIT=1, a file called NAME (a regular expression) under FOLDER is newer than this
# job's start (so that a job which gets nowhere does not come back for ever), and it was not yet done
# RESUBMIT_MAX times. In a chain, the next task continues instead.
continue_later() {
    local folder=$1 name=$2
    shift 2
    if [[ $exit_code -ne $STOPPED_AFTER_SAVING ]]; then
        end_chain
        return 0
    fi
    local count=${RESUBMIT_COUNT:-0} most=${RESUBMIT_MAX:-10} preempted
    preempted=$(field PreemptTime "$(scontrol show job -o "${SLURM_JOB_ID:-0}" 2>/dev/null)")
    if [[ ${preempted:-None} != None ]]; then
        # Slurm puts back only jobs that it had to kill after their grace time, not those that saved.
        say "a more urgent job wants this place: waiting in the queue again"
        scontrol requeue "$SLURM_JOB_ID"
    elif ((chain == 1 && ${SLURM_ARRAY_TASK_ID:-0} < ${SLURM_ARRAY_TASK_MAX:-0})); then
        say "work remains; the next task of the chain continues"
    elif [[ ${RESUBMIT:-0} != 1 ]]; then
        say "work remains; submit the same command again to continue (RESUBMIT=1 does so by itself)"
    elif was_cancelled; then
        say "work remains, but the job was cancelled: not submitted again"
    elif [[ -z $(find "$folder" -newer "$started" -regextype posix-extended -regex ".*/($name)" -print -quit 2>/dev/null) ]]; then
        say "work remains, but this job saved nothing new in $folder: not submitted again"
    elif ((count >= most)); then
        say "work remains, but the job was already continued $count times (RESUBMIT_MAX)"
    else
        same_request
        # shellcheck disable=SC2086
        (cd "${SLURM_SUBMIT_DIR:-.}" && RESUBMIT_COUNT=$((count + 1)) sbatch "${request[@]}" ${RESUBMIT_OPTIONS:-} "$@") &&
            say "submitted again ($((count + 1)) of at most $most)"
    fi
}

# Where nothing is left to do, or nothing that another start could do better, waiting tasks go away.
end_chain() {
    [[ $chain == 1 && -n ${SLURM_ARRAY_JOB_ID:-} && $exit_code =~ ^[023]$ ]] || return 0
    say "the rest of the chain is taken back"
    scancel --state=PENDING "$SLURM_ARRAY_JOB_ID"
}

# What this job asked for, as options in $request: some of it may have stood on its command line only.
same_request() {
    local limit
    request=(${SLURM_JOB_NAME:+--job-name="$SLURM_JOB_NAME"} ${SLURM_JOB_ACCOUNT:+--account="$SLURM_JOB_ACCOUNT"})
    limit=$(field TimeLimit "$(scontrol show job -o "${SLURM_JOB_ID:-0}" 2>/dev/null)")
    [[ ! $limit =~ ^[0-9] ]] || request+=(--time="$limit")
    request+=(
        ${SLURM_JOB_NUM_NODES:+--nodes="$SLURM_JOB_NUM_NODES"}
        ${SLURM_NTASKS:+--ntasks="$SLURM_NTASKS"}
        ${SLURM_NTASKS_PER_NODE:+--ntasks-per-node="$SLURM_NTASKS_PER_NODE"}
        ${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"}
        ${SLURM_GPUS_PER_NODE:+--gpus-per-node="$SLURM_GPUS_PER_NODE"}
    )
    if [[ -n ${SLURM_MEM_PER_GPU:-} ]]; then
        request+=(--mem-per-gpu="$SLURM_MEM_PER_GPU")
    elif [[ -n ${SLURM_MEM_PER_CPU:-} ]]; then
        request+=(--mem-per-cpu="$SLURM_MEM_PER_CPU")
    elif [[ -n ${SLURM_MEM_PER_NODE:-} ]]; then
        request+=(--mem="$SLURM_MEM_PER_NODE")
    fi
    if ((chain == 1)) && [[ -n ${SLURM_ARRAY_TASK_ID:-} ]]; then
        request+=(--array="$SLURM_ARRAY_TASK_MIN-$SLURM_ARRAY_TASK_MAX%1")
    fi
}
