"""Files from outside, damaged in generated ways: a result that fits together, or the reader's own error.

``make fuzz CASES=1000000`` tries that many; hypothesis chooses the seeds. Every reader is called as the kit
calls it, with a file. A failure names the seed: ``cases(documents, seed)`` gives its documents again.
"""

import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from scoreprof_nb.analysis import batching
from scoreprof_nb.analysis.prefill_batches import prefill_batches
from scoreprof_nb.analysis.prefix_cache import prefix_cache
from scoreprof_nb.analysis.requests import measured_requests
from scoreprof_nb.comparison.history import PATH_COLUMNS, RUN_COLUMNS, read_history
from scoreprof_nb.components.rules import load_rules
from scoreprof_nb.components.rules_file import RulesError
from scoreprof_nb.engines.sglang_jax import SglangJax
from scoreprof_nb.engines.sglang_jax_analysis import RULES_FILE
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.parameters.requests_file import read_requests_file
from scoreprof_nb.parameters.schema import ParameterError
from scoreprof_nb.report.profile import make_report
from scoreprof_nb.report.profile_files import write_files
from scoreprof_nb.run_folder.folder import RunFolder
from scoreprof_nb.run_folder.records import Load, RunFolderError
from scoreprof_nb.run_folder.store import load_run, read_log
from scoreprof_nb.stacks.recording import read_recording
from scoreprof_nb.stacks.table import ImportFailed
from tests.fuzz.mutation import damaged
from tests.support.paths import CAPTURES
from tests.support.written_run import START_S, write_run

CASES = int(os.environ.get("FUZZ_CASES", "10000"))
BATCH = 20  # cases of an example: hypothesis itself takes as long as several of them


