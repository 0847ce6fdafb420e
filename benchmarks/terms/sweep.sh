#!/usr/bin/env bash
# The sweep behind results.csv: every term, and every discrepancy in `align`, added to source-only training on the
# demo's digits at its default lambda, 3 seeds. It takes half an hour on two cores; no data are needed. Runs that are
# complete already are skipped, so it can be stopped and started again. Arguments go to every run.
set -euo pipefail
cd "$(dirname "$0")/../.."
names() { find "conf/$1" -name '[!_]*.yaml' -exec basename {} .yaml \; | sort | grep -vx "${2:-none}" | paste -sd,; }
common="data=digits_demo seed=0,1,2 trainer.max_epochs=4 data.steps_per_epoch=100 figures=none monitor=none runs=runs/terms"
export OMP_NUM_THREADS=1
run() { .venv/bin/da train -m $common "$@"; }
{ run method=source_only "$@"; run method=align discrepancy="$(names discrepancy)" "$@"; } &
run method=source_only term="$(names term align)" "$@"
wait
.venv/bin/python benchmarks/collect.py runs/terms benchmarks/terms/results.csv
