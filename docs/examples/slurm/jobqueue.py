"""Meta-train with workers in jobs of their own, which dask-jobqueue submits to SLURM and replaces when they end.

    pip install dask-jobqueue
    python jobqueue.py SPEC OUT --jobs 4 [-- options of l2o meta-train, such as --minutes]

Call it where it may run as long as the run takes, from a folder that all nodes see: on a login node, or in a small job,
`sbatch --signal=B:USR1@120 --wrap "exec python jobqueue.py ..."`. A run that is there goes on. See docs/cluster.md.
"""

from __future__ import annotations

import argparse
import getpass
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--jobs", type=int, default=2, help="jobs of workers (default: 2)")
    parser.add_argument("--cores", type=int, default=8, help="cores of a job, each with a worker (default: 8)")
    parser.add_argument("--memory", default="24GB", help="of a job (default: 24GB)")
    parser.add_argument("--walltime", default="04:00:00", help="of a job (default: 04:00:00)")
    parser.add_argument("--interface", help="network, such as ib0")
    parser.add_argument("--disk", default="/tmp", help="folder on the disk of each node (default: /tmp)")
    own, options = sys.argv[1:], []
    if "--" in own:
        own, options = own[: own.index("--")], own[own.index("--") + 1 :]
    return parser.parse_args(own, argparse.Namespace(options=options))


def use_key(folder: Path) -> None:
    """Have all connections of Dask take a key in the folder, here and in processes begun here: who reaches a worker runs code."""
    key, certificate = str(folder / "key.pem"), str(folder / "cert.pem")
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=l2o"]
    subprocess.run([*make, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    settings = {"REQUIRE_ENCRYPTION": "true", "TLS__CA_FILE": certificate}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        settings |= {f"TLS__{role}__CERT": certificate, f"TLS__{role}__KEY": key}
    os.environ.update({f"DASK_DISTRIBUTED__COMM__{name}": value for name, value in settings.items()})


def meta_train(asked: argparse.Namespace, scheduler: str) -> int:
    """Its exit code. Signals are passed on: on SIGUSR1 it saves the run, on SIGTERM and Ctrl-C it saves it and ends."""
    begun = (asked.out / "spec.yaml").exists()
    what = ["--resume"] if begun else [str(asked.spec)]
    signal.signal(signal.SIGINT, lambda number, frame: None)  # from a terminal l2o gets it too
    command = ["l2o", "meta-train", *what, "--out", str(asked.out), "--scheduler", scheduler, *asked.options]
    with subprocess.Popen(command) as training:
        for number in (signal.SIGUSR1, signal.SIGTERM):
            signal.signal(number, lambda received, frame: training.send_signal(received))
        return training.wait()


def main() -> int:
    asked = parse()
    with tempfile.TemporaryDirectory(prefix=".l2o-", dir=".") as private:
        use_key(Path(private).absolute())
        from dask_jobqueue import SLURMCluster  # reads the settings, so it is imported now
        from distributed import Security

        local = f"{asked.disk}/l2o-{getpass.getuser()}"
        with SLURMCluster(
            cores=asked.cores,
            processes=asked.cores,
            memory=asked.memory,
            walltime=asked.walltime,
            interface=asked.interface,
            security=Security(),
            local_directory=local,
            job_script_prologue=[f"export L2O_CACHE={local}/cache"],
            worker_extra_args=["--dashboard-address", "127.0.0.1:0"],
            scheduler_options={"dashboard_address": "127.0.0.1:0"},
            log_directory="logs",
        ) as cluster:
            cluster.adapt(minimum_jobs=asked.jobs, maximum_jobs=asked.jobs)  # always so many: for a job that ends another one
            return meta_train(asked, cluster.scheduler_address)


if __name__ == "__main__":
    sys.exit(main())
