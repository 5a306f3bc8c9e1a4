"""The launches one by one: what a mean over them hides is named."""

import numpy as np
import pandas as pd
import pytest

from scoreprof_nb.comparison.compare import compare
from scoreprof_nb.comparison.launches import LAUNCH_COLUMNS, has_two_levels, odd_pair, stability
from scoreprof_nb.comparison.paired import hodges_lehmann
from scoreprof_nb.report.comparison_caveats import caveats
from scoreprof_nb.report.launch_tables import stability_table
from tests.support.compared_runs import compared, phase, run, side


def launches(control, test, order="ABBA"):
    """A table of launches in ABBA order, from the values of each side."""
    rows = []
    for pair, values in enumerate(zip(control, test, strict=True), start=1):
        first = order[2 * (pair - 1) % len(order)] == "A"
        for at, (name, value) in enumerate(zip(("control", "test"), values, strict=True)):
            launch = 2 * pair - 1 + (at if first else 1 - at)
            rows.append(("small", "mean", name, pair, launch, "id", value))
    return pd.DataFrame(rows, columns=list(LAUNCH_COLUMNS))


def noisy(rng, pairs=8, noise=0.01):
    return 40 * np.exp(rng.normal(0, noise, (2, pairs)))


def test_drift_is_seen_and_has_its_size():
    """Broken: a machine that slows down from launch to launch goes unnoticed."""
    control, test = noisy(np.random.default_rng(1))
    table = launches(control, test)
    table["value"] *= np.exp(0.01 * table["launch"])
    row = stability(table).iloc[0]
    assert row["drift"] == pytest.approx(0.01, abs=0.003)
    assert row["drift_p"] < 0.001


def test_effect_of_the_order_is_seen_whichever_side_is_second():
    """Broken: the second launch of a pair is 4 % slower, and the report blames nobody."""
    control, test = noisy(np.random.default_rng(2))
    table = launches(control, 1.2 * test)
    second = table["launch"] % 2 == 0
    table.loc[second, "value"] *= 1.04
    row = stability(table).iloc[0]
    assert row["order_effect"] == pytest.approx(0.04, abs=0.012)
    assert row["order_p"] < 0.01


def test_quiet_launches_are_rarely_accused():
    """Broken: one comparison in four is said to drift, to be an outlier or to have two levels."""
    rng = np.random.default_rng(3)
    rows = [stability(launches(*noisy(rng, pairs=6, noise=0.03))).iloc[0] for _ in range(60)]
    assert np.mean([row["drift_p"] < 0.01 for row in rows]) <= 0.05
    assert np.mean([row["order_p"] < 0.01 for row in rows]) <= 0.05
    assert np.mean([pd.notna(row["odd_pair"]) for row in rows]) <= 0.1
    assert np.mean([bool(row["two_levels"]) for row in rows]) <= 0.1


def test_two_levels_are_seen():
    """Broken: half of the launches are 20 % slower, and more pairs are captured in vain."""
    rng = np.random.default_rng(4)
    logs = rng.normal(0, 0.01, (200, 8)) + np.log(1.2) * (np.arange(8) % 2)
    assert np.mean([has_two_levels(one) for one in logs]) >= 0.95
    assert not has_two_levels(np.log(np.array([1.0, 1.2, 1.0])))


def test_outlier_pair_is_named_and_the_robust_ratio_hardly_moves():
    """Broken: one launch during which another job ran decides the mean, and is not named."""
    ratios = np.array([0.001, -0.004, 0.003, 0.4, -0.002, 0.002])
    assert odd_pair(ratios) == 3
    assert abs(hodges_lehmann(ratios)) < 0.01
    assert odd_pair(np.zeros(6)) is None
    test = [run(phase(factor=1 + 0.5 * (n == 3)), started_s=1e9 + 100 * n + 1) for n in range(6)]
    control = [run(phase(factor=1 + 0.001 * (n % 2)), started_s=1e9 + 100 * n) for n in range(6)]
    comparison = compare(control, test)
    assert any("pair 4 is an outlier" in text for text in caveats(comparison))
    assert stability_table(comparison).iloc[0]["odd pair"] == "pair 4"
    mean = comparison.metrics.set_index("metric").loc["mean"]
    assert abs(mean["hodges_lehmann"] - 1) < 0.01 < abs(mean["ratio"] - 1)


def test_hodges_lehmann_is_the_median_of_the_means_of_pairs():
    """Broken: the robust estimate is another one."""
    assert hodges_lehmann(np.array([1.0, 2.0, 9.0])) == 3.5  # of 1, 1.5, 2, 5, 5.5, 9


def test_a_different_observer_effect_of_the_sides_is_said():
    """Broken: py-spy slows one side more, and the path's change is the sampler's."""
    test = [run(phase(observer=1.1 + 0.001 * n), started_s=1e9 + 100 * n + 1) for n in range(6)]
    assert any("py-spy slows small of test by +" in text for text in caveats(compared(test=test)))
    assert not any("py-spy slows" in text for text in caveats(compared()))


def test_every_launch_has_its_value_and_its_place():
    """Broken: the launches of a comparison cannot be looked at one by one."""
    table = compared(side(), side(1.1, at=1)).launches.values
    assert len(table) == 12
    assert sorted(table["launch"]) == list(range(1, 13))
    assert (
        table.query("side == 'test'")["value"].mean()
        > 1.05 * table.query("side == 'control'")["value"].mean()
    )


def test_two_levels_do_not_hide_in_the_report():
    """Broken: the caveat of two levels names no side."""
    values = [1.0, 1.2, 1.001, 1.201, 1.002, 1.202]
    control = [run(phase(factor=value), started_s=1e9 + 100 * n) for n, value in enumerate(values)]
    assert any(
        "launches of control have two levels" in text for text in caveats(compare(control, side(at=1)))
    )
