"""Stacks of sglang-jax 0.0.2 and of its main branch, each with the component it must get.

Every stack is tried with py-spy's qualified names and with the bare ones of py-spy <= 0.4.2, with
full paths (speedscope) and with the paths that ``raw`` shortens to the file's name.
"""

import pytest

from scoreprof_nb.components.catalog import CATALOG
from scoreprof_nb.components.classify import Role, classify, process_role, unclassified_stacks
from scoreprof_nb.components.rules import load_rules
from tests.support.synthetic import (
    DETOKENIZER,
    HTTP,
    LAUNCHER,
    RESOURCE_TRACKER,
    SCHEDULER,
    Thread,
    classified,
    component_of,
    place,
    stack_table,
)

M = "sgl_jax/srt/managers"
LAUNCH = "main@sgl_jax/launch_server.py > launch_server@sgl_jax/srt/entrypoints/http_server.py"
ASGI = f"{LAUNCH} > Server.run@uvicorn/server.py > run@asyncio/runners.py > Runner.run@asyncio/runners.py"
ROUTE = f"{ASGI} > Router.app@starlette/routing.py > get_request_handler.<locals>.app@fastapi/routing.py"
HANDLER = (
    f"{ROUTE} > v1_score_request@sgl_jax/srt/entrypoints/http_server.py > "
    "OpenAIServingScore._handle_non_streaming_request@sgl_jax/srt/entrypoints/openai/serving_score.py > "
    f"TokenizerManager.score_request@{M}/tokenizer_manager.py"
)
GENERATE = f"{HANDLER} > TokenizerManager.generate_request@{M}/tokenizer_manager.py"
HANDLE_LOOP = (
    f"{ASGI} > print_exception_wrapper@{M}/tokenizer_manager.py > "
    f"TokenizerManager.handle_loop@{M}/tokenizer_manager.py"
)
LOOP = (
    "BaseProcess.run@multiprocessing/process.py > "
    f"run_scheduler_process@{M}/scheduler.py > Scheduler.event_loop_overlap@{M}/scheduler.py"
)
RECV = f"{LOOP} > Scheduler.recv_requests@{M}/scheduler.py"
RECV_PYOBJ = f"{RECV} > Socket.recv_pyobj@zmq/sugar/socket.py"
INPUT = (
    f"{LOOP} > Scheduler.process_input_requests@{M}/scheduler.py > "
    "TypeBasedDispatcher.__call__@sgl_jax/utils.py"
)
NEXT = f"{LOOP} > Scheduler.get_next_batch_to_run@{M}/scheduler.py"
PREFILL = f"{NEXT} > Scheduler.get_new_batch_prefill@{M}/scheduler.py"
RUN_BATCH = f"{LOOP} > Scheduler.run_batch@{M}/scheduler.py"
RESULT = f"{LOOP} > Scheduler.process_batch_result@{M}/scheduler.py"
OUT = f"{M}/scheduler_output_processor_mixin.py"
RESULT_PREFILL = f"{RESULT} > SchedulerOutputProcessorMixin.process_batch_result_prefill@{OUT}"
RESULT_DECODE = f"{RESULT} > SchedulerOutputProcessorMixin.process_batch_result_decode@{OUT}"
RESOLVE = f"ModelWorkerClient.resolve_last_batch_result@{M}/tp_worker_overlap_thread.py"
DEVICE_GET = (
    "device_get@jax/_src/api.py > tree_map@jax/_src/tree_util.py > _device_get@jax/_src/api.py > "
    "ArrayImpl.__array__@jax/_src/array.py > annotate_function.<locals>.wrapper@jax/_src/profiler.py > "
    "ArrayImpl._value@jax/_src/array.py"
)
FORWARD_LOOP = (
    "Thread.run@threading.py > "
    f"ModelWorkerClient.forward_thread_func@{M}/tp_worker_overlap_thread.py > "
    f"ModelWorkerClient.forward_thread_func_@{M}/tp_worker_overlap_thread.py"
)
WORKER = f"{FORWARD_LOOP} > ModelWorker.forward_batch_generation@{M}/tp_worker.py"
RUNNER = "sgl_jax/srt/model_executor/model_runner.py"
MODEL_FORWARD = f"{WORKER} > ModelRunner.forward@{RUNNER} > ModelRunner._forward@{RUNNER}"
RUN_MODEL = f"{MODEL_FORWARD} > ModelRunner.initialize_jit.<locals>.run_model_wrapper@{RUNNER}"
CACHE_MISS = (
    "reraise_with_filtered_traceback@jax/_src/traceback_util.py > "
    "_cpp_pjit.<locals>.cache_miss@jax/_src/pjit.py"
)
LOG = (
    "Logger.info@logging/__init__.py > Logger._log@logging/__init__.py > "
    "StreamHandler.emit@logging/__init__.py"
)
QUEUE_GET = "Queue.get@queue.py > Condition.wait@threading.py"
EVENT_WAIT = "Event.wait@threading.py > Condition.wait@threading.py"
DEVICE_PUT = (
    "device_array@sgl_jax/srt/utils/jax_utils.py > device_put@jax/_src/api.py > "
    "_batched_device_put_impl@jax/_src/dispatch.py > batched_device_put@jax/_src/interpreters/pxla.py"
)
DETOKENIZE = (
    f"run_detokenizer_process@{M}/detokenizer_manager.py > "
    f"DetokenizerManager.event_loop@{M}/detokenizer_manager.py"
)
MAIN_IDLE = f"{LOOP} > Scheduler.select_dp_for_request@{M}/scheduler.py"

