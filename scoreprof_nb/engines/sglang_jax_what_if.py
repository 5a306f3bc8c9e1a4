"""The functions of sglang-jax that a what-if experiment delays, by component.

One function stands for its component: the one that the component's work happens in, or right before. The
names are those of 0.0.2 and of the main branch (its stacks are in recordings of it). ``device_wait`` has no
line: it is the device that takes that time, and no delay on the host makes it slower.
"""

from scoreprof_nb.engines.what_if import Target

_MANAGERS = "sgl_jax.srt.managers"
_TOKENIZER = f"{_MANAGERS}.tokenizer_manager:TokenizerManager"
_RESULTS = f"{_MANAGERS}.scheduler_output_processor_mixin:SchedulerOutputProcessorMixin"

TARGETS = (
    Target(
        "http",
        "sgl_jax.srt.entrypoints.openai.serving_score:OpenAIServingScore._handle_non_streaming_request",
    ),
    Target("validation", "fastapi.dependencies.utils:request_body_to_args"),
    Target("tokenize", f"{_TOKENIZER}._tokenize_one_request"),
    Target("ipc", f"{_TOKENIZER}._send_one_request"),
    Target("receive", f"{_MANAGERS}.scheduler:Scheduler.handle_generate_request"),
    Target("batch", f"{_MANAGERS}.schedule_batch:ScheduleBatch.prepare_for_extend"),
    Target("host_prep", f"{_MANAGERS}.schedule_batch:ScheduleBatch.get_model_worker_batch"),
    Target("dispatch", f"{_MANAGERS}.tp_worker:ModelWorker.forward_batch_generation"),
    Target("output", f"{_MANAGERS}.schedule_batch:Req.check_finished"),  # once the device's results are there
    Target("output", f"{_RESULTS}.process_batch_result_prefill"),  # before they are
    Target("decode_step", f"{_RESULTS}.process_batch_result_decode"),
    Target("detokenize", f"{_MANAGERS}.detokenizer_manager:DetokenizerManager.handle_batch_token_id_out"),
    Target("logprobs", f"{_TOKENIZER}.convert_logprob_style"),
    Target("softmax", "jax._src.nn.functions:softmax"),
    Target("response", "starlette.responses:JSONResponse.render"),
)
