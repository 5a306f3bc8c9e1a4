"""Parameters: the notebook's cell and the class list the same ones; a wrong value is one line of error."""

import ast
import io
import json
import subprocess
import sys
import tokenize
from contextlib import suppress
from typing import get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreprof_nb.parameters.profile import MEASURED, PHASES, Parameters
from scoreprof_nb.parameters.schema import ParameterError
from tests.support.paths import PROFILE_NOTEBOOK as NOTEBOOK

FIELDS = Parameters.model_fields
HUGE = 10**400


def type_of(name: str) -> type:
    """A parameter's type, ``list`` for a list of numbers."""
    annotation = FIELDS[name].annotation
    return get_origin(annotation) or annotation


def parameter_cell() -> list[tuple[str, str, object, str]]:
    """(name, type as written, default, comment) of each assignment, in order."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    (source,) = ["".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", [])]
    comments = {
        token.start[0]: token.string.removeprefix("#").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    assignments = []
    for node in ast.parse(source).body:
        assert isinstance(node, ast.AnnAssign), f"line {node.lineno}: only NAME: TYPE = DEFAULT belongs here"
        helps = [comments[n] for n in range(node.lineno, node.end_lineno + 1) if n in comments]
        assignments.append(
            (ast.unparse(node.target), ast.unparse(node.annotation), ast.literal_eval(node.value), *helps)
        )
    return assignments


def test_parameter_cell_equals_the_class():
    """Broken: the notebook shows a default that does not hold, or a parameter cannot be passed."""
    expected = [
        (name, type_of(name).__name__, Parameters.default_of(name), Parameters.help_of(name))
        for name in FIELDS
    ]
    assert parameter_cell() == expected


def test_default_types_in_the_cell_are_the_declared_ones():
    """Broken: ``24`` stands where a float is declared, and reaches papermill as another type."""
    for name, kind, default, _ in parameter_cell():
        assert type(default).__name__ == kind, name


def test_defaults_of_the_cell_are_accepted():
    """Broken: the notebook's own defaults are refused."""
    assert (
        Parameters.from_mapping({name: default for name, _, default, _ in parameter_cell()}) == Parameters()
    )


def test_measured_names_are_parameters():
    """Broken: a misspelt name lets a resumed run mix two measurements."""
    assert set(MEASURED) <= set(FIELDS)
    assert len(set(MEASURED)) == len(MEASURED)


def test_default_list_is_not_shared():
    """Broken: changing one parameter set's list changes another's."""
    Parameters().label_token_ids.append(1)
    assert Parameters().label_token_ids == []