CASES = {
    # ---- HTTP process
    "parse": (
        "http",
        "main",
        f"{ASGI} > H11Protocol.handle_events@uvicorn/protocols/http/h11_impl.py",
        "http",
    ),
    "parse h11": (
        "http",
        "main",
        f"{ASGI} > H11Protocol.data_received@uvicorn/protocols/http/h11_impl.py > "
        "Connection.next_event@h11/_connection.py > maybe_read_from_IDLE_client@h11/_readers.py",
        "http",
    ),
    "parse httptools": (
        "http",
        "main",
        f"{ASGI} > HttpToolsProtocol.data_received@uvicorn/protocols/http/httptools_impl.py",
        "http",
    ),
    "routing": (
        "http",
        "main",
        f"{ASGI} > Router.app@starlette/routing.py > Route.matches@starlette/routing.py",
        "http",
    ),
    "validation": (
        "http",
        "main",
        f"{ROUTE} > solve_dependencies@fastapi/dependencies/utils.py > "
        "request_body_to_args@fastapi/dependencies/utils.py > "
        "TypeAdapter.validate_python@pydantic/type_adapter.py",
        "validation",
    ),
    "validation of the JSON header": (
        "http",
        "main",
        f"{ROUTE} > solve_dependencies@fastapi/dependencies/utils.py > "
        "validate_json_request@sgl_jax/srt/entrypoints/http_server.py",
        "validation",
    ),
    "handler": ("http", "main", HANDLER, "http"),
    "normalise": (
        "http",
        "main",
        f"{GENERATE} > GenerateReqInput.normalize_batch_and_arguments@{M}/io_struct.py > deepcopy@copy.py",
        "http",
    ),
    "tokenise one": (
        "http",
        "main",
        f"{GENERATE} > TokenizerManager._tokenize_one_request@{M}/tokenizer_manager.py > "
        "PreTrainedTokenizerFast._encode_plus@transformers/tokenization_utils_fast.py",
        "tokenize",
    ),
    "tokenise a batch": (
        "http",
        "main",
        f"{GENERATE} > TokenizerManager._batch_tokenize_and_process@{M}/tokenizer_manager.py",
        "tokenize",
    ),
    "sampling parameters": (
        "http",
        "main",
        f"{GENERATE} > TokenizerManager._create_tokenized_object@{M}/tokenizer_manager.py > "
        "SamplingParams.normalize@sgl_jax/srt/sampling/sampling_params.py",
        "tokenize",
    ),
    "IPC send": (
        "http",
        "main",
        f"{GENERATE} > TokenizerManager._send_one_request@{M}/tokenizer_manager.py > "
        "Socket.send_pyobj@zmq/sugar/socket.py > _AsyncSocket.send@zmq/_future.py > "
        "Socket.send@zmq/sugar/socket.py",
        "ipc",
    ),
    "IPC unpack": (
        "http",
        "main",
        f"{HANDLE_LOOP} > Socket.recv_pyobj@zmq/sugar/socket.py > _AsyncSocket._deserialize@zmq/_future.py",
        "ipc",
    ),
    "await the answer": (
        "http",
        "main",
        f"{GENERATE} > TokenizerManager._wait_one_response@{M}/tokenizer_manager.py",
        "await_request",
    ),
    "idle event loop": ("http", "main", ASGI, "await_request"),
    "idle selector": (
        "http",
        "main",
        f"{ASGI} > BaseEventLoop._run_once@asyncio/base_events.py > EpollSelector.select@selectors.py",
        "await_request",
    ),
    "idle main_loop": ("http", "main", f"{ASGI} > Server.main_loop@uvicorn/server.py", "await_request"),
    "logprob restyle": (
        "http",
        "main",
        f"{HANDLE_LOOP} > TypeBasedDispatcher.__call__@sgl_jax/utils.py > "
        f"TokenizerManager._handle_batch_output@{M}/tokenizer_manager.py > "
        f"TokenizerManager.convert_logprob_style@{M}/tokenizer_manager.py > "
        f"TokenizerManager.detokenize_logprob_tokens@{M}/tokenizer_manager.py",
        "logprobs",
    ),
    "logprob restyle (main)": (
        "http",
        "main",
        f"{HANDLE_LOOP} > TokenizerManager._notify_state_event@{M}/tokenizer_manager.py",
        "logprobs",
    ),
    "softmax": (
        "http",
        "main",
        f"{HANDLER} > softmax@jax/_src/nn/functions.py > _softmax_deprecated@jax/_src/nn/functions.py > "
        "sum@jax/_src/numpy/reductions.py",
        "softmax",
    ),
    "softmax result": (
        "http",
        "main",
        f"{HANDLER} > ArrayImpl.tolist@jax/_src/array.py > ArrayImpl._value@jax/_src/array.py",
        "softmax",
    ),
    "softmax compiles": (
        "http",
        "main",
        f"{HANDLER} > softmax@jax/_src/nn/functions.py > {CACHE_MISS} > "
        "_infer_params_internal@jax/_src/pjit.py > "
        "trace_to_jaxpr_dynamic@jax/_src/interpreters/partial_eval.py",
        "trace_compile",
    ),
    "response": (
        "http",
        "main",
        f"{ROUTE} > serialize_response@fastapi/routing.py > jsonable_encoder@fastapi/encoders.py",
        "response",
    ),
    "response write": (
        "http",
        "main",
        f"{ROUTE} > Response.__call__@starlette/responses.py > "
        "RequestResponseCycle.send@uvicorn/protocols/http/h11_impl.py",
        "response",
    ),
    "access log": (
        "http",
        "main",
        f"{ROUTE} > Response.__call__@starlette/responses.py > "
        f"RequestResponseCycle.send@uvicorn/protocols/http/h11_impl.py > {LOG}",
        "logging",
    ),
    "thread pool without work": (
        "http",
        "main",
        "Thread.run@threading.py > _worker@concurrent/futures/thread.py",
        "idle_wait",
    ),
    # ---- scheduler: taking requests in
    "receive": ("scheduler", "main", f"{RECV_PYOBJ} > Socket._deserialize@zmq/sugar/socket.py", "receive"),
    "admit": (
        "scheduler",
        "main",
        f"{INPUT} > Scheduler.handle_generate_request@{M}/scheduler.py > Req.__init__@{M}/schedule_batch.py",
        "receive",
    ),
    # ---- scheduler: forming the batch
    "priority": (
        "scheduler",
        "main",
        f"{PREFILL} > SchedulePolicy.calc_priority@{M}/schedule_policy.py",
        "batch",
    ),
    "add to batch": (
        "scheduler",
        "main",
        f"{PREFILL} > PrefillAdder.add_one_req@{M}/schedule_policy.py",
        "batch",
    ),
    "prefix match": (
        "scheduler",
        "main",
        f"{PREFILL} > Req.init_next_round_input@{M}/schedule_batch.py > "
        "RadixCache.match_prefix@sgl_jax/srt/mem_cache/radix_cache.py",
        "batch",
    ),
    "extend": (
        "scheduler",
        "main",
        f"{PREFILL} > ScheduleBatch.prepare_for_extend@{M}/schedule_batch.py > "
        f"ScheduleBatch.alloc_token_slots@{M}/schedule_batch.py",
        "batch",
    ),
    "allocation (main)": (
        "scheduler",
        "main",
        f"{PREFILL} > ScheduleBatch.prepare_for_extend@{M}/schedule_batch.py > "
        "alloc_for_extend@sgl_jax/srt/mem_cache/common.py",
        "batch",
    ),
    "new batch": ("scheduler", "main", f"{PREFILL} > ScheduleBatch.init_new@{M}/schedule_batch.py", "batch"),
    "prefill log": (
        "scheduler",
        "main",
        f"{PREFILL} > SchedulerMetricsMixin.log_prefill_stats@{M}/scheduler_metrics_mixin.py",
        "logging",
    ),
    # ---- scheduler: host preparation
    "worker batch": (
        "scheduler",
        "main",
        f"{RUN_BATCH} > ScheduleBatch.get_model_worker_batch@{M}/schedule_batch.py",
        "host_prep",
    ),
    "worker batch (main)": (
        "scheduler",
        "main",
        f"{RUN_BATCH} > ScheduleBatch.get_model_worker_batch@{M}/schedule_batch.py > "
        f"ScheduleBatch._compute_global_padding_sizes@{M}/schedule_batch.py",
        "host_prep",
    ),
    "merge (main)": (
        "scheduler",
        "main",
        f"{RUN_BATCH} > ScheduleBatch._merge_input_ids@{M}/schedule_batch.py",
        "host_prep",
    ),
    "sampling metadata": (
        "scheduler",
        "main",
        f"{RUN_BATCH} > ModelWorkerClient.forward_batch_generation@{M}/tp_worker_overlap_thread.py > "
        "SamplingMetadata.from_model_worker_batch@sgl_jax/srt/sampling/sampling_batch_info.py > "
        f"{DEVICE_PUT}",
        "host_prep",
    ),
    "forward batch": (
        "scheduler",
        "main",
        f"{RUN_BATCH} > ForwardBatch.init_new@sgl_jax/srt/model_executor/forward_batch_info.py > "
        f"{DEVICE_PUT}",
        "host_prep",
    ),
    "attention metadata": (
        "scheduler",
        "forward",
        f"{WORKER} > FlashAttention.get_forward_metadata@sgl_jax/srt/layers/flashattention_backend.py",
        "host_prep",
    ),
    "transfer": (
        "scheduler",
        "forward",
        f"{WORKER} > device_put@jax/_src/api.py > _batched_device_put_impl@jax/_src/dispatch.py",
        "transfer",
    ),
    "transfer (main)": (
        "scheduler",
        "forward",
        f"{WORKER} > ArrayImpl.copy_to_host_async@jax/_src/array.py",
        "transfer",
    ),
    # ---- dispatch
    "launch the model": ("scheduler", "forward", RUN_MODEL, "dispatch"),
    "slow dispatch": ("scheduler", "forward", f"{RUN_MODEL} > {CACHE_MISS}", "dispatch"),
    "sampler": ("scheduler", "forward", f"{WORKER} > ModelRunner.sample@{RUNNER}", "dispatch"),
    "shard the arguments": (
        "scheduler",
        "forward",
        f"{RUN_MODEL} > shard_args@jax/_src/interpreters/pxla.py",
        "dispatch",
    ),
    "future tokens": (
        "scheduler",
        "forward",
        f"{FORWARD_LOOP} > resolve_future_token_ids@sgl_jax/srt/managers/utils.py",
        "dispatch",
    ),
    "forward loop itself": ("scheduler", "forward", FORWARD_LOOP, "dispatch"),
    "AOT dispatcher (main)": (
        "scheduler",
        "forward",
        f"{RUN_MODEL} > AotDispatcher.__call__@sgl_jax/srt/model_executor/aot_dispatch.py",
        "dispatch",
    ),
    "no overlap: launched by the main thread": (
        "scheduler",
        "main",
        f"{RUN_BATCH} > ModelWorker.forward_batch_generation@{M}/tp_worker.py > ModelRunner.forward@{RUNNER}",
        "dispatch",
    ),
    # ---- tracing and compiling
    "model file while tracing": (
        "scheduler",
        "forward",
        f"{RUN_MODEL} > {CACHE_MISS} > ModelRunner.initialize_jit.<locals>.jitted_run_model@{RUNNER} > "
        "Qwen3Model.__call__@sgl_jax/srt/models/qwen3.py",
        "trace_compile",
    ),
    "layer file while tracing": (
        "scheduler",
        "forward",
        f"{RUN_MODEL} > jitted_run_model@{RUNNER} > RMSNorm.__call__@sgl_jax/srt/layers/layernorm.py",
        "trace_compile",
    ),
    "sampler while tracing": (
        "scheduler",
        "forward",
        f"{WORKER} > ModelRunner.sample@{RUNNER} > jitted_sampler@{RUNNER} > "
        "Sampler.__call__@sgl_jax/srt/layers/sampler.py",
        "trace_compile",
    ),
    "lower": ("scheduler", "forward", f"{RUN_MODEL} > _pjit_lower_cached@jax/_src/pjit.py", "trace_compile"),
    "lower to MLIR": (
        "scheduler",
        "forward",
        f"{RUN_MODEL} > lower_jaxpr_to_module@jax/_src/interpreters/mlir.py > "
        "add@jaxlib/mlir/dialects/_stablehlo_ops_gen.py",
        "trace_compile",
    ),
    "compile": (
        "scheduler",
        "forward",
        f"{RUN_MODEL} > MeshComputation.compile@jax/_src/interpreters/pxla.py > "
        "compile_or_get_cached@jax/_src/compiler.py > backend_compile_and_load@jax/_src/compiler.py",
        "trace_compile",
    ),
    "compile cache": (
        "scheduler",
        "forward",
        f"{RUN_MODEL} > compile_or_get_cached@jax/_src/compiler.py > _cache_write@jax/_src/compiler.py > "
        "decompress_executable@jax/_src/compilation_cache.py",
        "trace_compile",
    ),
    "compile in the decode step": (
        "scheduler",
        "main",
        f"{RESULT_DECODE} > {RESOLVE} > backend_compile_and_load@jax/_src/compiler.py",
        "trace_compile",
    ),
    # ---- device wait
    "device wait of 0.0.2 on a CPU": (
        "scheduler",
        "forward",
        f"{MODEL_FORWARD} > ModelRunner._set_kv_cache_after_forward@{RUNNER}",
        "device_wait",
    ),
    "work under _set_kv_cache_after_forward is no wait": (
        "scheduler",
        "forward",
        f"{MODEL_FORWARD} > ModelRunner._set_kv_cache_after_forward@{RUNNER} > "
        "MHATokenToKVPool.replace_kv_buffer@memory_pool.py",
        "dispatch",
    ),
    "device wait (main)": (
        "scheduler",
        "forward",
        f"{WORKER} > ModelWorker._materialize_logprobs_to_host@{M}/tp_worker.py",
        "device_wait",
    ),
    "device wait (main), deeper": (
        "scheduler",
        "forward",
        f"{WORKER} > ModelWorker._materialize_logprobs_to_host@{M}/tp_worker.py > {DEVICE_GET}",
        "device_wait",
    ),
    "device wait in the scheduler": (
        "scheduler",
        "main",
        f"{RESULT_PREFILL} > {RESOLVE} > {DEVICE_GET}",
        "device_wait",
    ),
    "block_until_ready": (
        "scheduler",
        "forward",
        f"{WORKER} > block_until_ready@jax/_src/api.py",
        "device_wait",
    ),
    # ---- waiting
    "transitive wait": ("scheduler", "main", f"{RESULT_PREFILL} > {RESOLVE} > {QUEUE_GET}", "wait_forward"),
    "transitive wait for the launch": (
        "scheduler",
        "main",
        f"{RESULT_PREFILL} > {RESOLVE} > {EVENT_WAIT}",
        "wait_forward",
    ),
    "transitive wait in the decode step": (
        "scheduler",
        "main",
        f"{RESULT_DECODE} > {RESOLVE} > {QUEUE_GET}",
        "wait_forward",
    ),
    "forward thread without work": ("scheduler", "forward", f"{FORWARD_LOOP} > {QUEUE_GET}", "idle_wait"),
    "forward thread in Queue.get itself": (
        "scheduler",
        "forward",
        f"{FORWARD_LOOP} > Queue.get@queue.py",
        "idle_wait",
    ),
    "expert ids thread (main)": (
        "scheduler",
        "expert_ids",
        f"Thread.run@threading.py > _sync_expert_ids_d2h_thread_func@{M}/tp_worker_overlap_thread.py > "
        f"{QUEUE_GET}",
        "idle_wait",
    ),
    "expert ids thread: takes them off the device (main)": (
        "scheduler",
        "expert_ids",
        f"Thread.run@threading.py > ModelWorker._sync_expert_ids_d2h_thread_func@{M}/tp_worker.py > "
        f"ModelWorker._sync_experts_ids_d2h@{M}/tp_worker.py",
        "transfer",
    ),
    "copy of a batch (main)": (
        "scheduler",
        "main",
        f"run_scheduler_process@{M}/scheduler.py > Scheduler.event_loop_overlap@{M}/scheduler.py > "
        f"ScheduleBatch.copy@{M}/schedule_batch.py > ScheduleBatch.__setattr__@{M}/schedule_batch.py",
        "batch",
    ),
    "watchdog": (
        "scheduler",
        "watchdog",
        f"Thread.run@threading.py > Scheduler.watchdog_thread@{M}/scheduler.py",
        "idle_wait",
    ),
    "watchdog barks": (
        "scheduler",
        "watchdog",
        f"Scheduler.watchdog_thread@{M}/scheduler.py > "
        "pyspy_dump_schedulers@sgl_jax/srt/utils/common_utils.py",
        "housekeeping",
    ),
    "tqdm": (
        "scheduler",
        "tqdm_monitor",
        f"Thread._bootstrap@threading.py > TMonitor.run@tqdm/_monitor.py > {EVENT_WAIT}",
        "idle_wait",
    ),
    # ---- results
    "logprobs": (
        "scheduler",
        "main",
        f"{RESULT_PREFILL} > SchedulerOutputProcessorMixin.add_logprob_return_values@{OUT} > "
        "_amax@numpy/_core/_methods.py",
        "logprobs",
    ),
    "resolve": ("scheduler", "main", f"{RESULT_PREFILL} > {RESOLVE}", "logprobs"),
    "output": ("scheduler", "main", RESULT_PREFILL, "output"),
    "finish": (
        "scheduler",
        "main",
        f"{RESULT_PREFILL} > RadixCache.cache_finished_req@sgl_jax/srt/mem_cache/radix_cache.py > "
        "RadixCache._insert_helper@sgl_jax/srt/mem_cache/radix_cache.py",
        "output",
    ),
    "finish (main)": (
        "scheduler",
        "main",
        f"{RESULT_PREFILL} > release_kv_cache@sgl_jax/srt/mem_cache/common.py",
        "output",
    ),
    "stream": (
        "scheduler",
        "main",
        f"{RESULT_PREFILL} > SchedulerOutputProcessorMixin.stream_output_generation@{OUT} > "
        "Socket.send_pyobj@zmq/sugar/socket.py > Socket.send@zmq/sugar/socket.py",
        "output",
    ),
    "decode result": ("scheduler", "main", RESULT_DECODE, "decode_step"),
    "decode batch": (
        "scheduler",
        "main",
        f"{NEXT} > Scheduler.update_running_batch@{M}/scheduler.py > "
        f"ScheduleBatch.prepare_for_decode@{M}/schedule_batch.py",
        "decode_step",
    ),
    # ---- idle poll: the scheduler spins on an empty socket
    "poll": ("scheduler", "main", RECV, "idle_poll"),
    "poll the socket": ("scheduler", "main", RECV_PYOBJ, "idle_poll"),
    "poll, Cython": ("scheduler", "main", f"{RECV_PYOBJ} > <module>@zmq/backend/cython/_zmq.py", "idle_poll"),
    "poll, nothing there": (
        "scheduler",
        "main",
        f"{RECV_PYOBJ} > Again.__init__@zmq/error.py > ZMQError.__init__@zmq/error.py",
        "idle_poll",
    ),
    "poll, importlib": (
        "scheduler",
        "main",
        f"{RECV_PYOBJ} > Again.__init__@zmq/error.py > _handle_fromlist@<frozen importlib._bootstrap>",
        "idle_poll",
    ),
    "poll the loop": ("scheduler", "main", LOOP, "idle_poll"),
    "poll next batch": ("scheduler", "main", NEXT, "idle_poll"),
    "poll, read while it went on": (
        "scheduler",
        "main",
        f"{NEXT} > Socket.recv_pyobj@zmq/sugar/socket.py",
        "idle_poll",
    ),
    "poll next batch, after one": (
        "scheduler",
        "main",
        f"{NEXT} > ForwardMode.is_extend@sgl_jax/srt/model_executor/forward_batch_info.py",
        "idle_poll",
    ),
    "poll prefill, early return": ("scheduler", "main", PREFILL, "idle_poll"),
    "poll inputs": (
        "scheduler",
        "main",
        f"{LOOP} > Scheduler.process_input_requests@{M}/scheduler.py",
        "idle_poll",
    ),
    "poll dp (main)": ("scheduler", "main", MAIN_IDLE, "idle_poll"),
    "poll on_idle (main)": (
        "scheduler",
        "main",
        f"{LOOP} > Scheduler.on_idle@{M}/scheduler.py > Scheduler.check_memory@{M}/scheduler.py > "
        "SWARadixCache.evictable_size@sgl_jax/srt/mem_cache/swa_radix_cache.py",
        "idle_poll",
    ),
    "poll memory check": (
        "scheduler",
        "main",
        f"{LOOP} > Scheduler.check_memory@{M}/scheduler.py > Scheduler._get_token_info@{M}/scheduler.py",
        "idle_poll",
    ),
    "poll generator (main)": (
        "scheduler",
        "main",
        f"{PREFILL} > Scheduler.get_new_batch_prefill.<locals>.<genexpr>@{M}/scheduler.py",
        "idle_poll",
    ),
    # ---- detokenizer
    "detokenizer waits": (
        "detokenizer",
        "main",
        f"{DETOKENIZE} > Socket.recv_pyobj@zmq/sugar/socket.py",
        "idle_wait",
    ),
    "detokenizer unpacks": (
        "detokenizer",
        "main",
        f"{DETOKENIZE} > Socket.recv_pyobj@zmq/sugar/socket.py > Socket._deserialize@zmq/sugar/socket.py",
        "detokenize",
    ),
    "detokenise": (
        "detokenizer",
        "main",
        f"{DETOKENIZE} > DetokenizerManager.handle_batch_token_id_out@{M}/detokenizer_manager.py > "
        "PreTrainedTokenizerBase.batch_decode@transformers/tokenization_utils_base.py",
        "detokenize",
    ),
    "detokenizer sends": (
        "detokenizer",
        "main",
        f"{DETOKENIZE} > Socket.send_pyobj@zmq/sugar/socket.py",
        "detokenize",
    ),
    # ---- anywhere
    "gc": ("scheduler", "main", f"{PREFILL} > _xla_gc_callback@jax/_src/lib/__init__.py", "gc"),
    "gc in the HTTP process": (
        "http",
        "main",
        f"{GENERATE} > _xla_gc_callback@jax/_src/lib/__init__.py",
        "gc",
    ),
    "decode log": (
        "scheduler",
        "main",
        f"{RESULT_DECODE} > SchedulerMetricsMixin.log_decode_stats@{M}/scheduler_metrics_mixin.py > {LOG}",
        "logging",
    ),
    "unknown": (
        "scheduler",
        "main",
        "BaseProcess.run@multiprocessing/process.py > brand_new@branch.py",
        "unclassified",
    ),
    "unknown in the HTTP process": ("http", "main", "brand_new@branch.py", "unclassified"),
    "unknown in the detokenizer": ("detokenizer", "main", "brand_new@branch.py", "unclassified"),
    "no Python frame": ("scheduler", "main", "", "unclassified"),
}


