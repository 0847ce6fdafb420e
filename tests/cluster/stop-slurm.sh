#!/usr/bin/env bash
# Ends the jobs and the daemons that start-slurm.sh DIR started, by their process ids.
set -u
dir=$(realpath "${1:?a folder}")
export SLURM_CONF="$dir/slurm.conf"
scancel --user "$(id -un)" 2>/dev/null
for _ in $(seq 50); do  # a job whose controller is gone would wait for it
    [ -z "$(squeue --noheader 2>/dev/null)" ] && break
    sleep .2
done
for file in "$dir/slurmd.pid" "$dir/slurmctld.pid" "$dir/munge/munged.pid"; do
    [ -s "$file" ] && kill "$(cat "$file")" 2>/dev/null
done
exit 0
