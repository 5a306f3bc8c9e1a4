"""Delays in a server's processes: only when they are on, only where they are wanted, and counted."""

import json
import os
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import pytest

from scoreprof_nb.capture import delay_switch
from scoreprof_nb.capture.delay_switch import (
    DELAYS,
    Counters,
    DelaySwitch,
    layout,
    measured_off_ns,
    switch_of,
)
from scoreprof_nb.capture.pyspy import PTRACER
from scoreprof_nb.engines.what_if import Target
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.parameters.schema import ParameterError

MODULE = """
import asyncio

def plain(x): return x + 1

class Service:
    def method(self, x, *, y=0): return x + y
    @classmethod
    def of(cls, x): return cls, x
    @staticmethod
    def free(x): return x
    async def later(self, x): return x * 2
"""
WRAPPED = ("plain", "Service.method", "Service.of", "Service.free", "Service.later")
FUNCTIONS = (*(f"served:{name}" for name in (*WRAPPED, "Service.gone")), "never_imported:f")
TARGETS = tuple(Target("c", function) for function in FUNCTIONS)
USES = """
import asyncio, json, sys, served
s = served.Service()
values = [served.plain(1), s.method(2, y=3), served.Service.of(4)[1], s.free(5), asyncio.run(s.later(6))]
print(json.dumps(values))
"""
MS = 1_000_000


@pytest.fixture
def server(tmp_path):
    """Start a program that can import the module, with the environment of a switch; ends it."""
    (tmp_path / "served.py").write_text(MODULE)
    started = []

    def start(switch, program, **changes):
        environment = switch.environment({**os.environ, "PYTHONPATH": str(tmp_path), **changes})
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_results_are_those_of_the_functions_and_calls_are_counted(server):
    """Broken: a wrapped server answers something else, or a kind of function is not wrapped."""
    with DelaySwitch(TARGETS, 0.0) as switch:
        output, _ = server(switch, USES).communicate(timeout=30)
        assert json.loads(output) == [2, 5, 4, 5, 12]
        assert switch.counters()[:5] == (Counters(1, 0, 0),) * 5
        assert [switch.left_out(number) for number in range(5)] == [None] * 5


def test_a_function_that_is_not_there_is_said(server):
    """Broken: a function that a branch lacks ends the server, or is measured as harmless."""
    with DelaySwitch(TARGETS, 0.0) as switch:
        server(switch, USES).communicate(timeout=30)
        assert switch.left_out(5) == "this server has no such function"
        assert switch.left_out(6) == "no process of this server imported its module"
        assert switch.counters()[5] == Counters(0, 0, 0)


@pytest.mark.parametrize("sleeps", [False, True], ids=["spin", "sleep"])
def test_only_the_chosen_function_is_delayed_while_its_delay_is_on(server, sleeps):
    """Broken: blocks without a delay have one, or another function has it."""
    program = """
        import sys, time, served
        for line in sys.stdin:
            served.plain(1)
            served.Service().method(1)
            print("done", flush=True)
    """

    def call(process):
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"

    with DelaySwitch(TARGETS, 0.0) as switch:
        process = server(switch, program)
        call(process)
        switch.on(1, 3 * MS, sleeps)
        call(process)
        call(process)
        switch.off()
        call(process)
        plain, method, *_ = switch.counters()
        assert plain == Counters(4, 0, 0)
        assert (method.calls, method.delayed) == (4, 2)
        assert method.delay_ns >= 2 * 3 * MS
        assert method.since(Counters(1, 1, 5)) == Counters(3, 1, method.delay_ns - 5)


def test_processes_that_a_server_spawns_are_counted_too(server):
    """Broken: the scheduler, a spawned process, has no delay; or two processes wait for each other's lock."""
    program = """
        import subprocess, sys, served
        served.plain(1)
        children = [subprocess.Popen([sys.executable, "-c", "import served; served.plain(2)"]) for _ in range(3)]
        for child in children: child.wait(30)
        print(len(children))
    """
    with DelaySwitch(TARGETS, 0.0) as switch:
        output, _ = server(switch, program).communicate(timeout=60)
        assert output == "3\n"
        assert switch.counters()[0] == Counters(4, 0, 0)


