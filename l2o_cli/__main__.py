"""`python -m l2o_cli`."""

from l2o_cli.cli import main

main()
