"""Checksums within a file, and of a log that grows: damage is noticed, and nothing else is called damage."""

import hashlib
import json

import pytest

from scoreprof_nb.run_folder.folder import RunFolder, read_json
from scoreprof_nb.run_folder.records import RunFolderError
from scoreprof_nb.run_folder.seal import check_seal, sealed_json
from scoreprof_nb.run_folder.store import load_run
from tests.support.stored_run import make_run

VALUE = {"p50": 44.5, "label": "Zürich\n", "phases": {"single": [1, 2]}}


def test_sealed_file_is_json_with_the_checksum_of_the_rest(tmp_path):
    """Broken: another program cannot check the checksum."""
    text = sealed_json(VALUE)
    first, checksum, *rest = text.split("\n")
    assert json.loads(text) == {"checksum": json.loads("{" + checksum.rstrip(",") + "}")["checksum"], **VALUE}
    without = "\n".join([first, *rest])
    assert hashlib.sha256(without.encode()).hexdigest() in checksum
    (tmp_path / "file.json").write_text(text)
    assert read_json(tmp_path / "file.json") == VALUE


def test_empty_object_can_be_read(tmp_path):
    """Broken: a run without provenance cannot be analysed."""
    (tmp_path / "file.json").write_text(sealed_json({}))
    assert read_json(tmp_path / "file.json") == {}


def test_sealed_file_is_inert_in_a_terminal(tmp_path):
    """Broken: the name of a model or a label turns the text of a terminal around, or runs its escape codes."""
    label = "a\u202eb\x9b31m"
    path = tmp_path / "file.json"
    path.write_text(sealed_json({"label": label}))
    assert not {"\u202e", "\x9b"} & set(path.read_text())
    assert read_json(path) == {"label": label}


@pytest.mark.parametrize("number", range(0, 8 * len(sealed_json(VALUE).encode()), 5))
def test_flipped_bit_is_noticed_or_leaves_the_values(number):
    """Broken: a bad disk changes a number without a word."""
    content = bytearray(sealed_json(VALUE).encode())
    content[number // 8] ^= 1 << number % 8
    try:
        value = json.loads(bytes(content).decode())
        check_seal(bytes(content))
    except ValueError:
        return
    assert {name: part for name, part in value.items() if name in VALUE} == VALUE


def test_file_that_was_edited_by_hand_says_what_to_do(tmp_path):
    """Broken: a user who corrected a label does not learn why the file is refused."""
    path = tmp_path / "file.json"
    path.write_text(sealed_json(VALUE).replace("44.5", "44.6"))
    with pytest.raises(RunFolderError, match=r"file\.json: .*its own checksum.*if you edited it, remove"):
        read_json(path)


def test_file_that_another_program_wrote_anew_is_read(tmp_path):
    """Broken: a summary that was formatted by another tool is called damaged."""
    path = tmp_path / "file.json"
    path.write_text(json.dumps(json.loads(sealed_json(VALUE)), indent=4))
    assert read_json(path) == VALUE


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    return make_run(tmp_path / "run", "single")


def test_log_that_has_grown_since_the_manifest_is_whole(folder):
    """Broken: a run that was killed after its last manifest cannot be read."""
    with folder.log_path.open("a") as log:
        log.write("1000000001.000000 more\n")
    assert len(load_run(folder.path).log) == 2


@pytest.mark.parametrize(("content", "why"), [("1000", "its end is missing"), ("2" * 60, "differs from")])
def test_log_that_was_cut_or_changed_is_named(folder, content, why):
    """Broken: batches and compiles are counted from a log of which half is missing."""
    folder.log_path.write_text(content)
    with pytest.raises(RunFolderError, match=rf"server\.log: .*{why}"):
        load_run(folder.path)


def test_provenance_of_a_capture_that_has_just_begun_may_be_new(folder):
    """Broken: a run killed between the two files cannot be read."""
    folder.write_provenance({"kit": "2"})
    assert load_run(folder.path).provenance == {"kit": "2"}


def test_record_of_another_phase_is_named(folder):
    """Broken: a phase folder that was copied to another name gives that phase's numbers."""
    folder.phase_path("single").rename(folder.phase_path("small"))
    folder.write_manifest(folder.read_manifest())
    with pytest.raises(RunFolderError, match=r"small/phase\.json: the record of another phase, 'single'"):
        load_run(folder.path)