def shown(name, value):
    """How a message may show a value: as it was given, or as the number that it became."""
    as_number = type_of(name) is float and type(value) is int and abs(value) < HUGE
    return (repr(value), repr(float(value))) if as_number else (repr(value),)


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("rate_hz", 0, "from 1 to 1000"),
        ("rate_hz", 1001, "from 1 to 1000"),
        ("phase_s", 0, "from 2 to 86400"),
        ("phase_s", -1.5, "from 2 to 86400"),
        ("phase_s", float("inf"), "must be"),
        ("phase_s", float("nan"), "must be a number"),
        ("concurrency", 0, "from 1 to 1000"),
        ("single_items", 0, "from 1 to 100000"),
        ("large_items", -4, "from 1 to 100000"),
        ("port", 65536, "from 0 to 65535"),
        ("port", -1, "from 0 to 65535"),
        ("seed", -1, "from 0 to"),
        ("startup_s", 0.5, "from 1 to 86400"),
        ("warmup_s", -1, "from 1 to 86400"),
        ("request_s", False, "must be a number"),
        ("device", "gpu", "one of cpu, tpu"),
        ("py_spy_mode", "gil", "one of nonblocking, blocking, native, off"),
        ("label", "  ", "must not be empty"),
        ("phases", "single,medium", "the phases are single, small, large, mixed, file"),
        ("phases", "single, small, single", "listed twice"),
        ("server_url", "127.0.0.1:30000", "http://127.0.0.1:30000"),
        ("server_url", "https://127.0.0.1:30000", "http://127.0.0.1:30000"),
        ("server_url", "http://127.0.0.1", "http://127.0.0.1:30000"),
        ("server_url", "http://127.0.0.1:99999", "http://127.0.0.1:30000"),
        ("server_url", "http://127.0.0.1:port", "http://127.0.0.1:30000"),
        ("server_url", "http://127.0.0.1:30000/v1/score", "http://127.0.0.1:30000"),
        ("server_url", "http://[::1", "http://127.0.0.1:30000"),
        ("server_url", "http://10.0.0.7:30000", "must be on this machine"),
        ("server_url", "http://127.0.0.1.example.org:30000", "must be on this machine"),
        ("server_url", "http://127.0.0.1@example.org:30000", "must be on this machine"),
        ("server_url", "http://0.0.0.0:30000", "must be on this machine"),
        ("server_url", "http://127.0.0.1.example:30000", "must be on this machine"),
        ("server_url", "http://user@192.0.2.1:30000", "unencrypted"),
        ("server_log", "/var/log/sglang.log", "set server_url too"),
        ("label_token_ids", [294, -3], "-3 is negative"),
        ("label_token_ids", "294,yes", "list of whole numbers, such as 294,293"),
        ("label_token_ids", None, "list of whole numbers, such as 294,293"),
        ("label_token_ids", True, "list of whole numbers, such as 294,293"),
        ("label_token_ids", [[1]], "list of whole numbers, such as 294,293"),
        ("label_token_ids", [float("inf")], "list of whole numbers, such as 294,293"),
        ("label_token_ids", "--5", "list of whole numbers, such as 294,293"),
        ("label_token_ids", [1.5], "list of whole numbers, such as 294,293"),
        ("label_token_ids", [True], "list of whole numbers, such as 294,293"),
        ("rate_hz", "fast", "a whole number"),
        ("rate_hz", 12.5, "a whole number"),
        ("rate_hz", "", "a whole number, or auto"),
        ("rate_hz", [50], "a string"),
        ("phase_s", True, "a number"),
        ("phase_s", HUGE, "must be"),
        ("phase_s", -HUGE, "must be"),
        ("trust_remote_code", 1, "True or False"),
        ("trust_remote_code", "yes", "True or False"),
        ("label", True, "a string"),
        ("prefix_cache", False, "put quotes around it"),
        ("label", ["a"], "a string, not list"),
        ("model_path", ["a"], "a string"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_bad_value_is_named_with_its_fix(name, value, fix):
    """Broken: the user does not see which parameter is wrong, its value, and what would work."""
    with pytest.raises(ParameterError) as caught:
        Parameters.from_mapping({name: value})
    message = str(caught.value)
    assert caught.value.name == name
    assert message.partition(": ")[0] in {f"parameter {name}={text}" for text in shown(name, value)}
    assert fix in message
    assert "\n" not in message


def test_native_mode_is_bounded_to_20_hz():
    """Broken: native unwinding at 100 Hz falls seconds behind, and its times are wrong."""
    assert Parameters.from_mapping({"py_spy_mode": "native", "rate_hz": 20}).rate_hz == "20"
    assert Parameters.from_mapping({"py_spy_mode": "native"}).rate_hz == "auto"
    with pytest.raises(ParameterError, match=r"rate_hz='?21'?: must be from 1 to 20, or auto"):
        Parameters.from_mapping({"py_spy_mode": "native", "rate_hz": 21})


def test_file_phase_needs_a_file():
    """Broken: the file phase starts without a file."""
    with pytest.raises(ParameterError, match="requests_file='': phase file needs"):
        Parameters.from_mapping({"phases": "file"})


@pytest.mark.parametrize(
    ("wrong", "right"), [("rate_hertz", "rate_hz"), ("Phases", "phases"), ("concurency", "concurrency")]
)
def test_misspelt_name_gets_the_right_one(wrong, right):
    """Broken: a misspelt parameter is ignored, and something else is measured than was requested."""
    with pytest.raises(ParameterError, match=rf"{wrong}=1: no such parameter; did you mean {right}\?"):
        Parameters.from_mapping({wrong: 1})


def test_name_like_no_other_gets_the_list():
    """Broken: an unknown name gives no list of the known ones."""
    with pytest.raises(
        ParameterError, match=r"no such parameter; the parameters are run_dir, label, server_python, .*"
    ):
        Parameters.from_mapping({"zzz": 1})


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("rate_hz", 12, "12"),
        ("rate_hz", 12.0, "12"),
        ("rate_hz", "auto", "auto"),
        ("phase_s", 12, 12.0),
        ("label", 12, "12"),
        ("label", 1.5, "1.5"),
        ("server_flags", None, ""),
        ("label_token_ids", "294,293", [294, 293]),
        ("label_token_ids", " [294, 293] ", [294, 293]),
        ("label_token_ids", "", []),
        ("label_token_ids", 294, [294]),
        ("label_token_ids", (294, 293), [294, 293]),
        ("trust_remote_code", True, True),
        ("server_url", "http://localhost:30000/", "http://localhost:30000/"),
    ],
)
def test_papermill_style_value_is_taken(name, value, taken):
    """Broken: a list cannot be passed with papermill's -p, which parses numbers and booleans only."""
    accepted = getattr(Parameters.from_mapping({name: value}), name)
    assert accepted == taken
    assert type(accepted) is type(taken)


