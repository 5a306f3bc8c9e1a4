"""Distributions and the slope of Theil and Sen, against scipy.stats."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from scoreprof_nb.analysis.distributions import (
    binomial_quantile,
    binomial_share,
    chi_square_quantile,
    normal_quantile,
    student_quantile,
    student_tail,
    theil_sen,
)
from scoreprof_nb.analysis.statistics import wilson_interval

PROBABILITIES = (0.001, 0.025, 0.5, 0.975, 0.9995)


@pytest.mark.parametrize("probability", PROBABILITIES)
def test_quantiles_are_scipys(probability):
    """Broken: every interval of the report would be too wide or too narrow."""
    assert normal_quantile(probability) == stats.norm.ppf(probability)
    for degrees in (1, 2.5, 7, 1000):
        assert student_quantile(probability, degrees) == stats.t.ppf(probability, degrees)
        assert student_tail(2.5, degrees) == stats.t.sf(2.5, degrees)
    assert chi_square_quantile(probability, 1) == stats.chi2.ppf(probability, 1)


def test_student_without_degrees_of_freedom_is_not_known():
    """Broken: a single observation would have an interval."""
    assert np.isnan(student_quantile(0.975, 0))


@pytest.mark.parametrize("n", [1, 6, 29, 299, 1500, 37_499])
@pytest.mark.parametrize("probability", [0.5, 0.9, 0.95, 0.99])
def test_binomial_is_scipys(n, probability):
    """Broken: the interval of a percentile would begin or end one observation off."""
    for share in (0.025, 0.975):
        hits = binomial_quantile(share, n, probability)
        assert hits == stats.binom.ppf(share, n, probability)
        assert binomial_share(hits, n, probability) == pytest.approx(stats.binom.cdf(hits, n, probability))


def test_binomial_quantile_at_a_probability_that_is_met_exactly():
    """Broken: rounding would add a hit where so many hits have just the wanted probability."""
    assert binomial_quantile(0.5, 1, 0.5) == 0
    assert binomial_quantile(0.75, 2, 0.5) == 1


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (7, 7), (3, 7), (1, 40_000)])
def test_wilson_is_scipys(hits, n):
    """Broken: the interval of a share would be another."""
    interval = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(hits, n) == pytest.approx((interval.low, interval.high), abs=1e-15)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("decimals", [0, 6])
def test_slope_is_scipys(seed, decimals):
    """Broken: the growth of memory would be another. Without decimals, many values are equal."""
    rng = np.random.default_rng(seed)
    x = np.round(np.sort(rng.uniform(0, 20, 31)), decimals)
    y = np.round(0.3 * x + rng.normal(size=31), decimals)
    expected = stats.theilslopes(y, x)
    slope = theil_sen(x, y, 0.95)
    assert (slope.value, slope.low, slope.high) == pytest.approx(
        (expected.slope, expected.low_slope, expected.high_slope)
    )


def test_slope_of_a_constant_and_of_a_single_place():
    """Broken: a process whose memory never changes would end the report."""
    x = np.arange(5.0)
    flat = theil_sen(x, np.ones(5), 0.95)
    assert (flat.value, flat.low, flat.high) == (0, 0, 0)
    assert np.isnan(theil_sen(np.ones(5), x, 0.95).value)


def test_no_report_imports_scipys_statistics():
    """Broken: every report would take half a second longer to start."""
    code = "import sys, scoreprof_nb.notebook.sections; sys.exit('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
