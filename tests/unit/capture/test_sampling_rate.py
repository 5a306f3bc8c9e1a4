"""The rate at which py-spy samples: as given, or what the server's CPUs can spare."""

import os

import pytest

from scoreprof_nb.capture.sampling_rate import CPU_S, MOST_SHARE, available_cpus, sampling_rate
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.run_folder.records import CpuQuota


@pytest.mark.parametrize("cpus", [0.5, 2, 64])
@pytest.mark.parametrize("given", [1, 100, 1000])
def test_number_is_used_as_it_is(given, cpus):
    """Broken: a rate that the user asked for is replaced by another one."""
    assert sampling_rate(Parameters(rate_hz=given), cpus) == given


@pytest.mark.parametrize(
    ("cpus", "rate_hz"), [(0.1, 25), (1, 30), (1.5, 45), (2, 60), (3, 90), (4, 100), (208, 100)]
)
def test_auto_follows_the_number_of_cpus(cpus, rate_hz):
    """Broken: a small machine is slowed by a rate for a large one, or a large one gives fewer ticks than it can."""
    assert sampling_rate(Parameters(), cpus) == rate_hz


@pytest.mark.parametrize("cpus", [1, 1.3, 2, 2.9, 3.1, 8])
def test_auto_costs_at_most_a_twentieth_of_the_cpus(cpus):
    """Broken: py-spy at its own rate slows a busy server by more than 5 %."""
    assert sampling_rate(Parameters(), cpus) * CPU_S <= MOST_SHARE * cpus


def test_auto_depends_on_nothing_that_differs_between_two_versions_of_a_server():
    """Broken: the two sides of a comparison, or the phases of a run, are sampled at different rates."""
    rates = {
        sampling_rate(Parameters(phases=phases, phase_s=phase_s, concurrency=number), 2)
        for phases, phase_s, number in (("single", 2, 1), ("large", 24, 1), ("mixed", 3600, 16))
    }
    assert len(rates) == 1


def test_auto_of_native_mode_is_what_it_can_do():
    """Broken: py_spy_mode native needs a second parameter, or falls seconds behind."""
    assert sampling_rate(Parameters(py_spy_mode="native"), 64) == 20


@pytest.mark.parametrize(
    ("quota", "most"),
    [
        (None, 10_000),
        (CpuQuota(0, 0, 0.0, None, None), 10_000),
        (CpuQuota(0, 0, 0.0, 0.05, 0.1), 0.5),
        (CpuQuota(0, 0, 0.0, 100_000.0, 0.1), 10_000),
    ],
)
def test_available_cpus_are_those_that_may_be_used(quota, most):
    """Broken: in a container with a limit of half a CPU, py-spy takes what a whole machine could spare."""
    cpus = available_cpus(os.getpid(), lambda pid: quota)
    assert cpus == min(len(os.sched_getaffinity(0)), most)
