"""Tracing with ptrace_scope 1 and without root: each process of the server permits it itself.

No test here can show that the kernel then allows it: that needs a machine with Yama.
"""

import os
import subprocess
import sys

import pytest

from scoreprof_nb.capture import pyspy

# Replaces prctl by a program that notes its arguments.
SPY = """
import ctypes
class Library:
    def prctl(self, *words):
        print(*(word.value if hasattr(word, "value") else word for word in words))
ctypes.CDLL = lambda name: Library()
"""


@pytest.mark.parametrize("scope", ["absent", "0", "2", "3"])
def test_nothing_changes_where_it_does_not_help(scope, monkeypatch):
    """Broken: the server has a path of the kit's in its environment for nothing."""
    monkeypatch.setattr(pyspy, "ptrace_scope", lambda: scope)
    assert pyspy.traceable({"A": "1"}) == {"A": "1"}


def test_paths_of_the_user_stay(monkeypatch):
    """Broken: a branch that is found by PYTHONPATH is not found any more."""
    monkeypatch.setattr(pyspy, "ptrace_scope", lambda: "1")
    assert pyspy.traceable({"PYTHONPATH": "/mine"})["PYTHONPATH"] == f"{pyspy.PTRACER}{os.pathsep}/mine"
    assert pyspy.traceable({})["PYTHONPATH"] == str(pyspy.PTRACER)


def test_a_process_permits_tracing_at_its_start_and_runs_the_hidden_module(tmp_path, monkeypatch):
    """Broken: py-spy may not read the scheduler, or a sitecustomize of the user's is not run."""
    monkeypatch.setattr(pyspy, "ptrace_scope", lambda: "1")
    (tmp_path / "sitecustomize.py").write_text("print('the user')\n")
    environment = pyspy.traceable({**os.environ, "PYTHONPATH": str(tmp_path)})
    (tmp_path / "usercustomize.py").write_text("")
    plain = subprocess.run(
        [sys.executable, "-c", ""], env=environment, capture_output=True, text=True, check=True
    )
    assert plain.stdout == "the user\n"
    program = f"{SPY}\nimport runpy\nrunpy.run_path({str(pyspy.PTRACER / 'sitecustomize.py')!r})"
    spied = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert spied.stdout.split()[:2] == [str(0x59616D61), str(2**64 - 1)], "PR_SET_PTRACER, PR_SET_PTRACER_ANY"