def fuzz(share: float) -> settings:
    """This share of all cases."""
    return settings(
        max_examples=max(1, round(share * CASES / BATCH)),
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


seeds = given(seed=st.integers(0, 2**64 - 1))


def cases(documents: Sequence[bytes], seed: int) -> Iterator[bytes]:
    rng = random.Random(seed)
    for _ in range(BATCH):
        yield damaged(rng.choice(documents), rng)


def try_all(documents: Sequence[bytes], seed: int, read: Callable[[bytes], None]) -> None:
    """Read each damaged document; an error that is not the reader's own names the document."""
    for document in cases(documents, seed):
        try:
            read(document)
        except Exception as error:
            shown = document if len(document) < 2000 else document[:1000] + b" ... " + document[-900:]
            raise AssertionError(f"seed {seed}: {error!r} for {shown!r}") from error


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


SPEEDSCOPE = json.dumps(
    {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "exporter": "py-spy@0.4.1",
        "shared": {
            "frames": [
                {"name": 'process 7:"a; b"', "file": "", "line": 0},
                {"name": "thread (70): t", "file": "", "line": 0},
                {"name": "f", "file": "/x/a.py", "line": 1},
                {"name": "g", "file": "/x/b.py", "line": 20},
                {"name": "thread (71)", "file": None, "line": None},
            ]
        },
        "profiles": [
            {
                "type": "sampled",
                "name": f'Process 7 Thread {tid} "t"',
                "unit": "seconds",
                "startValue": 0.0,
                "endValue": 0.06,
                "samples": [
                    [0, thread, 2],
                    [0, thread],
                    [0, thread, 2, 3],
                    [0, thread, 2],
                    [],
                    [0, thread, 3],
                ],
                "weights": [0.01] * 6,
            }
            for tid, thread in ((70, 1), (71, 4))
        ],
    }
).encode()
COMPACT = json.dumps(json.loads(SPEEDSCOPE), separators=(",", ":")).encode()
REAL = (CAPTURES / "two_processes.speedscope.json").read_bytes()
ZIPPED = (CAPTURES / "server-0.0.2.speedscope.json.gz").read_bytes()
FOLDED = (CAPTURES / "two_processes.folded").read_bytes()


@fuzz(0.4)
@seeds
def test_speedscope(scratch: Path, seed: int) -> None:
    """Broken: a damaged recording ends the report with an error from inside the importer, or gives a table
    that does not fit together."""
    try_all((SPEEDSCOPE, SPEEDSCOPE, COMPACT, COMPACT, COMPACT, REAL), seed, reader_of_recordings(scratch))


@fuzz(0.2)
@seeds
def test_raw_and_gzip(scratch: Path, seed: int) -> None:
    """The same for py-spy's raw format, and for compressed files."""
    try_all((FOLDED, FOLDED[:400], FOLDED[-300:], ZIPPED), seed, reader_of_recordings(scratch))


def reader_of_recordings(scratch: Path) -> Callable[[bytes], None]:
    path = scratch / "recording"

    def read(document: bytes) -> None:
        path.write_bytes(document)
        try:
            table = read_recording(path)
        except ImportFailed as error:
            assert str(error).startswith(f"{path}: ")
            return
        assert table.threads
        assert table.offsets[0] == 0
        assert table.offsets[-1] == len(table.frame_ids)
        assert (np.diff(table.offsets) >= 0).all()
        assert ((table.frame_ids >= 0) & (table.frame_ids < max(len(table.frames), 1))).all()
        for thread in table.threads:
            assert thread.stack_ids.dtype == np.int32
            assert ((thread.stack_ids >= 0) & (thread.stack_ids < table.n_stacks)).all()
        assert table.interval_s is None or 0 < table.interval_s < 1e10
        assert all(len(part.text) <= 201 for part in table.skipped)
        assert_no_sample_is_lost(document, table)

    return read


def assert_no_sample_is_lost(document: bytes, table) -> None:
    """Each sample of a usable profile is a tick, or is in ``skipped``."""
    if not table.ordered or document[:2] == b"\x1f\x8b":
        return
    profiles = json.loads(document)["profiles"]
    skipped = [part.where for part in table.skipped]
    listed = sum(
        len(profile["samples"]) for at, profile in enumerate(profiles) if f"profiles[{at}]" not in skipped
    )
    ticks = sum(thread.ticks for thread in table.threads)
    assert listed == ticks + sum(".samples[" in where for where in skipped)


LOG_TEXTS = [line.partition(b" ")[2] for line in (CAPTURES / "server-main.log").read_bytes().split(b"\n")]
LOG = b"\n".join(b"%d.5 %b" % (START_S + 40 * at / len(LOG_TEXTS), text) for at, text in enumerate(LOG_TEXTS))
LOG = LOG.replace(b".5 ", b".500000 ")
LOG_LINES = tuple(b"\n".join(LOG.split(b"\n")[at : at + 12]) for at in range(0, LOG.count(b"\n"), 12))


@pytest.fixture(scope="module")
def run(scratch: Path) -> Path:
    path = scratch / "run"
    write_run(path, recording="off", log=LOG.decode())
    write_files(make_report(Parameters(run_dir=str(path))))
    return path


@fuzz(0.1)
@seeds
def test_server_log(scratch: Path, run: Path, seed: int) -> None:
    """Broken: a line of the server that nobody expected ends the capture or the report."""
    phase = load_run(run).phases["small"]
    engine, path = SglangJax(), scratch / "server.log"
    whole: list[bytes] = []

    def read(document: bytes) -> None:
        whole.append(document)
        path.write_bytes(document)
        log = read_log(path)
        assert list(log.columns) == ["time_ns", "text"]
        assert len(log) == document.decode(errors="replace").removesuffix("\n").count("\n") + 1
        for line in log["text"]:
            size = engine.batch_size(line)
            assert size is None or size >= 0
            engine.reports_compile(line)
        engine.refused_flags(2, log["text"].tolist())

    try_all(LOG_LINES, seed, read)
    path.write_bytes(b"\n".join(whole))
    log = read_log(path)
    requests = measured_requests(phase, log, Load("closed", concurrency=1))
    assert (batching.prefill_batches(phase, log)["new_sequences"] >= 0).all()
    batching.batching_row(phase, log, requests)
    prefix_cache(phase, log, requests)
    prefill_batches(phase, log, phase.requests)


JSONL = b"\n".join(
    [
        b'{"query": "q", "items": ["a", "b"], "label_token_ids": [1, 2], "send_at_s": 0.5, "repeat": false}',
        b'{"query": [1, 2], "items": [[3], [4, 5]], "send_at_s": 1, "apply_softmax": true}',
        b"",
        '{"query": "\N{LINE SEPARATOR}é", "items": ["ü"], "send_at_s": 2}'.encode(),
    ]
)


@fuzz(0.15)
@seeds
def test_requests_file(scratch: Path, seed: int) -> None:
    """Broken: a body of the user's ends the run with a traceback, or is sent as another one."""
    path = scratch / "requests.jsonl"

    def read(document: bytes) -> None:
        path.write_bytes(document)
        try:
            bodies = read_requests_file(path, [7, 8])
        except ParameterError as error:
            assert error.name == "requests_file"
            return
        lines = [line for line in document.decode().split("\n") if line.strip()]
        assert len(bodies) == len(lines)
        for body, line in zip(bodies, lines, strict=True):
            sent, given_body = json.loads(body.payload), json.loads(line)
            assert repr(sent["items"]) == repr(given_body["items"])
            assert body.items == len(sent["items"]) > 0

    try_all((JSONL, *JSONL.split(b"\n")), seed, read)


RULES = b"""
[[component]]
name = "reranker"
group = "scheduler"
meaning = "reordering the batch by length"

[[role]]
process = "reranker"
command = "rerank"

[[rule]]
component = "reranker"
any = ["rerank@/scheduler.py"]
process = "scheduler"
"""


@fuzz(0.1)
@seeds
def test_rules_file(scratch: Path, seed: int) -> None:
    """Broken: a user's rules end the notebook with a traceback."""
    path = scratch / "rules.toml"

    def read(document: bytes) -> None:
        path.write_bytes(document)
        try:
            rules = load_rules(str(path))
        except RulesError as error:
            assert str(path) in str(error)
            return
        assert len(set(rules.catalog.names)) == len(rules.catalog.names)

    entries = RULES_FILE.read_bytes().split(b"\n\n")
    rng = random.Random(seed)
    try_all((RULES, rng.choice(entries), b"\n\n".join(rng.sample(entries, 3))), seed, read)


@fuzz(0.05)
@seeds
def test_json_of_a_run(scratch: Path, run: Path, seed: int) -> None:
    """Broken: a damaged summary, manifest or phase record ends a history or a report with a traceback."""
    folder = scratch / "damaged"
    folder.mkdir(exist_ok=True)
    summary, manifest = folder / "summary.json", folder / "manifest.json"

    def read(document: bytes) -> None:
        summary.write_bytes(document)
        manifest.write_bytes(document)
        history = read_history(folder)
        assert list(history.runs.columns) == list(RUN_COLUMNS)
        assert list(history.paths.columns) == list(PATH_COLUMNS)
        assert pd.api.types.is_datetime64_any_dtype(history.runs["started_at"])
        assert all(str(summary) in line for line in history.unreadable)
        try:
            RunFolder(folder).read_manifest()
        except RunFolderError as error:
            assert str(manifest) in str(error)

    documents = [without_seal((run / name).read_bytes()) for name in ("summary.json", "manifest.json")]
    try_all((*documents, (run / "summary.json").read_bytes()), seed, read)


def without_seal(document: bytes) -> bytes:
    """So that other changes get further than the checksum."""
    value = json.loads(document)
    value.pop("checksum", None)
    return json.dumps(value).encode()
