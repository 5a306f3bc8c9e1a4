"""render.sh [matrix|compare] [check] [NAME=VALUE ...] [parameter=value ...] | kubectl apply -f -

Without matrix or compare: a single run. With check: a Job without a TPU that only tests the image, the
mounts and the model. Upper case: a setting of settings.env. Lower case: a parameter of the notebook.
PARAMETERS names the file with the other parameters. Precedence, from weak to strong: the notebook's default,
the parameters file, the file of an index (matrix), the command line.
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from k8s.render.deadlines import attempt_s, wait_s
from k8s.render.machines import check_tp_size, node_of, selector_of
from k8s.render.manifests import Manifest, Plan, as_yaml, manifests_of, without_tpu
from k8s.render.models import models_of
from k8s.render.parameters import OLD_NAMES, Notebook, Values, checked, from_words, read_parameters
from k8s.render.settings import KNOWN, NEEDED, Refused, Settings, check_settings, read_settings
from scoreprof_nb.parameters.compare import SIDES, CompareParameters
from scoreprof_nb.parameters.profile import Parameters

K8S = Path(__file__).parents[1]
WRONG = 42
SINGLE, MATRIX, COMPARE = "single", "matrix", "compare"
CHECK = "check"
PARAMETERS = "parameters.yaml"
OLD = frozenset(name for names in OLD_NAMES.values() for name in names)

Words = list[tuple[str, str]]


class Request(NamedTuple):
    """The command line: the variant, whether it is only checked, settings, and parameters."""

    variant: str
    check: bool
    settings: Words
    parameters: Words


def parse(words: Sequence[str]) -> Request:
    """Raises Refused for a word that is neither a variant nor NAME=VALUE."""
    rest = list(words)
    variant = rest.pop(0) if rest and rest[0] in (MATRIX, COMPARE) else SINGLE
    check = bool(rest) and rest[0] == CHECK
    if check:
        rest.pop(0)
    settings: Words = []
    parameters: Words = []
    for word in rest:
        name, equals, value = word.partition("=")
        if not equals:
            raise Refused(
                f"{word!r} is not NAME=VALUE, nor a variant (matrix or compare, then check) in first place"
            )
        if name.isupper() and name not in KNOWN | OLD:
            raise Refused(f"settings.env has no {name}; there are {', '.join(sorted(KNOWN | OLD))}")
        (settings if name in KNOWN else parameters).append((name, value))
    return Request(variant, check, settings, parameters)


def render(words: Sequence[str]) -> list[Manifest]:
    """The manifests that a command line asks for. Raises Refused."""
    request = parse(words)
    settings = read_settings(K8S / "settings.env", request.settings)
    kind: Notebook = CompareParameters if request.variant == COMPARE else Parameters
    values = _values(request, settings, kind)
    build = {SINGLE: _single, MATRIX: _matrix, COMPARE: _compare}[request.variant]
    base = yaml.safe_load((K8S / "score-profiling-job.yaml").read_text(encoding="utf-8"))
    plan = build(request, settings, values)
    manifests = manifests_of(base, plan)
    return without_tpu(manifests, plan) if request.check else manifests


def _values(request: Request, settings: Settings, kind: Notebook) -> Values:
    """The parameters file of the variant, or the one that PARAMETERS names, with the command line's."""
    usual = K8S / COMPARE / PARAMETERS if request.variant == COMPARE else K8S / PARAMETERS
    file = Path(settings["PARAMETERS"]) if settings["PARAMETERS"] else usual
    return {**read_parameters(file), **from_words(kind, request.parameters)}


def _plan(
    request: Request,
    settings: Settings,
    notebook: str,
    folders: dict[str, str],
    files: dict[str, Values],
    runs: Sequence[Parameters | CompareParameters],
    flags: Sequence[tuple[str, str]],
) -> Plan:
    """``runs`` has one entry per index, ``flags`` the server flags and where they come from."""
    models = models_of(settings, runs)
    check_settings(settings, (*NEEDED, *models.needed))
    keys = {run.api_key_env for run in runs if run.api_key_env}
    if keys and not settings["SECRET"]:
        raise Refused(f"api_key_env={min(keys)} needs SECRET, the Secret that holds it")
    node = node_of(settings)
    for where, text in flags:
        check_tp_size(node, text, where)
    node_selector, tolerations = selector_of(settings, node)
    matrix = request.variant == MATRIX
    parallel = _parallel(request, settings, runs)
    indexes = len(runs) if matrix else None
    if parallel and isinstance(runs[0], CompareParameters):
        indexes = runs[0].pairs
    attempts = [attempt_s(_of_index(run) if parallel else run) for run in runs]
    rounds = math.ceil((indexes or 1) / (parallel or 1))
    compared = [run for run in runs if isinstance(run, CompareParameters)]
    single = [run for run in runs if isinstance(run, Parameters)]
    pythons = [getattr(run, f"{side}_server_python") for run in compared for side in SIDES]
    pythons += [run.server_python for run in single]
    plain = {name: yaml.safe_dump(values, sort_keys=False) for name, values in files.items()}
    index = "$(JOB_COMPLETION_INDEX)"
    if parallel and not matrix:
        folders = {**folders, "pair_index": index}
    return Plan(
        settings=settings,
        node=node,
        node_selector=node_selector,
        tolerations=tolerations,
        notebook=notebook,
        folder_parameters=folders,
        files=plain,
        read_files=(PARAMETERS, *([f"{index}.yaml"] if matrix else [])),
        attempt_s=max(attempts),
        deadline_s=wait_s(settings) + rounds * max(attempts),
        models=models,
        indexes=indexes,
        parallel=parallel or 1,
        server_pythons=tuple(sorted({python or "/opt/server/bin/python" for python in pythons})),
    )


