"""Data in, answers out: events, models and rules of a self-learning recommendation service."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("recsys")
except PackageNotFoundError:
    __version__ = "0+source"
    """A source tree that was never installed has no metadata to read a version from."""