@pytest.mark.parametrize("name", ["seed", "phase_s"])
def test_text_for_a_number_is_refused(name):
    """Broken: a number passed as text with papermill's -r is measured with."""
    with pytest.raises(ParameterError, match=rf"{name}='12': must be a .*number, not str"):
        Parameters.from_mapping({name: "12"})


def test_phase_names_default_to_all_that_can_be_sent():
    """Broken: a default run skips a phase, or requests one that cannot be sent."""
    assert Parameters().phase_names() == PHASES
    assert Parameters(requests_file="own.jsonl").phase_names() == (*PHASES, "file")
    assert Parameters(phases=" mixed, single ,").phase_names() == ("mixed", "single")


def test_changed_values_are_checked_like_new_ones():
    """Broken: a changed value is not checked, as with pydantic's model_copy(update=...)."""
    assert Parameters(seed=3).with_values(rate_hz=50) == Parameters(seed=3, rate_hz=50)
    with pytest.raises(ParameterError, match=r"rate_hz=0: must be from 1 to 1000"):
        Parameters().with_values(rate_hz=0)


def test_importing_the_parameters_is_cheap():
    """Broken: the runner's check of the parameters imports slow packages."""
    program = "import sys, scoreprof_nb.parameters.compare; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"pandas", "numpy", "pyarrow", "IPython", "papermill"} & set(answer.stdout.split())


def test_error_has_no_traceback_in_a_notebook():
    """Broken: IPython shows a traceback for a wrong parameter."""
    assert ParameterError("port", 1, "bad")._render_traceback_() == ["ParameterError: parameter port=1: bad"]


SIMPLE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from(["", "single", "cpu"])
)
VALUES = st.one_of(
    SIMPLE, st.lists(SIMPLE, max_size=3), st.dictionaries(st.text(max_size=3), SIMPLE, max_size=2)
)


@given(st.dictionaries(st.one_of(st.sampled_from(sorted(FIELDS)), st.text(max_size=8)), VALUES, max_size=4))
def test_any_simple_values_give_parameters_or_a_parameter_error(values):
    """Broken: a wrong parameter gives a traceback and exit code 1 instead of one line and 42."""
    try:
        parameters = Parameters.from_mapping(values)
    except ParameterError as error:
        named = error.name
    else:
        named = "requests_file"
        assert all(type(getattr(parameters, name)) is type_of(name) for name in FIELDS)
    assert named in {*values, "requests_file"}


@given(name=st.sampled_from(sorted(FIELDS)), value=VALUES)
def test_any_single_value_gives_parameters_or_a_parameter_error(name, value):
    """Broken: some value gives a traceback instead of a parameter error."""
    with suppress(ParameterError):
        Parameters.from_mapping({name: value})


# ---- files and folders


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("requests_file", "cannot be read"),
        ("model_path", "no such folder"),
        ("server_python", "is not an executable file"),
    ],
)
@pytest.mark.parametrize("existing", ["run_dir", "results_dir"])
def test_file_of_a_new_run_is_checked_and_that_of_an_existing_run_is_not(tmp_path, existing, name, problem):
    """Broken: a finished run cannot be analysed again without its model."""
    parameters = Parameters(**{existing: str(tmp_path), name: str(tmp_path / "none")})
    with pytest.raises(ParameterError, match=f"{name}=.*{problem}"):
        parameters.check_files()
    (tmp_path / "manifest.json").write_text("{}")
    parameters.check_files()


def test_requests_file_is_checked_for_its_own_phase_only(tmp_path):
    """Broken: a file that no phase uses prevents a run."""
    Parameters(requests_file=str(tmp_path / "none"), phases="single").check_files()


def test_folder_that_is_no_model_is_named(tmp_path):
    """Broken: a folder without a model is accepted."""
    with pytest.raises(ParameterError, match=r"model_path=.*has no config\.json"):
        Parameters(model_path=str(tmp_path)).check_files()
    (tmp_path / "config.json").write_text("{}")
    Parameters(model_path=str(tmp_path)).check_files()
