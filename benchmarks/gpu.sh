#!/usr/bin/env bash
# What only a GPU shows, in some ten minutes: the tests that need one, a run on Ray, and timings as ratios. From the
# root of the repository, in an environment that has gan-dist. SKIP_RAY=1 leaves Ray out; PEERS names a folder with
# checkouts of brownvc/R3GAN, NVlabs/stylegan2-ada-pytorch and pytorch/examples, which travel with the call and wait for
# `pip install 'setuptools<81'`. Everything goes to OUT too.
set -uo pipefail
export OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1
place=$(mktemp -d)
export GAN_DIST_HOME=$place/home GAN_DIST_STORAGE=$place/runs
cd "$(dirname "${BASH_SOURCE[0]}")/.."

all() {
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
    python -m pytest -q tests/integration/test_cuda.py
    if [ -z "${SKIP_RAY:-}" ]; then
        gan-dist submit jobs/dcgan.yaml -o until=40k --name dcgan
        gan-dist down
        gan-dist evaluate dcgan
        gan-dist sample dcgan
    fi
    if [ -n "${PEERS:-}" ]; then
        python -m benchmarks.image_peer --peers "$PEERS" --device cuda --repeats 1
    fi
    python -m benchmarks.processes --device cuda --seconds 5
    python benchmarks/rollouts.py --device cuda
    python benchmarks/recorded.py
    python benchmarks/networks.py r3gan --device cuda --precision bf16 --compile --repeats 3 \
        -o data.size=64 -o generator.width=192 -o discriminator.width=192 -o batch=64
}

all 2>&1 | tee "${OUT:-$place}/gpu.txt"
