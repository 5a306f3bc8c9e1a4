"""Redaction: secrets leave logs, command lines, recordings and the report; nothing else does."""

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from papermill.execute import ERROR_MARKER_TAG

from scoreprof_nb.redact import MASK, Redactor
from scoreprof_nb.run_folder.files import RUN_MIME
from scoreprof_nb.runner.executed_notebook import ExecutedNotebook, read_executed_notebook

SECRET = "s3cr3tvalue42"
HF = "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH"


@pytest.mark.parametrize(
    "text",
    [
        f"--api-key {SECRET}",
        f"--api-key   {SECRET} --port 1",
        f"--hf-token={SECRET}",
        f"--password {SECRET}",
        f"--admin-secret={SECRET} --device cpu",
        f'{{"password": "{SECRET}"}}',
        f'{{"api_key": "{SECRET}", "port": 1}}',
        f"ServerArgs(api_key='{SECRET}', port=1)",
        f"Authorization: Bearer {SECRET}",
        f"sk-{SECRET}",
    ],
)
def test_secret_is_taken_out(text):
    assert SECRET not in Redactor()(text)
    assert MASK in Redactor()(text)


def test_hugging_face_token_is_taken_out_wherever_it_stands():
    for text in (HF, f"HF_TOKEN={HF}", f"token {HF} is bad", f'"{HF}"'):
        assert HF not in Redactor()(text)


@pytest.mark.parametrize(
    "text",
    [
        "--tokenizer-path /models/tiny --port 1",
        "--max-total-tokens 1024",
        "--chunked-prefill-size 64 --page-size 1",
        "Prefill batch. #new-seq: 1, #new-token: 12, #cached-token: 0, token usage: 0.00, #queue-req: 0",
        "token usage: 0.00, #token: 12",
        "label_token_ids: [294, 293]",
        "--api-key --port 30000",
        "the key question is where the token goes",
        "/site-packages/sgl_jax/srt/hf_transformers_utils.py",
        "hf_config.text_config is None",
    ],
)
def test_what_is_no_secret_stays(text):
    """A log or recording with holes in it cannot be analysed."""
    assert Redactor()(text) == text


def test_only_the_value_is_replaced():
    assert Redactor()(f"run --api-key {SECRET} --port 1") == f"run --api-key {MASK} --port 1"
    assert Redactor()(f"run --hf-token={SECRET} --port 1") == f"run --hf-token={MASK} --port 1"


def test_value_of_a_secret_flag_is_taken_out_wherever_it_is_echoed():
    """A server prints its arguments in formats of its own."""
    redact = Redactor.for_server(f"--device cpu --api-key {SECRET} --hf-token='{SECRET}2'")
    assert (
        redact(f"listening, key is <{SECRET}>, other <{SECRET}2>")
        == f"listening, key is <{MASK}>, other <{MASK}>"
    )


def test_short_values_and_broken_quotes_do_not_blank_the_log():
    """``--api-key 1`` must not replace every digit 1; an open quote is no reason to fail here."""
    assert Redactor.for_server("--api-key 1")("11 of 111") == "11 of 111"
    assert SECRET not in Redactor.for_server(f"--api-key {SECRET} 'open")(SECRET)


def test_quotes_around_a_flag_survive():
    """Python source and JSON text that hold a command line must stay what they are."""
    for text in (f'server_flags = "--api-key {SECRET}"', f"server_flags = '--hf-token={SECRET}'"):
        clean = Redactor()(text)
        assert SECRET not in clean
        compile(clean, "cell", "exec")


def test_recording_stays_json_when_a_command_line_in_it_is_redacted():
    """py-spy's speedscope file is compact JSON and holds the command line of every process."""
    command = f'process 12:"/usr/bin/python3 -m sgl_jax.launch_server --api-key {SECRET}"'
    recording = {"shared": {"frames": [{"name": command, "file": ""}, {"name": "main", "file": "a.py"}]}}
    text = json.dumps(recording, separators=(",", ":"))
    for redact in (Redactor(), Redactor.for_server(f"--api-key {SECRET}")):
        clean = redact(text)
        assert SECRET not in clean
        assert json.loads(clean)["shared"]["frames"][1] == {"name": "main", "file": "a.py"}


# ---- the executed notebook


def write_notebook(path, *cells):
    nbformat.write(new_notebook(cells=list(cells)), path)
    return path


