"""Start sglang-jax 0.0.2 with the repairs that its Score API needs to answer.

    <server python> serve_0_0_2.py [the flags of sgl_jax.launch_server]

This program replaces ``-m sgl_jax.launch_server`` for exactly this version. The server spawns its child
processes: they import this file as ``__mp_main__``, so the repairs at module level apply to them too.

1. flax 0.12 and later register ``NativeAttention`` as a pytree a second time, which fails.
2. Off the TPU, the sampler traces a branch that returns a tuple of three where two are expected. The
   branch for the TPU is pure JAX and runs on any device.
3. ``/v1/score`` fails on every device, because the logprob path calls ``.tolist()`` on traced arrays
   inside jit (``ConcretizationTypeError``). The model and the sampler therefore run without the logprob
   path. The scheduler computes the label tokens' logprobs on the host, from ``next_token_logits``, where
   it attaches logprobs to the requests.
4. ``/start_profile`` ignores a tracer level of 0. JAX's Python tracer, which records every call, stays on
   and slows what is to be measured. Here it is off unless a level is requested.
"""

import sys

import jax
import numpy as np


def register_native_attention_once() -> None:
    register = jax.tree_util.register_pytree_node_class

    def register_unless_done(cls: type) -> type:
        try:
            register(cls)
        except ValueError as error:
            if "Duplicate custom PyTreeDef" not in str(error):
                raise
        return cls

    jax.tree_util.register_pytree_node_class = register_unless_done


def sample_as_on_tpu() -> None:
    from sgl_jax.srt.layers import sampler

    sampler.top_k_top_p_min_p_sampling_from_probs_jax = (
        sampler.top_k_top_p_min_p_sampling_from_probs_jax_tpu_runtime
    )


def score_from_next_token_logits() -> None:
    from sgl_jax.srt.managers.schedule_batch import ScheduleBatch
    from sgl_jax.srt.managers.scheduler_output_processor_mixin import SchedulerOutputProcessorMixin

    get_model_worker_batch = ScheduleBatch.get_model_worker_batch

    def get_model_worker_batch_without_logprobs(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        batch = get_model_worker_batch(self, *args, **kwargs)
        batch.return_logprob = False
        batch.token_ids_logprobs = None
        batch.top_logprobs_nums = None
        # Unused without logprobs, and the only array that is not padded: with it, each number of sequences
        # in a batch would be compiled as a program of its own.
        batch.extend_input_logprob_token_ids = None
        return batch

    def add_logprob_return_values(self, i, req, pt, next_token_ids, num_input_logprobs, output):  # type: ignore[no-untyped-def]
        logprobs = getattr(output, "host_logprobs", None)
        if logprobs is None:
            logits = jax.device_get(output.next_token_logits).astype(np.float32)
            logits = logits - logits.max(axis=-1, keepdims=True)
            logprobs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
            output.host_logprobs = logprobs
        req.output_token_logprobs_val.append(float(logprobs[i, next_token_ids[i]]))
        req.output_token_logprobs_idx.append(next_token_ids[i])
        for field in (
            "input_token_logprobs_val",
            "input_token_logprobs_idx",
            "input_top_logprobs_val",
            "input_top_logprobs_idx",
            "input_token_ids_logprobs_val",
            "input_token_ids_logprobs_idx",
        ):
            setattr(req, field, [])
        if req.token_ids_logprob is not None:
            labels = list(req.token_ids_logprob)
            req.output_token_ids_logprobs_val.append(logprobs[i, labels].tolist())
            req.output_token_ids_logprobs_idx.append(labels)
        return num_input_logprobs

    ScheduleBatch.get_model_worker_batch = get_model_worker_batch_without_logprobs
    SchedulerOutputProcessorMixin.add_logprob_return_values = add_logprob_return_values


def trace_without_python_calls() -> None:
    options_of_jax = jax.profiler.ProfileOptions

    def options() -> jax.profiler.ProfileOptions:
        created = options_of_jax()
        created.python_tracer_level = 0
        return created

    jax.profiler.ProfileOptions = options


register_native_attention_once()
sample_as_on_tpu()
score_from_next_token_logits()
trace_without_python_calls()

if __name__ == "__main__":
    from sgl_jax.launch_server import main

    sys.exit(main())
