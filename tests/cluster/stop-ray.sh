#!/usr/bin/env bash
# Ends the processes of the Ray that start-ray.sh DIR started: those that name its folder.
set -u
dir=$(realpath "${1:?a folder}")
for process in /proc/[0-9]*; do
    pid=${process#/proc/}
    [ "$pid" != "$$" ] || continue
    tr '\0' ' ' 2>/dev/null < "$process/cmdline" | grep -qF -- "$dir/tmp" && kill "$pid" 2>/dev/null
done
exit 0
