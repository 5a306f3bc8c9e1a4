"""On what a measurement was made: day, commit, kind of machine; no name, no path."""

import os
import platform
import re
import subprocess
import time
from pathlib import Path

import psutil

from tests.support.paths import ROOT

GB = 1e9
MEASURED = ("scoreprof_nb", "notebooks", "tests", "constraints")  # what a number may depend on


def measured_on() -> str:
    """Such as ``2026-11-29, commit 1a2b3c4, 2 cores (Some CPU), load 0.4, 8 GB, Linux 6.1, Python 3.12.1``.

    The load is the mean number of processes that ran or waited for a core in the last five minutes: more than
    the number of cores, and wall times are too long. Processor times are not.
    """
    versions = f"Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}"
    cores = len(os.sched_getaffinity(0))
    memory_gb = psutil.virtual_memory().total / GB
    day = time.strftime("%Y-%m-%d", time.gmtime())
    load = os.getloadavg()[1]
    return f"{day}, {_commit()}, {cores} cores ({_cpu()}), load {load:.1f}, {memory_gb:.0f} GB, {versions}"


def _commit() -> str:
    commit, changes = git("rev-parse", "--short=10", "HEAD"), git("status", "--porcelain", "--", *MEASURED)
    if not commit:
        return "commit not known"
    return f"commit {commit}" + (" with uncommitted changes" if changes else "")


def git(*arguments: str) -> str:
    """git's output; empty where there is no git or no repository."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return " ".join(re.sub(r"\((?:R|TM)\)", "", value).split())
    return platform.machine()
