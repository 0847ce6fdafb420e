#!/usr/bin/env bash
# Train every method on every task of an experiment, 3 seeds: benchmarks/tasks/sweep.sh office_caltech10 [option=value ...]
# DA_DATA_ROOT names the folder of the data. Runs that are complete already are skipped, so it can be stopped and
# started again. Two tasks run at a time, one thread each (JOBS=4 for four).
set -euo pipefail
cd "$(dirname "$0")/../.."
experiment=$1
shift
METHODS=${METHODS:-source_only,coral,mmd,dann,cdan,mcc,shot,target_only}
export OMP_NUM_THREADS=1
grep "^$experiment," benchmarks/tasks/tasks.csv | tr , ' ' | xargs -P "${JOBS:-2}" -L 1 bash -c '
    .venv/bin/da train -m "experiment=$0" "data.source=$1" "data.target=$2" "method='"$METHODS"'" seed=0,1,2 "runs=runs/tasks/$0" '"$*"
mkdir -p benchmarks/tasks/results benchmarks/tasks/tables
.venv/bin/python benchmarks/collect.py "runs/tasks/$experiment" "benchmarks/tasks/results/$experiment.csv"
.venv/bin/python benchmarks/tasks/tables.py
