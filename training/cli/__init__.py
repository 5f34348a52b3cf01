"""The command line; `recsys` and `python -m training` start `main`."""


def main() -> None:
    """Runs the `recsys` command; what it needs is imported only then."""
    from training.cli.app import main as run

    run()
