"""What the model's own tokenizer says of the labels and of the words that generated texts are made of."""

from scoreprof_nb.capture import provenance
from scoreprof_nb.capture.texts import WORDS
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.parameters.schema import ParameterError

LABELS = (" Yes", " No")


def label_ids_and_word_tokens(
    parameters: Parameters, python: str, model: str
) -> tuple[list[int], dict[str, int]]:
    """The token ids of the labels; the number of tokens of each word, empty where the model is not known."""
    given = parameters.label_token_ids
    if not model:
        if given:
            return given, {}
        raise ParameterError("label_token_ids", given, "required, because the server's model is not known")
    words = [f" {word}" for word in WORDS]
    answer = provenance.inspect_server(
        python, "labels", model, str(parameters.trust_remote_code), *LABELS, *words, error_name="model_path"
    )
    tokens_of = {word: len(answer["ids"][f" {word}"]) for word in WORDS}
    size = answer["vocabulary"]
    for token_id in given:
        if token_id >= size:
            raise ParameterError(
                "label_token_ids", given, f"{token_id} is not in the model's vocabulary (0 to {size - 1})"
            )
    if given:
        return given, tokens_of
    ids_of = {text: answer["ids"][text] for text in LABELS}
    for text, ids in ids_of.items():
        if len(ids) != 1:
            raise ParameterError(
                "label_token_ids",
                given,
                f"{text!r} is {len(ids)} tokens in this model, not one: set label_token_ids",
            )
    return [ids[0] for ids in ids_of.values()], tokens_of
