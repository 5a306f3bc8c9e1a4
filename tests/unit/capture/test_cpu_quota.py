"""The CPU quota of a control group, in each of the layouts that containers have."""

import pytest

from scoreprof_nb.capture.cpu_quota import quota_between, read_quota
from scoreprof_nb.run_folder.records import CpuQuota

PID = 7
V2 = "usage_usec 5\nnr_periods 10\nnr_throttled 3\nthrottled_usec 250000\n"
V1 = "nr_periods 10\nnr_throttled 3\nthrottled_time 250000000\n"
LIMITED = CpuQuota(10, 3, 0.25, quota_s=0.2, period_s=0.1)
NO_LIMIT = CpuQuota(10, 3, 0.25)


def layout(tmp_path, cgroup, **files):
    (tmp_path / "proc" / str(PID)).mkdir(parents=True)
    (tmp_path / "proc" / str(PID) / "cgroup").write_text(cgroup)
    for name, text in files.items():
        path = tmp_path / "mounts" / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read_quota(PID, tmp_path / "mounts", tmp_path / "proc")


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        (
            "0::/kubepods/pod1\n",
            {"kubepods__pod1__cpu_DOT_stat": V2, "kubepods__pod1__cpu_DOT_max": "200000 100000"},
            LIMITED,
        ),
        ("0::/\n", {"cpu_DOT_stat": V2, "cpu_DOT_max": "200000 100000"}, LIMITED),
        ("0::/\n", {"cpu_DOT_stat": V2, "cpu_DOT_max": "max 100000"}, NO_LIMIT),
        (
            "4:cpu,cpuacct:/docker/1\n0::/\n",
            {
                "cpu,cpuacct__docker__1__cpu_DOT_stat": V1,
                "cpu,cpuacct__docker__1__cpu_DOT_cfs_quota_us": "200000",
                "cpu,cpuacct__docker__1__cpu_DOT_cfs_period_us": "100000",
            },
            LIMITED,
        ),
        # A container sees its own group at the mount, under whatever path the host gave it.
        (
            "4:cpu:/docker/1\n",
            {
                "cpu__cpu_DOT_stat": V1,
                "cpu__cpu_DOT_cfs_quota_us": "-1",
                "cpu__cpu_DOT_cfs_period_us": "100000",
            },
            NO_LIMIT,
        ),
        # The root group of a host has no quota, so it counts nothing.
        ("0::/\n", {"cpu_DOT_stat": "usage_usec 5\n"}, None),
        ("", {}, None),
    ],
    ids=["v2", "v2 in a container", "v2 without a limit", "v1", "v1 in a container", "root", "none"],
)
def test_quota_of_each_layout(tmp_path, cgroup, files, expected):
    """Broken: on one kind of node a throttled server looks slow by itself."""
    assert layout(tmp_path, cgroup, **files) == expected


def test_process_without_a_group_has_no_quota(tmp_path):
    assert read_quota(PID, tmp_path, tmp_path) is None


def test_difference_is_what_happened_in_between():
    """Broken: a phase is charged for what happened before it."""
    after = CpuQuota(30, 5, 0.75, 0.2, 0.1)
    assert quota_between(LIMITED, after) == CpuQuota(20, 2, 0.5, 0.2, 0.1)
    assert quota_between(None, after) is None
    assert quota_between(LIMITED, None) is None
