"""`python -m l2o_cli`."""

from l2o_cli.cli import main

if __name__ == "__main__":  # worker processes import this module
    main()
