#!/usr/bin/env bash
# A Slurm of one node, as root on Debian, all of it in one folder: node.sh start FOLDER, node.sh stop FOLDER.
# SLURM_CONF=FOLDER/slurm.conf leads sbatch, squeue and scancel to it. Nothing outside the folder is changed but the
# packages that are installed.
set -euo pipefail
folder=$2
export SLURM_CONF=$folder/slurm.conf

# Ends the jobs, then the daemons, and waits until each is gone.
stop() {
    if [ -s "$folder/slurmctld.pid" ]; then
        timeout 10 scancel --user=root 2>/dev/null || true
        for _ in $(seq 40); do
            if [ -z "$(timeout 10 squeue --noheader 2>/dev/null)" ]; then break; fi
            sleep 0.5
        done
    fi
    local name pid
    for name in slurmd slurmctld munged; do
        if [ ! -s "$folder/$name.pid" ]; then continue; fi
        pid=$(cat "$folder/$name.pid")
        kill "$pid" 2>/dev/null || continue
        for _ in $(seq 40); do
            if ! kill -0 "$pid" 2>/dev/null; then continue 2; fi
            sleep 0.25
        done
        echo "Error: $name does not end within 10 s" >&2
        return 1
    done
}

start() {
    if ! { command -v slurmctld && command -v slurmd && command -v sbatch && command -v munged; } >/dev/null; then
        if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
            echo "Error: there is no Slurm here; wanted one, or root on Debian, where this installs it" >&2
            exit 1
        fi
        apt-get update -qq
        # at run level 1 Debian starts no daemon of its own
        RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -qq --yes \
            --no-install-recommends slurmctld slurmd slurm-client munge
    fi
    trap 'stop' ERR
    mkdir -p "$folder/state" "$folder/spool" "$folder/munge"
    chmod 755 "$folder" "$folder/munge"
    head -c 1024 /dev/urandom >"$folder/munge.key"
    chmod 600 "$folder/munge.key"
    local host
    host=$(hostname -s)
    # more CPUs and memory than there are, for the lines of the page
    cat >"$SLURM_CONF" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
AuthInfo=socket=$folder/munge/socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
MailProg=/bin/true
KillWait=5
MinJobAge=3600
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=64 RealMemory=1000000 State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES State=UP
END
    munged --force --key-file "$folder/munge.key" --socket "$folder/munge/socket" \
        --pid-file "$folder/munged.pid" --log-file "$folder/munged.log" --seed-file "$folder/munge.seed"
    slurmctld
    slurmd
    for _ in $(seq 60); do
        if [ "$(sinfo --noheader --format=%t 2>/dev/null)" = idle ]; then return; fi
        sleep 0.5
    done
    tail -n 5 "$folder"/*.log >&2
    echo "Error: the Slurm node is not idle within 30 s (its logs are above)" >&2
    stop
    exit 1
}

"$1" "$@"
