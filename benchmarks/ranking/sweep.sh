#!/usr/bin/env bash
# Train every candidate of every target, score the candidates, and make the table: benchmarks/ranking/sweep.sh
# DA_DATA_ROOT names the folder of the data. Runs that are complete already are skipped, so it can be stopped and started
# again. One process, one thread. candidates.csv says which methods are trained, and which labels the scores read.
set -euo pipefail
cd "$(dirname "$0")/../.."
export OMP_NUM_THREADS=1
here=benchmarks/ranking
nets=mobilenet_v2,squeezenet1_0,efficientnet_lite0
while IFS=, read -r experiment target sources methods labels; do
    options=("experiment=$experiment" "net=$nets" "data.source=${sources// /,}" "data.target=$target")
    .venv/bin/python -m da train -m "${options[@]}" "method=${methods// /,}" seed=0,1,2 runs=runs/ranking
    for read in $labels; do
        .venv/bin/python -m da rank "${options[@]}" --rows 1000 --target-labels "$read" \
            --out "$here/scores/$experiment-$target-$read.csv"
    done
done < <(tail -n +2 $here/candidates.csv)
.venv/bin/python benchmarks/collect.py runs/ranking $here/results.csv net
.venv/bin/python $here/tables.py