def test_stacks_during_a_delay_have_the_functions_names(server):
    """Broken: py-spy's rules do not find the component in which the delay is."""
    program = """
        import served
        code = served.Service.method.__code__
        print(code.co_name, code.co_qualname, code.co_filename.rpartition("/")[2])
    """
    with DelaySwitch(TARGETS, 0.0) as switch:
        output, _ = server(switch, program).communicate(timeout=30)
    assert output == "method Service.method served.py\n"


@pytest.mark.parametrize("first", [(), (PTRACER,)], ids=["alone", "after ptracer"])
def test_the_users_sitecustomize_still_runs(server, tmp_path, first):
    """Broken: what the user's environment sets up at start-up is lost, or two of them run each other for ever."""
    (tmp_path / "sitecustomize.py").write_text("import builtins; builtins.of_user = True\n")
    paths = os.pathsep.join(map(str, (*first, tmp_path)))
    with DelaySwitch(TARGETS, 0.0) as switch:
        process = server(switch, "import served; served.plain(1); print(of_user)", PYTHONPATH=paths)
        output, _ = process.communicate(timeout=30)
        assert output == "True\n"
        assert switch.counters()[0].calls == 1


def test_nothing_is_left(server):
    with DelaySwitch(TARGETS, 0.0) as switch:
        path = Path(switch.environment({})[layout.FILE])
        assert path.exists()
    assert not path.exists()


def test_a_wrapper_costs_less_than_two_microseconds_while_off():
    """Broken: the wrappers slow the server that they are to measure. The best of several rounds is tested."""
    assert measured_off_ns(sys.executable) < 2000


def test_without_what_if_there_is_no_switch(monkeypatch):
    """Broken: a profile without what-if has wrappers, or pays for them."""
    monkeypatch.setattr(delay_switch, "measured_off_ns", lambda python: pytest.fail("measured"))
    assert switch_of(Parameters(), "python") is None


def test_switch_has_the_chosen_functions_and_the_users(tmp_path, monkeypatch):
    monkeypatch.setattr(delay_switch, "measured_off_ns", lambda python: 100.0)
    rules = tmp_path / "rules.toml"
    rules.write_text('[[what_if]]\ncomponent = "batch"\nfunction = "my.scheduler:Scheduler.rerank"\n')
    parameters = Parameters(what_if_ms=5, what_if_components="batch, tokenize", rules_file=str(rules))
    switch = switch_of(parameters, "python")
    assert [target.component for target in switch.targets] == ["tokenize", "batch", "batch"]
    assert switch.targets[-1].function == "my.scheduler:Scheduler.rerank"
    assert switch.off_ns == 100.0


@pytest.mark.parametrize(
    ("parameters", "entry", "words"),
    [
        ({"what_if_components": "device_wait"}, "", ("what_if_components", "device_wait", "tokenize")),
        ({}, '[[what_if]]\ncomponent = "batch"\nfunction = "nowhere"\n', ("rules_file", "what_if")),
        ({}, "what_if = 3\n", ("rules_file", "what_if")),
    ],
)
def test_what_cannot_be_delayed_is_said_before_a_launch(tmp_path, parameters, entry, words):
    """Broken: hours later, the report lacks the component that was asked for."""
    rules = tmp_path / "rules.toml"
    rules.write_text(entry)
    with pytest.raises(ParameterError) as raised:
        switch_of(Parameters(what_if_ms=5, rules_file=str(rules), **parameters), "python")
    for word in words:
        assert word in str(raised.value)


def test_an_attached_server_is_refused():
    """Broken: the delays of a server that the kit did not launch are awaited in vain."""
    with pytest.raises(ParameterError, match=r"what_if_ms=5.*launches"):
        Parameters(what_if_ms=5, server_url="http://127.0.0.1:30000")


def test_folder_of_the_servers_side_is_in_the_package():
    assert (DELAYS / "sitecustomize.py").is_file()
