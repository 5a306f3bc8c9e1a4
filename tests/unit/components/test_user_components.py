"""A component of the user's own, from the rules file to every table, figure and file."""

import pandas as pd
import pytest
from matplotlib.colors import to_hex

from scoreprof_nb import plots
from scoreprof_nb.components.catalog import CATALOG
from scoreprof_nb.components.component import Component
from scoreprof_nb.components.palette import DEFAULT_COLOURS
from scoreprof_nb.components.rules import RulesError, load_rules
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.report import profile_files
from scoreprof_nb.report.profile import make_report
from tests.support.written_run import strict_json, write_run

COMPONENT = """
[[component]]
name = "prefix_hash"
group = "scheduler"
meaning = "hashing the prefixes of the texts"
"""
RULE = """
[[rule]]
component = "prefix_hash"
any = ["calc_priority@/schedule_policy.py"]
"""
ADVICE, COLOUR = 'advice = "hash each prefix once"\n', 'colour = "#123abc"\n'


@pytest.fixture
def rules_file(tmp_path):
    def write(*parts):
        path = tmp_path / "branch.toml"
        path.write_text("".join(parts), encoding="utf-8")
        return str(path)

    return write


def colours_of(figure):
    """Component to the colour of its segments."""
    return {
        bar.get_label(): to_hex(patch.get_facecolor()).upper()
        for panel in figure.axes
        for axes in (panel, *panel.child_axes)
        for bar in axes.containers
        for patch in bar
    }


def test_it_reaches_every_table_figure_and_file(rules_file, tmp_path):
    """Broken: a branch's new work has no name of its own in the report, or ends it with a KeyError."""
    write_run(tmp_path / "run", recording="whole")
    rules = rules_file(COMPONENT, COLOUR, ADVICE, RULE)
    report = make_report(Parameters(run_dir=str(tmp_path / "run"), rules_file=rules))
    profile_files.write_files(report)
    analysis, catalog = report.analysis, report.analysis.catalog

    paths = analysis.paths().set_index("component")
    assert paths.loc["prefix_hash", "mean_ms"] == pytest.approx(5, abs=0.2)
    assert "batch" not in paths.index
    for name in ("threads", "cpu", "hot"):
        assert "prefix_hash" in set(analysis.table(name)["component"])
    busy = analysis.table("utilisation").set_index(["process", "thread"])["busy_share"]
    assert busy["scheduler", "main"] == pytest.approx(0.05, abs=0.01)

    figures = [
        plots.plot_request_path(analysis.paths(), catalog),
        plots.plot_cpu(analysis.table("cpu"), catalog),
        plots.plot_threads(analysis.table("threads"), catalog),
        plots.plot_hot_functions(analysis.table("hot"), catalog),
    ]
    for figure in figures:
        assert colours_of(figure)["prefix_hash"] == "#123ABC"

    summary = strict_json(tmp_path / "run" / "summary.json")
    assert summary["phases"]["small"]["request_path_ms"]["prefix_hash"]["mean"] == pytest.approx(5, abs=0.2)
    (finding,) = [finding for finding in report.findings if finding.component == "prefix_hash"]
    assert "hashing the prefixes of the texts" in finding.text
    assert "hash each prefix once" in finding.advice
    graph = (tmp_path / "run" / "score_api_profile.svg").read_text(encoding="utf-8")
    assert "prefix_hash" in graph
    assert "#123ABC" in graph


def test_the_comparison_of_runs_draws_it():
    """Broken: the figures of a comparison fail with a user's component."""
    catalog = CATALOG.extended([Component("prefix_hash", "scheduler", "hashing", "")])
    row = {"phase": "small", "component": "prefix_hash", "control_ms": 4.0, "test_ms": 6.0, "change_ms": 2.0}
    figure = plots.plot_path_change(pd.DataFrame([{**row, "low": 1.0, "high": 3.0}]), catalog=catalog)
    assert colours_of(figure)["prefix_hash"] == catalog["prefix_hash"].colour


