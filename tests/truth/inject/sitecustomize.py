"""Put a known cost, or a known error, into one function of the server, in each process that imports it.

Python imports this module at start-up if its folder is on PYTHONPATH. SCOREPROF_INJECT says what to add:

    MODULE:CLASS.METHOD:spin|sleep:MILLISECONDS[:extend|:every_second|:per_character]
    MODULE:CLASS.METHOD:skew:AMOUNT          added to each score that the coroutine returns
    MODULE:CLASS.METHOD:fail:N               each N-th call of the coroutine raises an error

``extend``: only in calls whose batch is a prefill; ``every_second``: only in every second call;
``per_character``: MILLISECONDS for each character of the text that the call is given. Several are
separated by commas. The wrapper has the function's names, so that a stack sampled during the cost looks as if
the function itself had it. On a busy machine a cost takes longer than MILLISECONDS: each call adds a line with
its start (epoch) and its duration, both in ns, to the file SCOREPROF_INJECT_CALLS, if that is set.
"""

import asyncio
import functools
import importlib.abc
import importlib.util
import itertools
import os
import sys
import time

SPEC = os.environ.get("SCOREPROF_INJECT", "")
CALLS = os.environ.get("SCOREPROF_INJECT_CALLS", "")


def recorded(cost):
    """The cost, with a line in the file of calls for each."""
    file = os.open(CALLS, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def recorded_cost(seconds):
        epoch_ns, start_ns = time.time_ns(), time.perf_counter_ns()
        cost(seconds)
        os.write(file, b"%d %d\n" % (epoch_ns, time.perf_counter_ns() - start_ns))

    return recorded_cost


def injected_spin(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def injected_sleep(seconds):
    time.sleep(seconds)


def skewed(original, amount):
    @functools.wraps(original)
    async def wrapper(*args, **kwargs):
        scores = await original(*args, **kwargs)
        return [[score + amount for score in labels] for labels in scores]

    return wrapper


def failing(original, every):
    calls = itertools.count(1)

    @functools.wraps(original)
    async def wrapper(*args, **kwargs):
        if next(calls) % every == 0:
            raise RuntimeError("injected failure")
        return await original(*args, **kwargs)

    return wrapper


def wrapped(original, cost, seconds, condition):
    calls = itertools.count()

    def wanted(args):
        if "every_second" in condition:
            return next(calls) % 2 == 1
        return "extend" not in condition or args[1].forward_mode.is_extend()

    def times(args):
        return len(args[1].text) if "per_character" in condition else 1

    if asyncio.iscoroutinefunction(original):

        async def wrapper(*args, **kwargs):
            if wanted(args):
                cost(seconds * times(args))
            return await original(*args, **kwargs)

    else:

        def wrapper(*args, **kwargs):
            if wanted(args):
                cost(seconds * times(args))
            return original(*args, **kwargs)

    code = original.__code__
    wrapper.__code__ = wrapper.__code__.replace(
        co_name=code.co_name, co_qualname=code.co_qualname, co_filename=code.co_filename
    )
    return functools.update_wrapper(wrapper, original)


class PatchOnImport(importlib.abc.MetaPathFinder):
    def __init__(self, module, path, patch):
        self.module = module
        self.path = path
        self.patch = patch

    def find_spec(self, fullname, path, target=None):
        if fullname != self.module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            *outer, name = self.path.split(".")
            owner = functools.reduce(getattr, outer, module)
            setattr(owner, name, self.patch(getattr(owner, name)))

        spec.loader.exec_module = exec_module
        return spec


for spec in filter(None, SPEC.split(",")):
    module, path, kind, amount, *condition = spec.split(":")
    if kind == "skew":
        patch = functools.partial(skewed, amount=float(amount))
    elif kind == "fail":
        patch = functools.partial(failing, every=int(amount))
    else:
        cost = {"spin": injected_spin, "sleep": injected_sleep}[kind]
        cost = recorded(cost) if CALLS else cost
        patch = functools.partial(wrapped, cost=cost, seconds=float(amount) / 1000, condition=condition)
    sys.meta_path.insert(0, PatchOnImport(module, path, patch))
