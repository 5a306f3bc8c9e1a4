"""The runner reads papermill's command line exactly as papermill does."""

import base64
from unittest import mock

import papermill.cli
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from scoreprof_nb.runner.command import Command, Unreadable, resolve_type

PATHS = ("in.ipynb", "out.ipynb")
YAML = "a: 1\nwhen: 2020-01-01\nlist: [1, two]\n"


def by_papermill(arguments):
    """The parameters that papermill's own command line injects."""
    with mock.patch.object(papermill.cli, "execute_notebook") as execute:
        result = CliRunner().invoke(papermill.cli.papermill, list(arguments))
    assert result.exit_code == 0, result.output
    return execute.call_args.kwargs["parameters"]


def by_the_runner(arguments):
    command = Command.parse(arguments)
    assert command is not None
    return command.parameters()


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-p", "a", "1", "--parameters", "b", "1.5"),
        ("-p", "a", "True", "-p", "b", "None", "-p", "c", "1e3", "-p", "d", "1_000", "-p", "e", ""),
        ("-p", "flags", "--x 1", "-p", "other", "-p"),
        ("-r", "a", "1", "--parameters_raw", "b", "True"),
        ("-y", YAML),
        ("--parameters_yaml", ""),
        ("-b", base64.b64encode(YAML.encode()).decode()),
        ("-f", "values.yaml"),
        # Whatever their order: base64, file, yaml, parsed, raw; the last one wins.
        ("-r", "a", "raw", "-p", "a", "parsed", "-y", "a: yaml", "-f", "values.yaml"),
        ("-p", "a", "parsed", "-y", "a: yaml", "-f", "values.yaml"),
        ("-y", "a: yaml", "-f", "values.yaml", "-b", base64.b64encode(b"a: base64").decode()),
        ("-p", "a", "1", "-p", "a", "2"),
        ("--kernel", "python3", "-p", "a", "1", "--no-progress-bar", "--start-timeout", "30", "-r", "b", "2"),
        ("-k", "python3", "--report-mode", "-p", "a", "1"),
    ],
    ids=lambda options: " ".join(options)[:40],
)
def test_parameters_are_those_of_papermill(tmp_path, monkeypatch, options):
    """Broken: the runner refuses what papermill would accept, or the other way round."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "values.yaml").write_text("a: file\nc: 2")
    assert by_the_runner((*PATHS, *options)) == by_papermill((*PATHS, *options))


@given(st.one_of(st.text(), st.integers().map(str), st.floats().map(str), st.sampled_from(["True", "None"])))
def test_value_is_resolved_as_by_papermill(text):
    """Broken: the runner reads a value differently than papermill does."""
    expected = papermill.cli._resolve_type(text)
    assert repr(resolve_type(text)) == repr(expected)


@pytest.mark.parametrize(
    "options",
    [
        ("-p", "a"),
        ("-f", "none.yaml"),
        ("-f", "s3://bucket/values.yaml"),
        ("-y", "{"),
        ("-y", "[1]"),
        ("-y", "1: 2"),
        ("-b", "abc"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_read_is_left_to_papermill(tmp_path, monkeypatch, options):
    """Broken: the runner refuses what papermill should judge."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Unreadable):
        by_the_runner((*PATHS, *options))


@pytest.mark.parametrize(
    "arguments", [(), ("in.ipynb",), ("-p", "a", "1", *PATHS), ("in.ipynb", "-p", "a", "1")]
)
def test_paths_come_first(arguments):
    """Broken: an option is taken for a notebook's path."""
    assert Command.parse(arguments) is None
