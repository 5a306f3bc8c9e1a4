"""Write a tiny random Qwen3 model and its tokenizer, for running the real server on a CPU.

    <server python> tiny_model.py FOLDER

It runs in the *server's* interpreter, which has ``tokenizers``, ``transformers`` and ``ml_dtypes``, so it
imports nothing from the kit.

The weights are random but seeded, so the folder's content is always the same. The model is as small as
the server accepts (0.7 MB), so that the host's share of a request is not hidden behind the device's.
``head_dim`` must be 128: sglang-jax 0.0.2 shapes its KV cache for that size only.
"""

import json
import sys
import tempfile
from pathlib import Path

HIDDEN, HEADS, KV_HEADS, HEAD_DIM, LAYERS, INTERMEDIATE, VOCAB = 128, 1, 1, 128, 1, 128, 1024
SEED = 20261124

SENTENCES = [
    "Yes, the document answers the question.",
    "No, the document does not answer the question.",
    "Rate how well the item fits the query, Yes or No.",
    "The quick brown fox jumps over the lazy dog.",
    "A request is tokenised, scheduled, dispatched to the device and scored.",
    "Is this passage relevant to the search query? Answer Yes or No.",
] * 20


def write_config(folder: Path) -> None:
    config = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "num_hidden_layers": LAYERS,
        "vocab_size": VOCAB,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "attention_bias": False,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 0, "eos_token_id": 1}))


def write_weights(folder: Path) -> None:
    import ml_dtypes
    import numpy as np
    from safetensors.numpy import save_file

    rng = np.random.default_rng(SEED)

    def matrix(rows: int, columns: int) -> "np.ndarray":
        return (rng.standard_normal((rows, columns)) * 0.05).astype(ml_dtypes.bfloat16)

    def ones(size: int) -> "np.ndarray":
        return np.ones(size, dtype=ml_dtypes.bfloat16)

    tensors = {"model.embed_tokens.weight": matrix(VOCAB, HIDDEN), "model.norm.weight": ones(HIDDEN)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        tensors |= {
            prefix + "self_attn.q_proj.weight": matrix(HEADS * HEAD_DIM, HIDDEN),
            prefix + "self_attn.k_proj.weight": matrix(KV_HEADS * HEAD_DIM, HIDDEN),
            prefix + "self_attn.v_proj.weight": matrix(KV_HEADS * HEAD_DIM, HIDDEN),
            prefix + "self_attn.o_proj.weight": matrix(HIDDEN, HEADS * HEAD_DIM),
            prefix + "self_attn.q_norm.weight": ones(HEAD_DIM),
            prefix + "self_attn.k_norm.weight": ones(HEAD_DIM),
            prefix + "mlp.gate_proj.weight": matrix(INTERMEDIATE, HIDDEN),
            prefix + "mlp.up_proj.weight": matrix(INTERMEDIATE, HIDDEN),
            prefix + "mlp.down_proj.weight": matrix(HIDDEN, INTERMEDIATE),
            prefix + "input_layernorm.weight": ones(HIDDEN),
            prefix + "post_attention_layernorm.weight": ones(HIDDEN),
        }
    tensors["lm_head.weight"] = matrix(VOCAB, HIDDEN)
    save_file(tensors, str(folder / "model.safetensors"))


def write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=["<bos>", "<eos>", "<pad>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    ).save_pretrained(str(folder))


def write_model(folder: Path) -> None:
    """Write the model folder atomically: it is complete, or it does not exist."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        staging = Path(scratch) / "model"
        staging.mkdir()
        write_config(staging)
        write_weights(staging)
        write_tokenizer(staging)
        staging.rename(folder)


if __name__ == "__main__":
    write_model(Path(sys.argv[1]).absolute())
