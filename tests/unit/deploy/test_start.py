"""k8s/start.sh: a check without a TPU, and only then the run."""

import os
import subprocess

import pytest
import yaml

from tests.support.job import FILLED_IN
from tests.support.paths import ROOT

KUBECTL = """\
#!/bin/bash
echo "$@" >> $FOLDER/calls
case "$*" in
  apply*) cat > $FOLDER/applied-$(ls $FOLDER | grep -c applied) ;;
  *'"Complete"'*) [ $ENDS = Complete ] && echo True ;;
  *'"Failed"'*) [ $ENDS = Failed ] && echo True ;;
  *logs*) echo "check: the models bucket has no /models/m/config.json" ;;
  *events*) echo "pod/score-profiling-check-x FailedMount" ;;
esac
exit 0
"""


def start(folder, ends, *words):
    """Run start.sh with a kubectl whose check ends like this; return the process and what was applied."""
    program = folder / "kubectl"
    program.write_text(KUBECTL)
    program.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "FOLDER": str(folder),
        "ENDS": ends,
    }
    process = subprocess.run(
        ["bash", str(ROOT / "k8s" / "start.sh"), *words],
        capture_output=True,
        text=True,
        env={**environment, "SCOREPROF_POLL_S": "0.01"},
        timeout=60,
    )
    applied = sorted(folder.glob("applied-*"))
    return process, [list(yaml.safe_load_all(path.read_text())) for path in applied]


@pytest.mark.parametrize("variant", [(), ("compare",), ("matrix",)])
def test_run_follows_a_check_that_passed(tmp_path, variant):
    """Broken: the run has another name, image or variant than the check, or is not started."""
    process, (check, run) = start(tmp_path, "Complete", *variant, *FILLED_IN, "RUN=one", "NAMESPACE=perf")
    assert process.returncode == 0, process.stderr
    jobs = [manifests[1] for manifests in (check, run)]
    assert [job["metadata"]["name"] for job in jobs] == ["score-profiling-check-one", "score-profiling-one"]
    resources = [job["spec"]["template"]["spec"]["containers"][0]["resources"] for job in jobs]
    assert ["google.com/tpu" in one["requests"] for one in resources] == [False, True]
    assert "get job score-profiling-check-one" in (tmp_path / "calls").read_text()
    assert "--namespace perf" in (tmp_path / "calls").read_text()


def test_no_tpu_is_asked_for_after_a_failed_check(tmp_path):
    """Broken: a bucket that cannot be mounted keeps a TPU node until the deadline."""
    process, applied = start(tmp_path, "Failed", *FILLED_IN)
    assert process.returncode == 42
    assert len(applied) == 1
    assert "the models bucket has no" in process.stderr
    assert "No TPU was asked for" in process.stderr


def test_wrong_setting_starts_nothing(tmp_path):
    """Broken: the check of a Job that cannot be rendered is started."""
    process, applied = start(tmp_path, "Complete", *FILLED_IN, "CAPACITY=cheap")
    assert process.returncode == 42
    assert "CAPACITY='cheap'" in process.stderr
    assert not applied
