#!/usr/bin/env bash
# RelGAN at its published size on one GPU: a seed of jobs/relgan-oracle.yaml and its evaluation against its own likelihood
# stage, in ten minutes where a step is as fast as an H200's.
#
#     benchmarks/gpu_text.sh ORACLE OUT [SEED] [-o KEY=VALUE ...]
#
# ORACLE is the published oracle's parameters (.npz), which travel with the call; OUT a folder for the run and the table.
# The same command goes on with a run that was cut short, and MINUTES (9) cuts it: what is there then is evaluated.
set -euo pipefail
export OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1
oracle=$(realpath "$1") seed=${3:-0}
mkdir -p "$2"
out=$(realpath "$2")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export GAN_DIST_HOME=$out/home GAN_DIST_STORAGE=$out/runs
name=relgan-$seed

train() {
    if [ -d "$out/runs" ]; then
        gan-dist submit --resume last --local
    else
        gan-dist submit jobs/relgan-oracle.yaml --local --name "$name" -o data.source="oracle:$oracle" -o seed="$seed" \
            -o metrics=[] -o keep.last=20 -o 'stages.0.every={checkpoint: 150 epochs}' "$@"
    fi
}

# The newest checkpoint in which no discriminator had a loss yet.
likelihood() {
    python - "$out/runs" <<'END'
import json, pathlib, sys
kept = sorted(pathlib.Path(sys.argv[1]).glob("*/checkpoints/*/meta.json"))
print([path.parent for path in kept if "loss/D" not in json.loads(path.read_text())["metrics"]][-1])
END
}

judge() {
    cd "$out"
    gan-dist evaluate last --temperature-grid --twin "$(likelihood)" --metric nll_oracle --metric nll \
        --metric repetition --n 5000 --inverse-temperatures 0.8,1,1.2,1.5
}

{
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || echo "no GPU: a rehearsal"
    export -f train
    export out name oracle seed
    timeout --signal=TERM "${MINUTES:-9}m" bash -c 'train "$@"' train "${@:4}" || echo "cut short after ${MINUTES:-9} minutes"
    judge
} 2>&1 | tee "$out/relgan-$seed.txt"
