"""Puts a known cost into one function of the server, in whichever of its processes imports it.

Python imports this module by itself when its folder is on PYTHONPATH. SCOREPROF_INJECT says what:

    MODULE:CLASS.METHOD:spin|sleep:MILLISECONDS[:extend]

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
    def __init__(self, module, path, cost, seconds, only_extend):
        self.module = module
        self.path = path
        self.patch = (cost, seconds, only_extend)

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
            setattr(owner, name, wrapped(getattr(owner, name), *self.patch))

        spec.loader.exec_module = exec_module
        return spec


if SPEC:
    module, path, kind, milliseconds, *condition = SPEC.split(":")
    cost = {"spin": injected_spin, "sleep": injected_sleep}[kind]
    sys.meta_path.insert(
        0, PatchOnImport(module, path, cost, float(milliseconds) / 1000, "extend" in condition)
    )
