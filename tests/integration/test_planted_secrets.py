"""Secrets and texts of requests, planted wherever a run meets them, are in no byte of what it leaves."""

import base64
import gzip
import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from scoreprof_nb import demo
from scoreprof_nb.redact import MASK
from tests.support.server_runs import run_in

pytestmark = [pytest.mark.server, pytest.mark.slow]

INHERITED = {  # of the runner and the server
    "OPENAI_APIKEY": "plantedOpenAi4711",
    "GITHUB_PAT": "plantedPat4712",
    "AWS_SECRET_ACCESS_KEY": "planted/Aws+4713",
    "PGPASSWORD": "planted Pg'4714",
    "DATABASE_URL": "postgres://scorer:plantedDb4715@db/scores",
    "SCORE_KEY": "plantedServerKey4716",
}
GIVEN = {"DB_PASS": "plantedGiven4717", "HFTOKEN": "plantedHf4718"}  # server_environment
IN_FLAG = "plantedQuery4719"
IN_LABEL = "plantedLabel4720"
IN_PATH = "hf_plantedPath4721abcdefghijk"
IN_BODY = "AIza" + "plantedBody4722" + "x" * 20
ECHOED = "plantedEcho4723"  # only in the environment, and printed without a name
QUERY = f"Does Ada Lovelace, patient 4724, have {IN_BODY}?"
ITEM = "she was born in London and has a migraine"
# Words of ours would be in the source of the notebooks; these are nowhere else.
PLANTED = (
    *(*INHERITED.values(), *GIVEN.values(), IN_FLAG, IN_LABEL, IN_PATH, IN_BODY, ECHOED, "plantedDb4715"),
    *("Lovelace", "patient 4724", "has a migraine"),
)


@pytest.fixture
def server(server_python: str, tmp_path: Path) -> Path:
    """An interpreter that prints what it finds in its environment, as a careless server does."""
    wrapper = tmp_path / "inputs" / "python"
    wrapper.parent.mkdir()
    names = (*INHERITED, *GIVEN, "SESSION_TOKEN")
    shown = "\n".join(f'echo "I have <${{{name}:-}}> and {name}=${{{name}:-}}" >&2' for name in names)
    wrapper.write_text(f'#!/bin/bash\nenv >&2\n{shown}\nexec {shlex.quote(server_python)} "$@"\n')
    wrapper.chmod(0o700)
    return wrapper


@pytest.fixture
def model(server_python: str, tmp_path: Path) -> Path:
    folder = tmp_path / "inputs" / IN_PATH / "tiny"
    subprocess.run([server_python, str(demo.TINY_MODEL), str(folder)], check=True, timeout=120)
    return folder


def written_requests(path: Path) -> Path:
    """Good requests, and one that the server rejects and repeats in its answer."""
    good = [{"query": QUERY, "items": [ITEM], "label_token_ids": [3, 4]} for _ in range(9)]
    bad = {"query": QUERY, "items": [ITEM, {"text": ITEM}], "label_token_ids": [3, 4]}
    path.write_text("".join(json.dumps(body) + "\n" for body in (*good, bad)))
    return path


def spellings(secret: str) -> set[bytes]:
    """As it is, as JSON and Python write it, and encoded."""
    texts = {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1]}
    return {text.encode() for text in texts} | {base64.b64encode(secret.encode()).rstrip(b"=")}


def readable(path: Path) -> bytes:
    """The bytes of a file, and what they say once unpacked."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        content += gzip.decompress(content)
    if path.suffix == ".parquet":
        content += str(pq.read_table(path).to_pydict()).encode()
    return content


def test_nothing_planted_is_left(server: Path, model: Path, may_trace: None, tmp_path: Path) -> None:
    """Broken: a secret, or what a request asks about, is published with a report, a log or a bucket."""
    flags = [*demo.flags("0.0.2"), "--served-model-name", f"https://me:{IN_FLAG}@host/m?api_key={IN_FLAG}"]
    log = tmp_path / "termination-log"
    finished = run_in(
        tmp_path,
        {
            **INHERITED,
            "SESSION_TOKEN": ECHOED,
            "SCOREPROF_LOG": "json",
            "SCOREPROF_TERMINATION_LOG": str(log),
        },
        server_python=server,
        model_path=model,
        server_flags=shlex.join(flags),
        server_environment=shlex.join(f"{name}={value}" for name, value in GIVEN.items()),
        api_key_env="SCORE_KEY",
        label=f"fixes?api_key={IN_LABEL}",
        requests_file=written_requests(tmp_path / "inputs" / "requests.jsonl"),
        results_dir=tmp_path / "bucket",
        phases="file",
        phase_s=4,
        warmup_s=20,
    )
    shutil.rmtree(tmp_path / "inputs")
    server_log = (finished.folder / "server.log").read_text()
    assert server_log.count(f"I have <{MASK}>") == len({*INHERITED, *GIVEN, "SESSION_TOKEN"}) - 1, (
        "DATABASE_URL"
    )
    assert f"postgres://{MASK}@db" in server_log
    phase = json.loads((finished.folder / "phases" / "file" / "phase.json").read_text())
    assert "[text]" in str(phase["notes"]), "the server repeated nothing, so nothing was tested"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    names = {str(path.relative_to(tmp_path)) for path in files}
    assert {"run/report.html", "run/report.ipynb", "bucket/report.html", "bucket/server.log"} <= names
    assert any(name.endswith(".gz") for name in names)
    assert json.loads(log.read_text())["run_id"]
    texts = {"the output": finished.output.encode(), **{str(path): readable(path) for path in files}}
    found = {
        (name, secret)
        for name, content in texts.items()
        for secret in PLANTED
        for written in spellings(secret)
        if written in content or written in name.encode()
    }
    assert not found
    modes = {os.fspath(path): path.stat().st_mode & 0o077 for path in (tmp_path / "run").rglob("*")}
    assert not {path for path, mode in modes.items() if mode}, "readable by others"
