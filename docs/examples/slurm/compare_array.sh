#!/bin/bash
#SBATCH --job-name=l2o-compare
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --mem-per-cpu=3G
#SBATCH --time=04:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=l2o-compare-%j.log
#
# Compare optimizers on many problems, by an array of jobs. A file lists the problems: what stands in line N, one name or several
# with commas in between, is done by task N. Without --array all is put together, from the runs that the tasks have kept:
#
#     sbatch --array=1-20 compare_array.sh problems.txt OUT [options of l2o compare, but for --problems, --out and --resume]
#     sbatch --dependency=afterok:JOB compare_array.sh problems.txt OUT [the same options]
#
# Submit it from a folder that all nodes see; see docs/cluster.md.
set -eu
problems=$1 out=$2
shift 2

# What makes `l2o` found belongs here:
# source ~/l2o/.venv/bin/activate

export L2O_CACHE=${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/l2o-$(id -un)/cache # compiled code, on the disk of each node
export L2O_RUNS=${L2O_RUNS:-$PWD/.l2o-runs}                           # finished runs, for all tasks
export L2O_CACHE_SIZE=${L2O_CACHE_SIZE:-100GB}                        # so that no run is removed that is still to be used

if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
    job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
    chosen=$(sed -n "${SLURM_ARRAY_TASK_ID}p" "$problems") out=$out/task-$SLURM_ARRAY_TASK_ID
else
    job=$SLURM_JOB_ID
    chosen=$(paste -sd, "$problems") out=$out/all
fi

training='' requeue=''
stop() { kill "$training" 2> /dev/null || true; } # SIGTERM: l2o keeps what is finished and ends
trap 'requeue=yes; stop' USR1
trap stop TERM

if [ -f "$out/spec.yaml" ]; then
    l2o compare --resume --out "$out" &
else
    l2o compare --problems "$chosen" --out "$out" "$@" &
fi
training=$!

while kill -0 "$training" 2> /dev/null; do # a signal ends `wait`
    wait "$training" || true
done
code=0
wait "$training" || code=$?
if [ -n "$requeue" ] && [ "$code" -eq 143 ]; then # what SIGTERM ended is not finished
    scontrol requeue "$job"
fi
exit "$code"
