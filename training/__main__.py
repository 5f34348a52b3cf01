"""`python -m training` is `recsys`."""

from training.cli.app import main

main()
