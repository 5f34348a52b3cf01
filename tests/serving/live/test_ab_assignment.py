"""The split over variants: sticky for persons, proportional for everybody."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from recsys.bundle.bundle import Bundle
from recsys.bundle.publication import Experiment
from recsys.catalog.availability import LiveCatalog
from serving.live.versions import LiveVersions, ServedVariant


def split(bundle: Bundle, **shares: float) -> LiveVersions:
    live_catalog = LiveCatalog.of(bundle.catalog)
    return LiveVersions(
        tuple(ServedVariant(name, share, bundle, live_catalog) for name, share in shares.items())
    )


def test_a_person_keeps_the_variant_in_every_worker_and_after_a_refit(bundle: Bundle) -> None:
    versions = split(bundle, champion=0.5, challenger=0.5)
    another_worker = split(bundle, champion=0.5, challenger=0.5)
    for person in range(200):
        key = f"u:{person}"
        names = {
            each.variant_of(key, rng=np.random.default_rng(seed)).name
            for seed, each in enumerate([versions, versions, another_worker])
        }
        assert len(names) == 1


def test_another_experiment_deals_the_persons_anew(bundle: Bundle) -> None:
    before = split(bundle, champion=0.5, challenger=0.5)
    first, second = (
        replace(before, experiment=Experiment(id=id, started_at=bundle.manifest.as_of))
        for id in ("spring", "summer")
    )
    rng = np.random.default_rng(0)
    keys = [f"u:{n}" for n in range(400)]
    same = sum(
        first.variant_of(key, rng=rng).name == second.variant_of(key, rng=rng).name for key in keys
    )
    # Five standard deviations of a fair coin thrown 400 times.
    assert abs(same - 200) < 50


@pytest.mark.parametrize("known", [True, False])
def test_variants_get_their_shares_of_persons_and_of_strangers(bundle: Bundle, known: bool) -> None:
    versions = split(bundle, champion=0.8, challenger=0.2)
    rng = np.random.default_rng(3)
    drawn = Counter(
        versions.variant_of(f"u:{n}" if known else None, rng=rng).name for n in range(4000)
    )
    # Five standard deviations of a binomial share: √(0.8 · 0.2 / 4000) = 0.0063.
    assert abs(drawn["champion"] / 4000 - 0.8) < 0.032


def test_shares_that_do_not_sum_to_one_are_taken_in_proportion(bundle: Bundle) -> None:
    versions = split(bundle, champion=0.1, challenger=0.1)
    rng = np.random.default_rng(3)
    drawn = Counter(versions.variant_of(f"u:{n}", rng=rng).name for n in range(2000))
    assert abs(drawn["champion"] / 2000 - 0.5) < 0.056
