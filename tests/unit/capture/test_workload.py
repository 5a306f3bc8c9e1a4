"""What is sent: new requests, the same bytes for the same seed, lengths in the model's own tokens."""

import json
import random
import statistics

import pytest

from scoreprof_nb.capture.texts import WORDS, Texts
from scoreprof_nb.capture.workload import DISTINCT_PAYLOADS, Workloads
from scoreprof_nb.parameters.load import Lengths
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.parameters.schema import ParameterError

LABELS = (294, 293)
TOKENS_OF = {word: 1 + len(word) // 3 for word in WORDS}


def workload(phase, labels=LABELS, **parameters):
    return Workloads(Parameters(**parameters), labels, TOKENS_OF).of(phase)


def payloads(phase, n=20, **parameters):
    made = workload(phase, **parameters)
    return [made.request(number).payload for number in range(n)]


def tokens(text):
    return sum(TOKENS_OF[word] for word in text.split())


# ---- bodies


@pytest.mark.parametrize("phase", ["single", "small", "large", "mixed", "small@4", "small@2.5/s"])
def test_same_seed_gives_the_same_bytes(phase):
    """Broken: control and test do different work."""
    assert payloads(phase, seed=7) == payloads(phase, seed=7)


def test_other_seed_gives_other_bytes():
    """Broken: every seed gives the same requests."""
    assert not set(payloads("small", seed=1)) & set(payloads("small", seed=2))


def test_bytes_depend_on_nothing_but_seed_phase_and_sizes():
    """Broken: a longer phase or a higher rate changes what is sent."""
    plain = payloads("small", seed=1)
    assert plain == payloads(
        "small", seed=1, phase_s=100, rate_hz=7, concurrency="3", rates="9", single_items=5, label="x"
    )
    assert plain != payloads("small", seed=1, small_items=5)
    assert plain != payloads("small", seed=1, query_tokens="17")
    assert plain != payloads("single", seed=1, single_items=4)


@pytest.mark.parametrize("mode", ["cold", "off"])
def test_no_query_is_sent_twice_in_a_run(mode):
    """Broken: the prefix cache knows a prompt, and the run measures hits that production does not have."""
    queries = []
    for phase in ("single", "small", "mixed", "small@4", "small@2/s"):
        made = workload(phase, prefix_cache=mode)
        for number in range(300):
            queries += [made.request(number), made.warmup_request(number), made.sized(3, number)]
    texts = [json.loads(body.payload)["query"] for body in queries]
    assert len(set(texts)) == len(texts)


def test_queries_of_a_phase_begin_differently_at_once():
    """Broken: each query shares its first words with others, which the prefix cache knows."""
    made = workload("small")
    firsts = [json.loads(made.request(n).payload)["query"].split()[0] for n in range(60)]
    firsts += [json.loads(made.warmup_request(n).payload)["query"].split()[0] for n in range(20)]
    assert len(set(firsts)) == 80


def test_warm_sends_a_few_payloads_in_turn():
    """Broken: what is asked to hit the prefix cache does not."""
    made = workload("small", prefix_cache="warm")
    sent = [made.request(number).payload for number in range(3 * DISTINCT_PAYLOADS)]
    assert len(set(sent)) == DISTINCT_PAYLOADS
    assert made.warmup_request(0).payload == sent[0] == sent[DISTINCT_PAYLOADS]
    assert made.repeated == 0


@pytest.mark.parametrize("phase", ["single", "small", "large"])
def test_bodies_are_score_requests_of_the_asked_size(phase):
    """Broken: requests have another size or other lengths, or the Score API does not accept them."""
    made = workload(phase, query_tokens="60+-10", item_tokens="30+-5")
    items = {"single": 1, "small": 4, "large": 32}[phase]
    lengths = []
    for number in range(100):
        body = made.request(number)
        sent = json.loads(body.payload)
        assert (body.kind, body.items, len(sent["items"])) == (phase, items, items)
        assert (body.number, sent["label_token_ids"], sent["item_first"]) == (number, list(LABELS), False)
        query = tokens(sent["query"])
        lengths.append((query, tokens(sent["items"][0])))
        assert body.prompt_tokens == items * query + sum(map(tokens, sent["items"]))
        assert body.shared_tokens == (items - 1) * query
        assert all(text[0] == " " for text in (sent["query"], *sent["items"]))  # else tokens would merge
    for values, mean, spread in zip(zip(*lengths, strict=True), (60, 30), (10, 5), strict=True):
        error = statistics.stdev(values) / 10  # of the mean of 100
        assert abs(statistics.mean(values) - mean) < 4 * error
        assert spread / 1.5 < statistics.stdev(values) < spread * 1.5


def test_lengths_are_unknown_where_the_model_is():
    """Broken: words are counted as tokens of a model that nobody has looked at."""
    body = Workloads(Parameters(), LABELS, {}).of("small").request(0)
    assert (body.prompt_tokens, body.shared_tokens) == (None, None)


@pytest.mark.parametrize("lengths", [Lengths(1, 0), Lengths(7, 3), Lengths(400, 100), Lengths(50_000, 0)])
def test_texts_have_the_tokens_that_they_say(lengths):
    """Broken: the report states another prompt length than was sent; a long text loops for ever."""
    texts, rng = Texts("seed", TOKENS_OF), random.Random(1)
    for number in range(20):
        for text, counted in (texts.text(rng, lengths), texts.unique(number, rng, lengths)):
            assert text
            assert counted == tokens(text)


def test_mixed_alternates_the_kinds():
    """Broken: ``mixed`` sends one kind more often, or numbers that payloads cannot be compared by."""
    made = workload("mixed")
    sent = [made.request(number) for number in range(9)]
    assert [body.kind for body in sent] == ["single", "small", "large"] * 3
    assert [body.number for body in sent] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert made.repeated % 3 == 0


def test_fingerprint_tells_other_requests_and_nothing_else_apart():
    """Broken: runs with different requests are compared, or runs with the same are refused."""
    texts = {
        workload("mixed", labels, **parameters).fingerprint()
        for parameters, labels in (
            ({}, LABELS),
            ({"label": "x", "phase_s": 9, "concurrency": "4"}, LABELS),
            ({"seed": 5}, LABELS),
            ({}, (1, 2)),
            ({"small_items": 5}, LABELS),
            ({"prefix_cache": "warm"}, LABELS),
            ({"item_tokens": "99"}, LABELS),
        )
    }
    assert len(texts) == 6
    assert all("single x 1, small x" in text for text in texts)


# ---- the user's file


def own(tmp_path, *lines):
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps({"query": "q", "items": ["a"], **line}) + "\n" for line in lines))
    return workload("file", (1,), requests_file=str(path))


