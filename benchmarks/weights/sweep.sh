#!/usr/bin/env bash
# The sweep behind results.csv, curves.csv and docs/pages/assets/weights.png: five kinds of lambda for MMD, and for
# CORAL on the features, on the demo's digits, 3 seeds. It takes five minutes on two cores; no data are needed.
set -euo pipefail
cd "$(dirname "$0")/../.."
common="data=digits_demo seed=0,1,2 trainer.max_epochs=4 data.steps_per_epoch=100 figures=none monitor=none"
export OMP_NUM_THREADS=1
for weight in constant ramp gradient_balance uncertainty constraint; do
    for method in mmd coral; do
        options=""
        [ $weight = constraint ] && { [ $method = mmd ] && options="method.weights.align.epsilon=0.03 method.weights.align.rate=1.0" ||
            options="method.weights.align.epsilon=0.0001 method.weights.align.rate=1000.0 method.weights.align.largest=1000000.0"; }
        [ $weight = gradient_balance ] && options="method.weights.align.ratio=0.3 method.weights.align.largest=1000000.0"
        .venv/bin/da train -m $common method=$method method.terms.align.layer=features \
            schedule@method.weights.align=$weight $options runs=runs/weights/$weight
    done
done
.venv/bin/python benchmarks/weights/figure.py runs/weights
