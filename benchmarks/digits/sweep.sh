#!/usr/bin/env bash
# The sweep behind results.csv: 12 methods, 2 tasks, 3 seeds, about two hours on two cores. DA_DATA_ROOT
# names the folder of the data. Runs that are complete already are skipped, so it can be stopped and started again.
set -euo pipefail
cd "$(dirname "$0")/../.."
METHODS=source_only,mcc,shot,dann,bnm,mmd,coral,cdan,cdan_e,finetune,target_only,mcd
for experiment in digits_usps_mnist digits_mnist_usps; do
    OMP_NUM_THREADS=1 .venv/bin/da train -m experiment=$experiment seed=0,1,2 method=$METHODS runs=runs/benchmark &
done
wait
.venv/bin/python benchmarks/digits/tables.py runs/benchmark