def test_file_phase_sends_the_users_bodies_over_and_over(tmp_path):
    """Broken: the phase of the user's file sends something else."""
    made = own(tmp_path, {"items": ["a", "b", "c"]}, {"items": ["a"]})
    sent = [made.request(number) for number in range(4)]
    assert [(body.kind, body.items, body.labels, body.number) for body in sent] == [
        ("file", 3, 1, 0),
        ("file", 1, 1, 1),
    ] * 2
    with pytest.raises(ParameterError, match="cannot be read"):
        workload("file", requests_file=str(tmp_path / "none"))


def test_a_body_that_must_not_repeat_is_sent_once_and_not_in_the_warm_up(tmp_path):
    """Broken: the prefix cache knows a body that is new in production."""
    made = own(tmp_path, {"query": "new", "repeat": False}, {"query": "again"})
    queries = [json.loads(made.request(number).payload)["query"] for number in range(4)]
    assert queries == ["new", "again", "again", "again"]
    assert {json.loads(made.warmup_request(number).payload)["query"] for number in range(3)} == {"again"}


def test_the_kits_own_fields_are_not_sent(tmp_path):
    """Broken: the server gets, and may refuse, fields that are no part of its API."""
    made = own(tmp_path, {"repeat": False, "send_at_s": 1}, {"send_at_s": 2.5})
    assert made.send_at_s == (1, 2.5)
    assert not {"repeat", "send_at_s"} & set(json.loads(made.request(0).payload))
