"""The contract suite of model families: what each promises, ready for an author's own test file.

One line in a file that pytest collects tests a family of the shop's own:

    test_contract = contract(FAMILY)

A promise that does not apply to a family is left out by what the family declares (`ModelFamily`),
never by what the model does. Needs pytest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import pytest

from recsys.models.family import ModelFamily
from recsys.models.testing.case import Case, fitted_case
from recsys.models.testing.promises import Promise, promises_of

__all__ = ["Case", "Promise", "contract", "fitted_case", "promises_of"]


def contract(
    family: ModelFamily, settings: Mapping[str, Any] | None = None
) -> Callable[[Promise], None]:
    """A test function with one case for each promise of the family.

    `settings` of its config are for a shop of 48 items and 61 customers, where the defaults (an
    embedding size, a minimum of customers) are too large.
    """

    @cache
    def case() -> Case:
        return fitted_case(family, settings or {})

    @pytest.mark.parametrize("promise", promises_of(family), ids=lambda promise: promise.__name__)
    def test_contract(promise: Promise) -> None:
        promise(case())

    return test_contract
