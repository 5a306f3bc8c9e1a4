"""Paths in the repository."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "scoreprof_nb"
PROFILE_NOTEBOOK = ROOT / "notebooks" / "profile_score_api.ipynb"
COMPARE_NOTEBOOK = ROOT / "notebooks" / "compare_runs.ipynb"
TESTS = ROOT / "tests"
CAPTURES = ROOT / "tests" / "captures"