def _of_index(run: Parameters | CompareParameters) -> Parameters | CompareParameters:
    """The part of a run that one Pod of several captures."""
    return run.with_values(pair_index=0) if isinstance(run, CompareParameters) else run


# What only the comparison of all pairs uses.
_OF_LAST_STEP = ("fail_on", "noise_from", "delta", "allow_unlike", "history")


def _parallel(
    request: Request, settings: Settings, runs: Sequence[Parameters | CompareParameters]
) -> int | None:
    """How many nodes work at the same time; None if it is not set. Raises Refused."""
    text = settings["PARALLEL"]
    if not text:
        return None
    if request.variant == SINGLE:
        raise Refused(f"PARALLEL={text}: a single run takes one node; only matrix and compare take several")
    run = runs[0]
    most = run.pairs if isinstance(run, CompareParameters) else len(runs)
    if not text.isdecimal() or not 1 <= int(text) <= most:
        what = "pairs" if isinstance(run, CompareParameters) else "index files"
        raise Refused(f"PARALLEL={text!r} must be from 1 to {most}, the number of {what}")
    if isinstance(run, CompareParameters):
        if any(name == "pairs_at_most" for name, _ in request.parameters):
            raise Refused(
                "pairs_at_most has no effect with PARALLEL, where no Pod sees the verdict: set pairs"
            )
        if not run.captures:
            raise Refused(f"PARALLEL={text}: runs that exist are compared at once")
        for name in _OF_LAST_STEP:
            if getattr(run, name) != run.default_of(name):
                raise Refused(
                    f"{name}={getattr(run, name)!r} has no effect with PARALLEL, where no Pod sees all "
                    "pairs: give it to the last step, make compare"
                )
    return int(text)


def _single(request: Request, settings: Settings, values: Values) -> Plan:
    run = checked(Parameters, values)
    assert isinstance(run, Parameters)
    folders = {"run_dir": "/scratch/run", "results_dir": "/results/runs/$(RUN_NAME)"}
    flags = [("server_flags", run.server_flags)]
    return _plan(
        request, settings, "notebooks/profile_score_api.ipynb", folders, {PARAMETERS: values}, [run], flags
    )


def _matrix(request: Request, settings: Settings, values: Values) -> Plan:
    """One index per file N.yaml, from 0; what a file says is its own and cannot be given for all."""
    count = len(list((K8S / MATRIX).glob("*.yaml")))
    files = {f"{index}.yaml": read_parameters(K8S / MATRIX / f"{index}.yaml") for index in range(count)}
    for name, text in request.parameters:
        for parameter in OLD_NAMES[Parameters].get(name, (name,)):
            own = [file for file, of_index in files.items() if parameter in of_index]
            if own:
                raise Refused(f"{name}={text}: k8s/matrix/{own[0]} has its own {parameter}; change it there")
    runs = []
    for file, of_index in files.items():
        run = checked(Parameters, {**values, **of_index}, f"k8s/matrix/{file}: ")
        assert isinstance(run, Parameters)
        runs.append(run)
    folders = {
        "run_dir": "/scratch/run",
        "results_dir": "/results/runs/$(RUN_NAME)/$(JOB_COMPLETION_INDEX)",
    }
    flags = [
        (f"k8s/matrix/{file}: server_flags", run.server_flags) for file, run in zip(files, runs, strict=True)
    ]
    return _plan(
        request,
        settings,
        "notebooks/profile_score_api.ipynb",
        folders,
        {PARAMETERS: values, **files},
        runs,
        flags,
    )


def _compare(request: Request, settings: Settings, values: Values) -> Plan:
    run = checked(CompareParameters, values)
    assert isinstance(run, CompareParameters)
    folders = {
        "compare_dir": "/scratch/comparison",
        "results_dir": "/results/comparisons/$(RUN_NAME)",
    }
    names = [f"{side}_server_flags" for side in SIDES] if run.captures else []
    flags = [(name, getattr(run, name)) for name in names]
    return _plan(
        request, settings, "notebooks/compare_runs.ipynb", folders, {PARAMETERS: values}, [run], flags
    )


def main(words: Sequence[str]) -> int:
    """Print the manifests; gives the exit code, 42 if something has to be changed."""
    try:
        text = as_yaml(render(words))
    except Refused as refused:
        print(f"render.sh: {refused}", file=sys.stderr)
        return WRONG
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