def run_output(run_dir):
    return new_output("display_data", data={RUN_MIME: {"run_dir": str(run_dir)}, "text/plain": "run folder"})


def error_output(name="ParameterError", value="parameter port=1: bad"):
    return new_output("error", ename=name, evalue=value, traceback=["the traceback"])


def secret_cell(run_dir):
    printed = new_output("stream", name="stdout", text=f"api_key='{SECRET}'\nBearer {SECRET}\n")
    return new_code_cell(f'flags = "--api-key {SECRET} --port 1"', outputs=[run_output(run_dir), printed])


def test_executed_notebook_without_error(tmp_path):
    path = write_notebook(tmp_path / "out.ipynb", new_code_cell("1", outputs=[run_output(tmp_path / "run")]))
    assert read_executed_notebook(path) == ExecutedNotebook(path, None, None, tmp_path / "run")


def test_first_error_and_the_run_folder_are_found(tmp_path):
    cells = (
        new_code_cell("1", outputs=[run_output(tmp_path / "run"), error_output()]),
        new_code_cell("2", outputs=[error_output("KeyError", "later")]),
    )
    executed = read_executed_notebook(write_notebook(tmp_path / "out.ipynb", *cells))
    assert executed.error_name == "ParameterError"
    assert executed.error == "ParameterError: parameter port=1: bad"
    assert executed.run_dir == tmp_path / "run"


def test_notebook_that_did_not_get_to_its_run_folder(tmp_path):
    executed = read_executed_notebook(
        write_notebook(tmp_path / "out.ipynb", new_code_cell("1", outputs=[error_output()]))
    )
    assert executed.run_dir is None
    assert executed.keep() == executed.path


def test_keep_redacts_and_copies_into_the_run_folder(tmp_path):
    """The report is shared: no secret may be left in it, in any of its forms."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    executed = read_executed_notebook(write_notebook(tmp_path / "out.ipynb", secret_cell(run_dir)))
    report = executed.keep()
    assert report == run_dir / "report.ipynb"
    for path in (executed.path, report, run_dir / "report.html"):
        assert SECRET not in path.read_text(encoding="utf-8"), path
    nbformat.validate(nbformat.read(report, as_version=4))
    assert MASK in (run_dir / "report.html").read_text(encoding="utf-8")
    assert sorted(p.name for p in run_dir.iterdir()) == ["report.html", "report.ipynb"]


def test_keep_of_a_notebook_that_is_the_report_already(tmp_path):
    """``make report`` writes straight into the run folder: a file is not copied onto itself."""
    path = write_notebook(tmp_path / "report.ipynb", secret_cell(tmp_path))
    assert read_executed_notebook(path).keep() == path
    assert SECRET not in path.read_text(encoding="utf-8")
    assert (tmp_path / "report.html").exists()


def test_report_of_a_gate_is_not_called_a_failure(tmp_path):
    """Broken: a whole comparison begins with papermill's red lines, since exit code 3 is an exception."""

    def kept(error_name):
        red = new_markdown_cell("An Exception was encountered", metadata={"tags": [ERROR_MARKER_TAG]})
        cell = new_code_cell("1", outputs=[run_output(tmp_path), error_output(error_name, "regression")])
        report = read_executed_notebook(write_notebook(tmp_path / "out.ipynb", red, cell)).keep()
        return report.read_text(encoding="utf-8")

    assert "An Exception was encountered" not in kept("ComparisonGate")
    assert "regression" in kept("ComparisonGate")
    assert "An Exception was encountered" in kept("CaptureFailed")


def test_keep_when_the_run_folder_is_gone(tmp_path):
    path = write_notebook(tmp_path / "out.ipynb", secret_cell(tmp_path / "never-made"))
    assert read_executed_notebook(path).keep() == path
    assert SECRET not in path.read_text(encoding="utf-8")


def test_secrets_of_every_sides_parameters_are_known():
    """Broken: a variable of the server's environment is in the report, and in the bucket."""
    redact = Redactor.for_parameters(
        {
            "server_flags": "--api-key 'first secret'",
            "control_server_environment": "API_KEY=secondsecret A=1",
            "test_server_environment": "HF_TOKEN=thirdsecret 'unclosed",
            "phase_s": 4,
        }
    )
    text = redact("first secret, secondsecret, thirdsecret, A=1")
    assert text == "[redacted], [redacted], [redacted], A=1"