def test_runs_that_were_analysed_with_other_rules_are_drawn_too():
    """Broken: a history with one run of a branch that has a component of its own ends with a KeyError."""
    runs = pd.DataFrame(
        [{"run_id": "r1", "label": "x", "started_at": pd.Timestamp(0), "phase": "small", "p50_ms": 9.0}]
    )
    paths = pd.DataFrame([{"run_id": "r1", "phase": "small", "component": "prefix_hash", "mean_ms": 8.0}])
    figure = plots.plot_history(runs, paths)
    assert DEFAULT_COLOURS[0] in colours_of(figure).values()


def test_it_is_shown_after_its_group_and_gets_a_default_colour(rules_file):
    """Broken: a user's component has no colour or stands outside its group."""
    catalog = load_rules(rules_file(COMPONENT, RULE)).catalog
    names = list(catalog.names)
    assert names[names.index("prefix_hash") - 1] == "decode_step"
    assert [name for name in names if name != "prefix_hash"] == list(CATALOG.names)
    assert catalog["prefix_hash"].colour == DEFAULT_COLOURS[0]
    assert catalog["prefix_hash"].work
    assert not catalog["prefix_hash"].waiting


def test_default_colours_differ_and_repeat_only_when_all_are_used():
    """Broken: two of the user's components have the same colour while others are free."""
    names = [f"mine_{number}" for number in range(len(DEFAULT_COLOURS) + 1)]
    catalog = CATALOG.extended(Component(name, "jax", "work", "") for name in names)
    colours = [catalog[name].colour for name in names]
    assert len(set(colours[:-1])) == len(DEFAULT_COLOURS)
    assert colours[-1] == colours[0]


def test_in_the_group_waiting_no_work_is_done(rules_file):
    """Broken: a user's waiting component counts as work."""
    text = COMPONENT.replace('"scheduler"', '"waiting"')
    component = load_rules(rules_file(text, RULE)).catalog["prefix_hash"]
    assert component.waiting
    assert not component.work


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (COMPONENT.replace("prefix_hash", "batch"), "component 1: component 'batch' already exists"),
        (COMPONENT.replace("prefix_hash", "client"), "component 1: component 'client' already exists"),
        (COMPONENT + COMPONENT, "component 2: component 'prefix_hash' already exists"),
        (
            COMPONENT.replace('"scheduler"', '"schedulr"'),
            "component 1: group 'schedulr' does not exist; the groups are http, ",
        ),
        (COMPONENT.replace('"scheduler"', '"client"'), "component 1: group 'client' does not exist"),
        (COMPONENT.replace("prefix_hash", "<b>"), "component 1: name: '<b>' does not match"),
        (COMPONENT + 'colour = "red"\n', "component 1: colour: 'red' does not match"),
        ('[[component]]\nname = "x"\ngroup = "jax"\n', "component 1: meaning: is required"),
        (COMPONENT + "waits = true\n", "component 1: waits: unknown key; the keys are advice, colour, "),
    ],
)
def test_one_that_cannot_be_added_is_refused(rules_file, text, message):
    """Broken: a component that cannot be added is ignored silently."""
    path = rules_file(text)
    with pytest.raises(RulesError) as raised:
        load_rules(path)
    assert str(raised.value).startswith(f"{path}: {message}")


def test_functions_of_what_if_experiments_may_stand_in_the_same_file(tmp_path):
    """Broken: a file with functions to delay is refused, or one of a component that does not exist is not."""
    path = tmp_path / "rules.toml"
    path.write_text('[[what_if]]\ncomponent = "batch"\nfunction = "my.module:Class.method"\n')
    assert not load_rules(str(path)).user_rules
    path.write_text('[[what_if]]\ncomponent = "batsh"\nfunction = "my.module:Class.method"\n')
    with pytest.raises(RulesError, match=r"what_if 1: component 'batsh'.*did you mean 'batch'"):
        load_rules(str(path))
    path.write_text('[[what_if]]\ncomponent = "batch"\nfunction = "no module"\n')
    with pytest.raises(RulesError, match="what_if 1: function"):
        load_rules(str(path))
