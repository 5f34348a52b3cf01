"""The exception tree: every error names the thing, its value and the remedy.

RecsysError
├── InvalidInput        what came from outside breaks a documented rule
│   ├── InvalidEvent    one event of a batch or a file
│   └── InvalidConfig   a key of a configuration file
├── InvalidQuery        a question that cannot be asked of this bundle
├── InsufficientData    too little to train, split or compare
│   └── LeakFromFuture  training data reaches into the held-out period
├── BundleError         a bundle that is missing, damaged or of another schema
├── MissingExtra         a part of the product that a plain installation leaves out
└── StoreError
    └── StoreUnavailable  the store is locked, full or gone: try again later
"""

from __future__ import annotations


class RecsysError(Exception):
    """Base of every error that this library raises on purpose."""


class InvalidInput(RecsysError):
    """Something from outside breaks a documented rule.

    `field` is the path of the offending value (`items[0].price`), `value` its text, `remedy`
    what to send instead.
    """

    def __init__(self, field: str, value: object, remedy: str) -> None:
        self.field = field
        self.value = value
        self.remedy = remedy
        shown = repr(value)
        if len(shown) > 140:
            shown = shown[:137] + "..."
        super().__init__(f"{field} is {shown}; {remedy}")


class InvalidEvent(InvalidInput):
    """One event of a batch or a file breaks the canonical schema."""


class InvalidConfig(InvalidInput):
    """A key of a configuration file has a value that it may not have."""


class InvalidQuery(RecsysError):
    """A question that cannot be asked of this bundle."""


class InsufficientData(RecsysError):
    """Too little data to train, split or compare."""


class LeakFromFuture(InsufficientData):
    """Training data reaches into the held-out period."""


class BundleError(RecsysError):
    """A bundle is missing, damaged or of another schema version."""


class MissingExtra(RecsysError, ImportError):
    """A package that a plain installation leaves out is needed.

    `package` is the import name, `extra` the extra that brings it: `pip install 'recsys[train]'`.
    """

    def __init__(self, purpose: str, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(
            f"{purpose} needs the package {package}, which is not installed; "
            f"install it with: pip install 'recsys[{extra}]'"
        )


class StoreError(RecsysError):
    """The event store refused a request."""


class StoreUnavailable(StoreError):
    """The event store is locked, full or gone: the caller may try again later."""
