"""`python -m l2o_cli`."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts the current folder in front: files there, a problems.py or numpy.py, are not what is meant.
    if not sys.flags.safe_path and Path(sys.path[0]).resolve() != Path(__file__).resolve().parents[1]:
        del sys.path[0]
    from l2o_cli.cli import main

    main()
