#!/usr/bin/env bash
# A real Slurm on this machine, as the user who calls, for tests: one node with invented cores, memory
# and GPUs, so that the job files' own requests are accepted.
#   tests/slurm/cluster.sh start FOLDER [LINE ...]     everything lies in FOLDER; LINEs go into slurm.conf
#   tests/slurm/cluster.sh stop FOLDER
# Then: export SLURM_CONF=FOLDER/slurm.conf. Exit code 3 where Slurm is not installed
# (Debian: apt-get install --no-install-recommends slurm-wlm munge).
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

start() {
    local folder=$1 host name
    shift
    for name in munged slurmctld slurmd sbatch; do
        command -v "$name" >/dev/null || { echo "$name is not installed" >&2; exit 3; }
    done
    host=$(hostname -s)
    mkdir -p "$folder"/{munge,state,spool,log,socket}
    chmod 755 "$folder" "$folder/socket"
    chmod 700 "$folder/munge"
    [[ -s $folder/munge/key ]] || head -c 1024 /dev/urandom >"$folder/munge/key"
    chmod 600 "$folder/munge/key"
    touch "$folder"/gpu{0,1,2,3}
    echo "Name=gpu Type=h100 File=$folder/gpu[0-3]" >"$folder/gres.conf"
    configuration "$folder" "$host" >"$folder/slurm.conf"
    (($# == 0)) || printf '%s\n' "$@" >>"$folder/slurm.conf"
    export SLURM_CONF=$folder/slurm.conf
    munged --key-file="$folder/munge/key" --socket="$folder/socket/munge" --pid-file="$folder/munge/pid" \
        --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
    slurmctld -c
    slurmd
    for _ in $(seq 100); do
        [[ $(sinfo -h -o %T 2>/dev/null) != idle ]] || return 0
        sleep 0.1
    done
    echo "the node did not become idle; see $folder/log" >&2
    exit 1
}

configuration() {
    # Ports of its own, so that several such clusters may run beside each other.
    local folder=$1 host=$2 port=$((20000 + $$ % 20000))
    cat <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$folder/socket/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld
SlurmdLogFile=$folder/log/slurmd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$folder/log/completed
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=2
ReturnToService=2
JobRequeue=1
KillWait=10
MinJobAge=3600
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=64 RealMemory=400000 Gres=gpu:h100:4 State=UNKNOWN
PartitionName=work Nodes=$host Default=YES MaxTime=INFINITE State=UP GraceTime=20
PartitionName=urgent Nodes=$host PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP
END
}

# Ends what start began: jobs first, whose processes would outlive the node's daemon.
stop() {
    local folder=$1 file pid
    export SLURM_CONF=$folder/slurm.conf
    scancel --user="$(id -un)" 2>/dev/null || true
    for _ in $(seq 150); do
        [[ -n $(squeue -h 2>/dev/null) ]] || break
        sleep 0.1
    done
    for file in "$folder/slurmd.pid" "$folder/slurmctld.pid" "$folder/munge/pid"; do
        [[ -s $file ]] || continue
        pid=$(<"$file")
        for _ in $(seq 100); do
            kill "$pid" 2>/dev/null || break
            sleep 0.1
        done
    done
}

case ${1:-} in
    start | stop) "$@" ;;
    *) echo "usage: tests/slurm/cluster.sh start|stop FOLDER" >&2; exit 2 ;;
esac