def bare(stack: str) -> str:
    """Names as py-spy <= 0.4.2 prints them."""
    parts = (part.partition("@") for part in stack.split(" > "))
    return " > ".join(name.rpartition(".")[2] + at + file for name, at, file in parts)


def full(stack: str) -> str:
    parts = (part.partition("@") for part in stack.split(" > "))
    return " > ".join(
        f"{name}{at}/venv/lib/python3.12/site-packages/{file}"
        if file and "<" not in file
        else name + at + file
        for name, at, file in parts
    )


def shortened(stack: str) -> str:
    """sgl_jax's files by their name alone, as ``raw`` prints those whose folder has no __init__.py."""
    parts = (part.partition("@") for part in stack.split(" > "))
    return " > ".join(
        name + at + (file.rpartition("/")[2] if file.startswith("sgl_jax/") else file)
        for name, at, file in parts
    )


@pytest.mark.parametrize("names", [str, bare], ids=["qualified", "bare"])
@pytest.mark.parametrize("paths", [full, shortened], ids=["full", "shortened"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_component(case, paths, names):
    process, thread, stack, expected = case
    assert component_of(process, thread, names(paths(stack))) == expected


def test_the_cases_cover_every_component_that_sglang_jax_can_be_in():
    assert {expected for *_, expected in CASES.values()} == set(CATALOG.stack_names)


# Current main's event loop calls these on every turn of its spin, with or without requests.
MAIN_SPIN = {
    "assign_dp_ranks": f"{MAIN_IDLE} > assign_dp_ranks@{M}/dp_rank_assignment.py",
    "its result": f"{MAIN_IDLE} > assign_dp_ranks@{M}/dp_rank_assignment.py > "
    "__create_fn__.<locals>.__init__@<string>",
    "chunked requests": f"{NEXT} > Scheduler._prepare_chunked_reqs_to_exclude@{M}/scheduler.py",
    "their owners": f"{NEXT} > Scheduler._prepare_chunked_reqs_to_exclude@{M}/scheduler.py > "
    f"Scheduler._sync_chunked_req_owners@{M}/scheduler.py",
    "chunked aborts": f"{NEXT} > Scheduler._process_pending_chunked_aborts@{M}/scheduler.py",
    "batch_is_full": f"{PREFILL} > ScheduleBatch.batch_is_full@{M}/schedule_batch.py > "
    f"ScheduleBatch.batch_is_full.<locals>.<genexpr>@{M}/schedule_batch.py",
}


@pytest.mark.parametrize("stack", MAIN_SPIN.values(), ids=MAIN_SPIN)
def test_idle_spin_of_current_main_is_idle_poll(stack):
    assert component_of("scheduler", "main", stack) == "idle_poll"


def test_admission_of_a_request_on_main_is_receive():
    """Broken: select_dp_for_request counts as work even when it has no request to look at."""
    stack = (
        f"{MAIN_IDLE} > assign_dp_ranks@{M}/dp_rank_assignment.py > "
        f"Scheduler._estimate_req_tokens@{M}/scheduler.py"
    )
    assert component_of("scheduler", "main", stack) == "receive"


def test_a_folder_named_like_a_library_changes_nothing():
    """Broken: a venv below /home/me/jax/ turns every frame into softmax."""
    stack = full(CASES["parse h11"][2]).replace("/venv/", "/home/me/jax/venv/")
    assert component_of("http", "main", stack) == "http"


# ---- roles


def roles(*threads):
    return [role for role, _ in classified(*threads)]


def test_roles_by_command_line_and_thread_name():
    assert roles(
        Thread(1, 1, LAUNCHER, "MainThread", ("",)),
        Thread(2, 2, HTTP, "MainThread", ("",)),
        Thread(3, 3, SCHEDULER, "MainThread", ("",)),
        Thread(3, 4, SCHEDULER, "Thread-1 (forward_thread_func)", ("",)),
        Thread(3, 5, SCHEDULER, "Thread-2 (watchdog_thread)", ("",)),
        Thread(3, 6, SCHEDULER, "tqdm_monitor", ("",)),
        Thread(4, 7, DETOKENIZER, "MainThread", ("",)),
        Thread(5, 8, RESOURCE_TRACKER, "MainThread", ("",)),
    ) == [
        "clock / main",
        "http / main",
        "scheduler / main",
        "scheduler / forward",
        "scheduler / watchdog",
        "scheduler / tqdm_monitor",
        "detokenizer / main",
        "resource_tracker / main",
    ]


def test_roles_by_frames_where_the_title_was_not_set_yet():
    """Broken: a process whose title was not set when py-spy attached has no role."""
    spawned = "/venv/bin/python -c from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=5)"
    assert roles(
        Thread(2, 2, "python serve.py", "MainThread", (ASGI,)),
        Thread(3, 3, spawned, "MainThread", (RECV,)),
        Thread(3, 4, spawned, "", (f"{FORWARD_LOOP} > {QUEUE_GET}",)),
        Thread(4, 5, spawned, "MainThread", (DETOKENIZE,)),
    ) == ["http / main", "scheduler / main", "scheduler / forward", "detokenizer / main"]


def test_thread_number_is_no_part_of_a_role():
    """Broken: Thread-7 of one run and Thread-12 of another are not compared."""
    assert roles(
        Thread(2, 2, HTTP, "Thread-7 (work)", ("",)), Thread(3, 3, HTTP, "Thread-12 (work)", ("",))
    ) == ["http / work", "http / work"]
    assert roles(Thread(2, 2, HTTP, "", ("",))) == ["http / unnamed"]
    assert roles(Thread(2, 2, "bash", "MainThread", ("",))) == ["other / main"]


# --enable-single-process of 0.0.2: scheduler and detokenizer are threads of the HTTP process, which
# rename themselves; py-spy may have cached the names they started with.
SINGLE_LOOP = (
    f"Thread.run@threading.py > scheduler_loop_after_create@{M}/scheduler.py > "
    f"Scheduler.event_loop_overlap@{M}/scheduler.py"
)
SINGLE_DETOKENIZER = (
    f"Thread.run@threading.py > run_detokenizer_thread@{M}/detokenizer_manager.py > "
    f"DetokenizerManager.event_loop@{M}/detokenizer_manager.py > Socket.recv_pyobj@zmq/sugar/socket.py"
)


def single_process(scheduler_name="sglang::scheduler", detokenizer_name="sglang-jax::detokenizer"):
    return classified(
        Thread(2, 2, HTTP, "MainThread", (ASGI,)),
        Thread(2, 3, HTTP, scheduler_name, (f"{SINGLE_LOOP} > Scheduler.recv_requests@{M}/scheduler.py",)),
        Thread(
            2,
            4,
            HTTP,
            "Thread-1 (forward_thread_func)",
            (
                f"{FORWARD_LOOP} > {QUEUE_GET}",
                f"{MODEL_FORWARD} > ModelRunner._set_kv_cache_after_forward@{RUNNER}",
            ),
        ),
        Thread(2, 5, HTTP, detokenizer_name, (SINGLE_DETOKENIZER,)),
    )


def test_single_process_http_and_scheduler():
    http, scheduler, *_ = single_process()
    assert http == ("http / main", ["await_request"])
    assert scheduler == ("scheduler / main", ["idle_poll"])


def test_single_process_scheduler_by_its_first_thread_name():
    assert single_process(scheduler_name="Thread-2 (scheduler_loop_after_create)")[1][0] == "scheduler / main"


def test_single_process_forward_thread():
    assert single_process()[2] == ("scheduler / forward", ["idle_wait", "device_wait"])


def test_single_process_detokenizer():
    assert single_process()[3] == ("detokenizer / main", ["idle_wait"])


def test_launcher_and_resource_tracker_are_excluded():
    """Broken: the clock of the launcher appears as a thread in every figure."""
    table = stack_table(
        Thread(1, 1, LAUNCHER, "MainThread", ("run@launcher.py > clock@scoreprof-clock:7",)),
        Thread(5, 5, RESOURCE_TRACKER, "MainThread", ("main@multiprocessing/resource_tracker.py",)),
        Thread(6, 6, "?", "MainThread", ("main@multiprocessing/resource_tracker.py",)),
        Thread(3, 3, SCHEDULER, "MainThread", (RECV,)),
    )
    activities = classify(table, load_rules())
    assert [a.role.excluded for a in activities] == [True, True, True, False]
    assert unclassified_stacks(activities, CATALOG) == {}


def test_process_role_by_command_line_alone():
    assert process_role(load_rules(), SCHEDULER) == Role("scheduler", "")
    assert process_role(load_rules(), LAUNCHER) == Role("clock", "", excluded=True)
    assert process_role(load_rules(), "sh -c true") == Role("other", "")


# ---- whole captures

IDLE_SPIN = {  # shares of main's idle spin
    RECV_PYOBJ: 30,
    CASES["poll, nothing there"][2]: 29,
    NEXT: 12,
    PREFILL: 10,
    MAIN_IDLE: 7,
    CASES["poll on_idle (main)"][2]: 6,
    LOOP: 5,
    f"{LOOP} > brand_new@branch.py": 1,
}


def test_idle_capture_is_idle_in_every_thread():
    spin = [stack for stack, times in IDLE_SPIN.items() for _ in range(times)]
    n = len(spin)
    threads = classified(
        place("http", "main", [ASGI] * n),
        place("scheduler", "main", spin, pid=3, tid=3),
        place("scheduler", "forward", [f"{FORWARD_LOOP} > {QUEUE_GET}"] * n, pid=3, tid=4),
        place("scheduler", "watchdog", [CASES["watchdog"][2]] * n, pid=3, tid=5),
        place("scheduler", "tqdm_monitor", [CASES["tqdm"][2]] * n, pid=3, tid=6),
        place("detokenizer", "main", [CASES["detokenizer waits"][2]] * n, pid=4, tid=7),
    )
    assert len(threads) == 6
    for role, names in threads:
        idle = sum(not CATALOG[name].work for name in names)
        assert idle >= 0.95 * n, role


def test_every_sample_gets_one_component_and_decode_steps_are_marked():
    stacks = [RECV, RESULT_DECODE, RESULT_PREFILL, CASES["decode batch"][2], RECV]
    (activity,) = classify(stack_table(place("scheduler", "main", stacks)), load_rules())
    assert len(activity.components) == len(stacks)
    assert activity.decode.tolist() == [False, True, False, True, False]


def test_unclassified_stacks_are_counted_most_first():
    stacks = ["new@a.py", "new@b.py", "new@b.py", RECV]
    table = stack_table(place("scheduler", "main", stacks))
    counts = unclassified_stacks(classify(table, load_rules()), CATALOG)
    assert [(str(role), table.stack(i)[-1].file, n) for (role, i), n in counts.items()] == [
        ("scheduler / main", "b.py", 2),
        ("scheduler / main", "a.py", 1),
    ]


def test_one_stack_in_two_roles_is_classified_for_each():
    """Broken: a cache shared by threads gives a stack the component that it has in another thread."""
    stack = "send_pyobj@zmq/sugar/socket.py"
    threads = classified(place("http", "main", [stack]), place("detokenizer", "main", [stack], pid=4, tid=4))
    assert [names for _, names in threads] == [["ipc"], ["detokenize"]]
