"""`python -m training` is `recsys`."""

from training.cli import main

main()
