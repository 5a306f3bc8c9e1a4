"""Puts a known cost, or a known mistake, into one function of the server, in whichever of its processes
imports it.

Python imports this module by itself when its folder is on PYTHONPATH. SCOREPROF_INJECT says what:

    MODULE:CLASS.METHOD:spin|sleep:MILLISECONDS[:extend]
    MODULE:CLASS.METHOD:skew:AMOUNT          added to each score that the coroutine gives

``extend``: only in calls whose batch is a prefill. The wrapper takes over the names of the function,
so that a stack sampled within the cost looks as if the function itself had it.
"""

import asyncio
import functools
import importlib.abc
import importlib.util
import os
import sys
import time

SPEC = os.environ.get("SCOREPROF_INJECT", "")


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


def wrapped(original, cost, seconds, only_extend):
    def wanted(args):
        return not only_extend or args[1].forward_mode.is_extend()

    if asyncio.iscoroutinefunction(original):

        async def wrapper(*args, **kwargs):
            if wanted(args):
                cost(seconds)
            return await original(*args, **kwargs)

    else:

        def wrapper(*args, **kwargs):
            if wanted(args):
                cost(seconds)
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


if SPEC:
    module, path, kind, amount, *condition = SPEC.split(":")
    if kind == "skew":
        patch = functools.partial(skewed, amount=float(amount))
    else:
        cost = {"spin": injected_spin, "sleep": injected_sleep}[kind]
        patch = functools.partial(
            wrapped, cost=cost, seconds=float(amount) / 1000, only_extend="extend" in condition
        )
    sys.meta_path.insert(0, PatchOnImport(module, path, patch))
