"""Both notebooks, cell by cell, on run folders that exist: no cell names what the package no longer has."""

import json

import pytest

from scoreprof_nb.notebook import comparison_sections, display
from scoreprof_nb.notebook import sections as report_sections
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.report.profile import make_report
from scoreprof_nb.report.profile_files import write_files
from tests.support.paths import COMPARE_NOTEBOOK, PROFILE_NOTEBOOK
from tests.support.written_run import START_S, write_run

RULES = """
[[component]]
name = "prefix_hash"
group = "scheduler"
meaning = "hashing the prefixes of the texts"
colour = "#123ABC"

[[rule]]
component = "prefix_hash"
process = ["scheduler"]
any = ["calc_priority@/schedule_policy.py"]
"""


@pytest.fixture
def rules_file(tmp_path):
    """A rules file with a component of the user's."""
    path = tmp_path / "rules.toml"
    path.write_text(RULES)
    return str(path)


def run_cells(notebook, monkeypatch, **parameters):
    """Run the code cells in one namespace, with these parameters. Returns everything that was shown."""
    shown = []
    monkeypatch.setattr(display, "display", lambda output, **kwargs: shown.append(output))
    namespace = {}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), namespace)
            if "parameters" in cell["metadata"].get("tags", ()):
                namespace |= parameters
    return shown


def assert_every_section_is_named(notebook, sections):
    """In the order of the contents: else a link in them leads nowhere."""
    source = notebook.read_text(encoding="utf-8")
    places = [source.find(f"show(sections.{make.__name__}(") for make in sections]
    assert min(places) > 0, [make.__name__ for make, at in zip(sections, places, strict=True) if at < 0]
    assert places == sorted(places)


def test_every_cell_of_the_profile_runs(tmp_path, monkeypatch, rules_file):
    """Broken: a cell ends the report with an error that only a run of the real server would show."""
    write_run(tmp_path / "run", recording="whole", phases=2)
    shown = run_cells(PROFILE_NOTEBOOK, monkeypatch, run_dir=str(tmp_path / "run"), rules_file=rules_file)
    assert len(shown) > 15
    assert_every_section_is_named(PROFILE_NOTEBOOK, report_sections.SECTIONS)
    assert "prefix_hash" in (tmp_path / "run" / "summary.json").read_text()


@pytest.mark.parametrize("pairs", [1, 2])
def test_every_cell_of_the_comparison_runs(tmp_path, monkeypatch, rules_file, pairs):
    """Broken: a cell ends the report with an error that only hours of capture would show."""
    for pair in range(pairs):
        for side in ("control", "test"):
            run = tmp_path / "runs" / f"{side}-{pair}"
            write_run(run, recording="whole", started_s=START_S + pair)
            write_files(make_report(Parameters(run_dir=str(run))))
    shown = run_cells(
        COMPARE_NOTEBOOK,
        monkeypatch,
        control=str(tmp_path / "runs" / "control-*"),
        test=str(tmp_path / "runs" / "test-*"),
        compare_dir=str(tmp_path / "comparison"),
        history=str(tmp_path / "runs"),
        rules_file=rules_file,
    )
    assert len(shown) > 12
    assert_every_section_is_named(COMPARE_NOTEBOOK, comparison_sections.SECTIONS)
    assert "prefix_hash" in (tmp_path / "comparison" / "comparison.json").read_text()
