#!/bin/bash
#SBATCH --job-name=l2o
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem-per-cpu=3G
#SBATCH --time=04:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=l2o-%j.log
#
# Meta-train on all nodes of one allocation. What the time limit interrupts is requeued, and goes on.
#
#     sbatch meta_train.sh SPEC OUT [options of l2o meta-train, such as --minutes]
#
# Submit it from a folder that all nodes see. INTERFACE=ib0 in front chooses a network; see docs/cluster.md.
set -eu
spec=$1 out=$2
shift 2

# What makes `l2o` and its Python found belongs here:
# source ~/l2o/.venv/bin/activate

private=$PWD/.l2o-$SLURM_JOB_ID # on the shared folder, for you alone
local=${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/l2o-$(id -un) # on the disk of each node; compiled code is kept for the next job
export L2O_CACHE=$local/cache DASK_LOGGING__DISTRIBUTED=warning
umask 077
rm -rf "$private" # of this job before it was requeued
mkdir "$private"

# Whoever reaches a worker runs code as you. So all connections take a key that lies in a folder which is yours alone.
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=l2o -keyout "$private/key.pem" -out "$private/cert.pem" 2> /dev/null
export DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION=true DASK_DISTRIBUTED__COMM__TLS__CA_FILE=$private/cert.pem
for role in SCHEDULER WORKER CLIENT; do
    export "DASK_DISTRIBUTED__COMM__TLS__${role}__CERT=$private/cert.pem" "DASK_DISTRIBUTED__COMM__TLS__${role}__KEY=$private/key.pem"
done

scheduler='' workers='' training='' requeue=''
end() { # a process, by SIGTERM, or if that does not help in time by SIGKILL
    kill "$1" 2> /dev/null || return 0
    for _ in {1..15}; do
        sleep 1
        kill -0 "$1" 2> /dev/null || return 0
    done
    kill -KILL "$1" 2> /dev/null || true
}
clean() {
    for process in $training $workers $scheduler; do
        end "$process"
    done
    training='' workers='' scheduler=''
    rm -rf "$private"
}
stop() { kill "$training" 2> /dev/null || true; } # SIGTERM: l2o saves the run and ends
trap clean EXIT
trap 'requeue=yes; stop' USR1
trap stop TERM

network=(--dashboard-address 127.0.0.1:0 ${INTERFACE:+--interface "$INTERFACE"})
python -m dask scheduler --protocol tls --port 0 --scheduler-file "$private/scheduler.json" "${network[@]}" &
scheduler=$!
until [ -s "$private/scheduler.json" ]; do
    kill -0 "$scheduler" # or the job ends here
    sleep 0.5
done

# One core of each node is left to the scheduler and to l2o, which run on the first.
count=$((SLURM_CPUS_PER_TASK > 1 ? SLURM_CPUS_PER_TASK - 1 : 1))
srun --nodes="$SLURM_NNODES" --ntasks="$SLURM_NNODES" --ntasks-per-node=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" \
    python -m dask worker --scheduler-file "$private/scheduler.json" --nworkers "$count" --nthreads 1 \
    --memory-limit "${SLURM_MEM_PER_CPU}MiB" --local-directory "$local" --death-timeout 60 "${network[@]}" &
workers=$!

if [ -f "$out/spec.yaml" ]; then
    l2o meta-train --resume --out "$out" --scheduler "$private/scheduler.json" "$@" &
else
    l2o meta-train "$spec" --out "$out" --scheduler "$private/scheduler.json" "$@" &
fi
training=$!

# A signal ends `wait`, hence the loop. Without a scheduler or without any worker there is nothing to wait for.
while kill -0 "$training" && kill -0 "$scheduler" && kill -0 "$workers"; do
    wait -n "$training" "$scheduler" "$workers" || true
done 2> /dev/null
stop
code=0
wait "$training" || code=$?
clean
if [ -n "$requeue" ] && [ "$code" -eq 143 ]; then # what SIGTERM ended is not finished
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
