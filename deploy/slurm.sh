#!/usr/bin/env bash
# gan-dist on Slurm: a Ray over the nodes of one allocation, and the run's driver on its first node.
#
#   sbatch --nodes=2 --time=4:00:00 deploy/slurm.sh jobs/dcgan.yaml faces /shared/runs
#
# from the environment that has gan-dist, which all nodes see. Write resources.workers as a number: `auto` counts the nodes that
# have joined by then. `scancel JOBID` ends it for good, and leaves it the seconds of Slurm's KillWait to save in.
#
# Submitted again under the same name, the run goes on where it stood. Ninety seconds before the time limit Slurm sends
# SIGUSR1: the run saves a checkpoint and ends with exit code 3, and this script puts itself back into the queue.
#SBATCH --job-name=gan-dist
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --signal=B:USR1@90
#SBATCH --requeue
##SBATCH --gpus-per-task=1             # <- with GPUs, take one # away
set -euo pipefail

job=$1 name=$2 runs=$3                 # a job file, the run's name, and a folder that all nodes see
port=${GAN_DIST_RAY_PORT:-6379}
nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=$(head -n 1 <<<"$nodes")
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK    # srun does not take it over by itself
export RAY_AUTH_MODE=disabled          # nodes of one allocation; with others on the network, use a token

start() {                              # node, arguments of `ray start`
    srun --nodes=1 --ntasks=1 --overlap --nodelist="$1" \
        ray start "${@:2}" --num-cpus="$SLURM_CPUS_PER_TASK" --disable-usage-stats --block &
}
start "$head" --head --node-ip-address="$address" --port="$port" --include-dashboard=false
sleep 10
for node in $(tail -n +2 <<<"$nodes"); do
    start "$node" --address="$address:$port"
done

export RAY_ADDRESS="$address:$port"
srun --nodes=1 --ntasks=1 --overlap --nodelist="$head" \
    gan-dist run "$job" --name "$name" --storage "file://$runs" &
driver=$!
trap 'kill -USR1 "$driver"' USR1       # srun passes it on
code=0
until wait "$driver" && code=0 || code=$?; ! kill -0 "$driver" 2>/dev/null; do :; done
if ((code == 3)); then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
