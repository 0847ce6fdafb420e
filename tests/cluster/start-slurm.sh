#!/usr/bin/env bash
# Slurm of one node on the loopback interface, as root and without systemd: start-slurm.sh DIR [PORT].
# Ends with a line `export SLURM_CONF=...`; stop-slurm.sh DIR stops it. PORT and the one after it must be free.
set -euo pipefail
dir=$(realpath -m "${1:?a folder}")
port=${2:-16817}
host=$(hostname -s)
cores=$(env -u OMP_NUM_THREADS nproc)  # which it would repeat otherwise
memory=$(( $(awk '/MemTotal/{print $2}' /proc/meminfo) / 1024 - 2048 ))
for busy in "$port" "$((port + 1))"; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$busy") 2>/dev/null; then
        echo "error: port $busy is in use: start-slurm.sh DIR PORT takes another one" >&2
        exit 1
    fi
done
mkdir -p "$dir"/{munge,state,spool,log}
chmod 755 "$dir" "$dir/munge"
(umask 077; [ -s "$dir/munge/munge.key" ] || head -c 1024 /dev/urandom > "$dir/munge/munge.key")
/usr/sbin/munged --force --num-threads=2 --socket="$dir/munge/munge.socket" --key-file="$dir/munge/munge.key" \
    --pid-file="$dir/munge/munged.pid" --log-file="$dir/log/munged.log" --seed-file="$dir/munge/munged.seed"
cat > "$dir/slurm.conf" <<C
ClusterName=local
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/munge.socket
CredType=cred/munge
CryptoType=crypto/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0
MpiDefault=none
ReturnToService=2
SwitchType=switch/none
SlurmctldTimeout=60
SlurmdTimeout=60
InactiveLimit=0
KillWait=5
MinJobAge=300
Waittime=0
SlurmctldParameters=enable_configless
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores RealMemory=$memory State=UNKNOWN
PartitionName=debug Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
C
export SLURM_CONF="$dir/slurm.conf"
/usr/sbin/slurmctld -f "$SLURM_CONF"
/usr/sbin/slurmd -f "$SLURM_CONF" -N "$host"
for _ in $(seq 50); do
    sinfo -h -o %t 2>/dev/null | grep -qE 'idle|mix|alloc' && break
    sleep .2
done
sinfo
echo "export SLURM_CONF=$SLURM_CONF"
