"""The rendered manifests: valid, and right in what a schema does not cover."""

import os
import re
import shutil
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from itertools import pairwise
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from k8s.render.__main__ import main
from k8s.render.deadlines import WAIT_S, attempt_s, run_s
from k8s.render.machines import CAPACITIES, MACHINES
from scoreprof_nb.capture.pairs import planned
from scoreprof_nb.parameters.compare import SIDES, CompareParameters
from scoreprof_nb.parameters.profile import Parameters
from tests.support.job import FILLED_IN, job_of, parameter_files, render
from tests.support.paths import ROOT

K8S = ROOT / "k8s"
VARIANTS = ("single", "matrix", "compare")
VERSION = "1.33"  # of the schemas; podReplacementPolicy and backoffLimitPerIndex are stable in it
QUANTITY = re.compile(r"[0-9]+(m|Ki|Mi|Gi|Ti)?")
FILLED = {
    "IMAGE": "repository/score-profiler:1.2",
    "NAMESPACE": "perf",
    "SERVICE_ACCOUNT": "profiler",
    "MODELS_BUCKET": "the-models",
    "RESULTS_BUCKET": "the-results",
    "MODEL": "qwen3-8b",
}
GIB = {"Gi": 1, "Ti": 1024}

if shutil.which("kubectl") is None:
    if os.environ.get("CI"):
        raise RuntimeError("CI must have kubectl, which renders k8s/kustomization.yaml")
    pytest.skip("no kubectl, which renders k8s/kustomization.yaml", allow_module_level=True)


def rendered(variant, **settings):
    words = [f"{name}={value}" for name, value in {**FILLED, **settings}.items()]
    return render(*([] if variant == "single" else variant.split()), *words)


def refusal(*words):
    """What render.sh prints when it refuses its arguments."""
    with redirect_stdout(StringIO()) as output, redirect_stderr(StringIO()) as errors:
        assert main(words) == 42
    assert output.getvalue() == ""
    assert len(errors.getvalue().splitlines()) == 1, errors.getvalue()
    return errors.getvalue()


def kustomized(folder, **settings):
    """kubectl kustomize of a copy of k8s/ with the settings in place of its placeholders."""
    shutil.copytree(K8S, folder, ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "settings.env"
    text = file.read_text()
    for name, value in settings.items():
        text = re.sub(rf"^#?{name}=.*", f"{name}={value}", text, flags=re.MULTILINE)
    file.write_text(text)
    return subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)


def parameters_of(manifests):
    """What the notebook of each index reads: its parameter files, the later one decides."""
    files = parameter_files(manifests)
    args = container_of(manifests)["args"]
    names = [path.removeprefix("/parameters/") for flag, path in pairwise(args) if flag == "-f"]
    spec = job_of(manifests)["spec"]
    merged = []
    for index in range(spec.get("completions", 1)):
        values = {}
        for name in names:
            values |= yaml.safe_load(files[name.replace("$(JOB_COMPLETION_INDEX)", str(index))])
        merged.append(values)
    return merged


def container_of(manifests):
    (container,) = job_of(manifests)["spec"]["template"]["spec"]["containers"]
    return container


@pytest.fixture(scope="module", params=VARIANTS)
def manifests(request):
    return rendered(request.param)


@pytest.fixture
def job(manifests):
    return job_of(manifests)


@pytest.fixture
def pod(job):
    return job["spec"]["template"]["spec"]


@pytest.fixture
def container(pod):
    (one,) = pod["containers"]
    return one


def test_valid_against_the_schemas(manifests):
    setup = subprocess.run(
        ["kubectl", "kustomize", str(K8S / "setup")], check=True, capture_output=True, text=True
    ).stdout
    of_setup = list(yaml.safe_load_all(setup))
    assert manifests
    assert of_setup
    for manifest in [*manifests, *of_setup]:
        kubernetes_validate.validate(manifest, VERSION, strict=True)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("capacity", CAPACITIES)
def test_every_machine_and_capacity_is_valid(variant, machine, capacity):
    chips = MACHINES[machine].chips
    settings = {"MACHINE": machine, "CAPACITY": capacity}
    if capacity == "reservation":
        settings["RESERVATION"] = "ours"
    if chips > 1 and variant == "compare":
        settings["SERVER_FLAGS"] = f"--tp-size {chips}"
    if chips > 1 and variant == "single":
        settings["server_flags"] = f"--tp-size={chips}"
    if chips > 1 and variant == "matrix":
        assert f"--tp-size {chips}" in refusal("matrix", *FILLED_IN, f"MACHINE={machine}")
        return
    for manifest in rendered(variant, **settings):
        kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_every_setting_is_filled_in(manifests):
    """Broken: a bucket called REPLACE-ME is noticed only after the wait for a node."""
    text = yaml.safe_dump_all(manifests)
    assert "REPLACE-ME" not in text
    for name, value in FILLED.items():
        assert value in text, name
    assert {manifest["metadata"]["namespace"] for manifest in manifests} == {"perf"}


def test_kustomize_starts_the_same_job_without_our_script(tmp_path):
    """Broken: a machine without Python, with kubectl apply -k k8s, starts another Job."""
    output = kustomized(tmp_path / "k8s", **FILLED, RUN="one").stdout
    manifests = list(yaml.safe_load_all(output))
    expected = rendered("single", RUN="one")
    name = next(one["metadata"]["name"] for one in manifests if one["kind"] == "ConfigMap")
    assert re.fullmatch(r"score-profiling-parameters-[a-z0-9]{10}", name), "each content has its own name"
    job = yaml.safe_load(yaml.safe_dump(job_of(manifests)).replace(name, "score-profiling-one"))
    assert job == job_of(expected)
    assert parameters_of(manifests) == parameters_of(expected)
    for manifest in manifests:
        kubernetes_validate.validate(manifest, VERSION, strict=True)
        assert manifest["metadata"]["namespace"] == "perf"


@pytest.mark.parametrize("name", ["IMAGE", "MODELS_BUCKET", "RESULTS_BUCKET", "MODEL", "RUN"])
def test_kustomize_refuses_a_placeholder(name, tmp_path):
    """Broken: a Job waits for a TPU and then for a bucket called REPLACE-ME."""
    settings = {**FILLED, "RUN": "one"}
    del settings[name]
    outcome = kustomized(tmp_path / "k8s", **settings)
    assert outcome.returncode != 0
    assert f"data.{name}` is missing" in outcome.stderr


@pytest.mark.parametrize(
    ("name", "value", "rest"),
    [
        ("IMAGE", "REPLACE-ME-REPOSITORY/score-profiler:REPLACE-ME-TAG", "-REPOSITORY/score-profiler:"),
        ("IMAGE", "eu.example/score-profiler:REPLACE-ME-TAG", "-TAG"),
        ("MODELS_BUCKET", "REPLACE-ME-MODELS-BUCKET", "-MODELS-BUCKET"),
        ("RESULTS_BUCKET", "REPLACE-ME-RESULTS-BUCKET", "-RESULTS-BUCKET"),
        ("MODEL", "REPLACE-ME-MODEL", "-MODEL"),
        ("RUN", "REPLACE-ME-RUN", "-RUN"),
    ],
)
def test_kustomize_refuses_a_placeholder_that_is_only_uncommented(name, value, rest, tmp_path):
    """Broken: the same, for a line whose # was removed and nothing else."""
    outcome = kustomized(tmp_path / "k8s", **{**FILLED, "RUN": "one", name: value})
    assert outcome.returncode != 0
    assert f"out of bounds for value {rest}" in outcome.stderr


@pytest.mark.parametrize(("name", "value"), [("MACHINE", "ct6e-standard-4t"), ("CAPACITY", "on-demand")])
def test_kustomize_refuses_what_it_cannot_render(name, value, tmp_path):
    """Broken: a setting has no effect, without any message."""
    outcome = kustomized(tmp_path / "k8s", **FILLED, RUN="one", **{name: value})
    assert outcome.returncode != 0
    assert value in outcome.stderr


def test_the_api_server_refuses_the_job_as_it_is():
    """Broken: the API server accepts the unfilled Job (names are lower-case by RFC 1123)."""
    base = yaml.safe_load((K8S / "score-profiling-job.yaml").read_text())
    assert base["metadata"]["name"] != base["metadata"]["name"].lower()


def test_the_script_renders_and_refuses():
    def run(*words):
        return subprocess.run(["bash", str(K8S / "render.sh"), *words], capture_output=True, text=True)

    outcome = run(*FILLED_IN, "RUN=one", "server_flags=--a  b")
    assert outcome.returncode == 0, outcome.stderr
    manifests = list(yaml.safe_load_all(outcome.stdout))
    assert manifests == render("RUN=one", "server_flags=--a  b")
    refused = run("LABEL=x")
    assert (refused.returncode, refused.stdout) == (42, "")
    assert refused.stderr.startswith("render.sh: not set: IMAGE")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["comapre"], "'comapre' is not NAME=VALUE, nor a variant"),
        (["compare", "matrix"], "'matrix' is not NAME=VALUE"),
        (["FAIL_UN=regression"], "settings.env has no FAIL_UN"),
        (["LABEL=x"], "not set: IMAGE RESULTS_BUCKET MODELS_BUCKET MODEL"),
        ([*FILLED_IN, "IMAGE=REPLACE-ME/x:1"], "not set: IMAGE"),
        ([*FILLED_IN, "MODEL=REPLACE-ME-MODEL"], "not set: MODEL"),
        ([*FILLED_IN, "RUN=Bad_name"], "RUN='Bad_name'"),
        ([*FILLED_IN, "RUN=-1"], "RUN='-1'"),
        ([*FILLED_IN, "RUN="], "RUN=''"),
        ([*FILLED_IN, f"RUN={'a' * 41}"], "at most 40"),
        ([*FILLED_IN, "NAMESPACE=A"], "NAMESPACE='A'"),
        ([*FILLED_IN, "MODELS_BUCKET=gs://models"], "without gs://"),
        ([*FILLED_IN, "IMAGE=host:5000/x/y"], "has no tag"),
        ([*FILLED_IN, "IMAGE=host:5000/x/y:latest"], "latest"),
        ([*FILLED_IN, "IMAGE=REGISTRY/y:1"], "lower case"),
        ([*FILLED_IN, "WAIT_S=soon"], "WAIT_S='soon'"),
        ([*FILLED_IN, "LOG=xml"], "LOG='xml' must be one of text, json"),
        ([*FILLED_IN, "SECRET=My_Secret"], "SECRET='My_Secret'"),
        ([*FILLED_IN, "api_key_env=SCORE_KEY"], "api_key_env=SCORE_KEY needs SECRET"),
        ([*FILLED_IN, "PARALLEL=2"], "a single run takes one node"),
        (["matrix", *FILLED_IN, "PARALLEL=3"], "from 1 to 2, the number of index files"),
        (["compare", *FILLED_IN, "PARALLEL=7"], "from 1 to 6, the number of pairs"),
        (["compare", *FILLED_IN, "PARALLEL=0"], "from 1 to 6"),
        (["compare", *FILLED_IN, "PARALLEL=two"], "from 1 to 6"),
        (["compare", *FILLED_IN, "MODEL_CACHE=claim"], "MODEL_CACHE is for models from Hugging Face"),
        ([*FILLED_IN, "MODEL=", "model_path=/models/a", "MODEL_CACHE=claim"], "all are in the models bucket"),
        ([*FILLED_IN, "MODEL=", "model_path=Qwen/Qwen3-8B"], "MODELS_BUCKET has no effect"),
        (
            ["compare", *FILLED_IN, "MODEL=", "control_model_path=/models/a", "test_model_path=a/b"],
            "set MODEL_CACHE",
        ),
    ],
)
def test_a_wrong_setting_is_refused(words, message):
    """Broken: the wrong Job runs on a TPU."""
    assert message in refusal(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*FILLED_IN, "FAIL_ON=regression"], "FAIL_ON=regression: only a comparison"),
        ([*FILLED_IN, "pairs=8"], "pairs=8: only a comparison"),
        (["compare", *FILLED_IN, "server_flags=--x"], "not a comparison"),
        (["matrix", *FILLED_IN, "FAIL_ON=regression"], "only a comparison"),
        (
            ["compare", *FILLED_IN, "PARALLEL=2", "FAIL_ON=regression"],
            "give it to the last step, make compare",
        ),
        (["compare", *FILLED_IN, "PARALLEL=2", "noise_from=/x.json"], "noise_from='/x.json' has no effect"),
        (["compare", *FILLED_IN, "PARALLEL=2", "delta=0.1"], "delta=0.1 has no effect"),
        (["compare", *FILLED_IN, "PARALLEL=2", "pairs_at_most=8"], "pairs_at_most has no effect"),
        (["compare", *FILLED_IN, "pair_index=2"], "pair_index=2: the Job sets it itself"),
        (["matrix", *FILLED_IN, "SERVER_FLAGS=--x"], "k8s/matrix/1.yaml has its own server_flags"),
        (["matrix", *FILLED_IN, "LABEL=x"], "k8s/matrix/0.yaml has its own label"),
        ([*FILLED_IN, "labl=x"], "did you mean label?"),
        ([*FILLED_IN, "phase_s=long"], "phase_s='long'"),
        ([*FILLED_IN, "phases=huge"], "unknown phase 'huge'"),
        (["compare", *FILLED_IN, "pairs=0"], "pairs=0"),
        (["compare", *FILLED_IN, "FAIL_ON=always"], "fail_on='always'"),
        ([*FILLED_IN, "results_dir=/x"], "results_dir='/x': the Job sets it itself"),
        ([*FILLED_IN, "device=cpu"], "device='cpu': the Job sets it itself"),
        ([*FILLED_IN, "model_path=a/b", "MODEL=x"], "either MODEL"),
        (
            ["compare", *FILLED_IN, "control_model_path=/models/a", "test_model_path=/models/b"],
            "either MODEL",
        ),
        ([*FILLED_IN, "PARAMETERS=no/such.yaml"], "no/such.yaml"),
    ],
)
def test_a_parameter_that_is_wrong_or_has_no_effect_is_refused(words, message):
    """Broken: a requested gate is missing, or a TPU node reports the mistake."""
    assert message in refusal(*words)


@pytest.mark.parametrize(
    "word",
    [
        "server_flags=--api-key s3cr3tvalue",
        "server_environment=HF_TOKEN=s3cr3tvalue",
        "label=x?api_key=s3cr3tvalue",
    ],
)
def test_a_secret_among_the_parameters_is_refused_and_not_shown(word):
    """Broken: a key is readable in a ConfigMap, and in the cluster's audit log."""
    said = refusal(*(f"{name}={value}" for name, value in FILLED.items()), word)
    assert "holds a secret" in said
    assert "s3cr3t" not in said


def test_two_runs_in_a_row_have_two_names():
    """Broken: a second run fails: a Job is immutable, and one of the same name cannot be applied again."""
    names = {job_of(rendered("single"))["metadata"]["name"] for _ in range(2)}
    assert len(names) == 2
    for name in names:
        assert re.fullmatch(r"score-profiling-[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
        assert len(name) <= 57, "the Pods of an index add to it, and 63 characters are all there are"


def test_run_can_be_named():
    assert job_of(rendered("single", RUN="fixes-1"))["metadata"]["name"] == "score-profiling-fixes-1"


@pytest.mark.parametrize("image", [FILLED["IMAGE"], "host:5000/x/y:v1.0", f"x/y@sha256:{'0a' * 32}"])
def test_image_is_named_exactly(image):
    (container,) = job_of(rendered("single", IMAGE=image))["spec"]["template"]["spec"]["containers"]
    assert container["image"] == image


def test_compiled_programs_are_kept_where_a_retry_finds_them(container):
    """Broken: each try of a preempted Job compiles for minutes."""
    (cache,) = [one["value"] for one in container["env"] if one["name"] == "JAX_COMPILATION_CACHE_DIR"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert Path(cache).parent == Path("/results")
    assert not mounts["/results"].get("readOnly", False)


@pytest.mark.parametrize(
    ("settings", "machine"),
    [
        ({}, "ct6e-standard-1t"),
        ({"MACHINE": "ct6e-standard-4t"}, "ct6e-standard-4t"),
        ({"TOPOLOGY": "2x2"}, "ct6e-standard-4t"),
        ({"CHIPS": "8"}, "ct6e-standard-8t"),
        ({"ACCELERATOR": "tpu-v6e-slice", "TOPOLOGY": "2x4"}, "ct6e-standard-8t"),
    ],
)
def test_topology_chips_and_requests_follow_the_machine(settings, machine):
    node = MACHINES[machine]
    flags = {"server_flags": f"--tp-size {node.chips}"} if node.chips > 1 else {}
    manifests = rendered("single", **settings, **flags)
    resources = container_of(manifests)["resources"]
    selector = job_of(manifests)["spec"]["template"]["spec"]["nodeSelector"]
    assert selector["cloud.google.com/gke-tpu-accelerator"] == "tpu-v6e-slice"
    assert selector["cloud.google.com/gke-tpu-topology"] == node.topology
    assert resources["requests"]["google.com/tpu"] == resources["limits"]["google.com/tpu"] == node.chips
    assert resources["requests"]["memory"] == resources["limits"]["memory"] == node.memory
    assert resources["requests"]["cpu"] == node.cpu
    assert "cpu" not in resources["limits"], "it would throttle what is measured"


@pytest.mark.parametrize(
    ("machine", "cpus", "memory_gb"),
    [("ct6e-standard-1t", 44, 176), ("ct6e-standard-4t", 180, 720), ("ct6e-standard-8t", 180, 1440)],
)
def test_requests_fit_the_machine(machine, cpus, memory_gb):
    """Broken: the Pod is pending forever: the system and the sidecar need up to 4 CPUs and 8 GiB of the node."""
    node = MACHINES[machine]
    assert 0.7 * cpus < int(node.cpu) <= 0.9 * cpus - 4
    assert 0.6 * memory_gb < int(node.memory.removesuffix("Gi")) * 1.074 <= 0.9 * memory_gb - 8


def test_another_accelerator_is_named():
    settings = {"ACCELERATOR": "tpu-v5-lite-podslice", "TOPOLOGY": "2x2", "CHIPS": "4"}
    size = {"CPU": "100", "MEMORY": "150Gi", "server_flags": "--tensor-parallel-size 4"}
    manifests = rendered("single", **settings, **size)
    selector = job_of(manifests)["spec"]["template"]["spec"]["nodeSelector"]
    assert selector["cloud.google.com/gke-tpu-accelerator"] == "tpu-v5-lite-podslice"
    resources = container_of(manifests)["resources"]
    assert (resources["requests"]["cpu"], resources["limits"]["google.com/tpu"]) == ("100", 4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["MACHINE=n2-standard-8"], "MACHINE='n2-standard-8' is not one of"),
        (["TOPOLOGY=4x4"], "slices of several hosts (multi-host) are not supported"),
        (["MACHINE=ct6e-standard-4t", "TOPOLOGY=2x4"], "slices of several hosts"),
        (["MACHINE=ct6e-standard-8t", "TOPOLOGY=2x2"], "is no machine"),
        (["MACHINE=ct6e-standard-8t", "CHIPS=4"], "is no machine"),
        (["TOPOLOGY=2x2", "CHIPS=8"], "they must agree"),
        (["TOPOLOGY=big"], "must look like 2x2"),
        (["CHIPS=two"], "CHIPS='two'"),
        (["CHIPS=2"], "CHIPS=2 is no machine"),
        (["ACCELERATOR=tpu-v5-lite-podslice"], "also needs TOPOLOGY CHIPS CPU MEMORY"),
        (
            ["ACCELERATOR=tpu-v5-lite-podslice", "MACHINE=ct6e-standard-1t"],
            "ct6e-standard-1t has tpu-v6e-slice",
        ),
        (["MEMORY=150GGi"], "MEMORY='150GGi'"),
        (["MACHINE=ct6e-standard-4t"], "server_flags='' means --tp-size 1, but a node has 4 devices"),
        (["MACHINE=ct6e-standard-4t", "server_flags=--tp-size 8"], "give --tp-size 4"),
        (["server_flags=--tp-size=4"], "give --tp-size 1"),
        (["CAPACITY=cheap"], "CAPACITY='cheap' must be one of spot, on-demand, reservation, flex-start"),
        (["CAPACITY=reservation"], "a reservation is named"),
        (["RESERVATION=ours"], "a reservation is named"),
    ],
)
def test_a_node_that_does_not_exist_is_refused(words, message):
    """Broken: the Pod is pending until the Job's deadline, or pays for chips that the server leaves idle."""
    assert message in refusal(*FILLED_IN, *words)


def test_both_sides_of_a_comparison_use_all_chips():
    words = ["MACHINE=ct6e-standard-4t", "control_server_flags=--tp-size 4"]
    assert "test_server_flags=''" in refusal("compare", *FILLED_IN, *words)


@pytest.mark.parametrize(
    ("capacity", "labels", "tolerated"),
    [
        ("spot", {"cloud.google.com/gke-spot": "true"}, {"cloud.google.com/gke-spot"}),
        ("on-demand", {}, set()),
        ("reservation", {"cloud.google.com/reservation-name": "ours"}, set()),
        ("flex-start", {"cloud.google.com/gke-flex-start": "true"}, set()),
    ],
)
def test_capacity_selects_its_nodes(capacity, labels, tolerated):
    settings = {"RESERVATION": "ours"} if capacity == "reservation" else {}
    pod = job_of(rendered("single", CAPACITY=capacity, **settings))["spec"]["template"]["spec"]
    accelerator = {"cloud.google.com/gke-tpu-accelerator", "cloud.google.com/gke-tpu-topology"}
    assert {name: value for name, value in pod["nodeSelector"].items() if name not in accelerator} == labels
    assert {one["key"] for one in pod["tolerations"]} == {"google.com/tpu", *tolerated}


def test_local_disk_is_requested_and_fits_a_node(manifests, pod, container):
    """Broken: the Pod is evicted or pending: of a 200 GB boot disk GKE leaves about 96 GiB to Pods."""
    annotations = job_of(manifests)["spec"]["template"]["metadata"]["annotations"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    requested = container["resources"]["requests"]["ephemeral-storage"]
    assert requested == container["resources"]["limits"]["ephemeral-storage"]
    assert gib(requested) > gib(volumes["scratch"]["emptyDir"]["sizeLimit"])
    assert gib(requested) + gib(annotations["gke-gcsfuse/ephemeral-storage-request"]) <= 96


def gib(quantity):
    return int(quantity[:-2]) * GIB[quantity[-2:]]


def test_quantities_are_sane(manifests, pod, container):
    """Broken: a quantity such as 150GGi, which the schema accepts, reaches the cluster."""
    quantities = [value for kind in container["resources"].values() for value in kind.values()]
    quantities += [volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if "emptyDir" in volume]
    annotations = job_of(manifests)["spec"]["template"]["metadata"]["annotations"]
    quantities += [value for name, value in annotations.items() if re.search("-(request|limit)$", name)]
    assert len(quantities) >= 10
    for value in map(str, quantities):
        assert QUANTITY.fullmatch(value), value


def test_every_mount_has_its_volume_and_every_volume_its_mount(pod, container):
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    paths = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert len(set(paths)) == len(paths)


def test_models_are_read_only_and_results_are_not(pod, container):
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert volumes["models"]["csi"]["readOnly"]
    assert mounts["models"]["readOnly"]
    assert "file-cache" in volumes["models"]["csi"]["volumeAttributes"]["mountOptions"]
    assert not volumes["results"]["csi"].get("readOnly", False)
    assert not mounts["results"].get("readOnly", False)


def test_shared_memory_is_memory_with_a_limit(pod, container):
    (shm,) = [volume for volume in pod["volumes"] if volume["name"] == "shm"]
    assert shm["emptyDir"]["medium"] == "Memory"
    assert shm["emptyDir"]["sizeLimit"]
    assert "/dev/shm" in [mount["mountPath"] for mount in container["volumeMounts"]]


def test_sys_ptrace_and_nothing_else(pod, container):
    context = container["securityContext"]
    assert context["capabilities"] == {"drop": ["ALL"], "add": ["SYS_PTRACE"]}
    assert context["runAsUser"] == 0, "capabilities added to another user are not effective"
    assert context["allowPrivilegeEscalation"] is False
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "privileged" not in context
    assert not any(pod.get(name) for name in ("hostPID", "hostNetwork", "hostIPC", "shareProcessNamespace"))
    assert pod["automountServiceAccountToken"] is False


def test_preemption_is_ignored_before_a_wrong_configuration_fails(job):
    """Broken: a preempted Pod ends the Job, since the first rule that matches decides."""
    ignore, fail = job["spec"]["podFailurePolicy"]["rules"]
    assert ignore == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert fail["action"] == ("FailIndex" if "completionMode" in job["spec"] else "FailJob")
    assert fail["onExitCodes"] == {"containerName": "profiler", "operator": "In", "values": [3, 42, 137]}
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never", "podFailurePolicy needs it"
    assert job["spec"]["podReplacementPolicy"] == "Failed"


def test_retries_outlast_the_repair_of_a_node_and_are_bounded(job):
    """Broken: the retries run out while a node is repaired, or never end (10 s, doubled, at most 360 s apart)."""
    spec = job["spec"]
    retries = spec["backoffLimitPerIndex" if "completionMode" in spec else "backoffLimit"]
    assert 15 * 60 <= sum(min(10 * 2**retry, 360) for retry in range(retries)) <= 30 * 60
    assert ("backoffLimit" in spec) == ("completionMode" not in spec)
    assert 0 < spec["ttlSecondsAfterFinished"] <= 7 * 86400


@pytest.mark.parametrize(("variant", "launches"), [("single", 1), ("matrix", 1), ("compare", 12)])
def test_an_attempt_may_use_up_all_of_its_limits(variant, launches):
    """Broken: a comparison on a cold TPU is cut off after hours; the Job's deadline includes the wait for a
    node.
    """
    manifests = rendered(variant)
    spec = job_of(manifests)["spec"]
    merged = parameters_of(manifests)[0]
    assert not {"startup_s", "warmup_s", "request_s"} & set(merged), "they are those of a TPU"
    limits = Parameters(device="tpu")
    run_s = limits.startup_s + 4 * (limits.warmup_s + limits.phase_s) + limits.request_s
    attempt = spec["template"]["spec"]["activeDeadlineSeconds"]
    assert attempt > launches * run_s
    assert attempt < 1.2 * launches * run_s + 1800, "nor is a hung run paid for long"
    indexes = spec.get("completions", 1) / spec.get("parallelism", 1)
    assert spec["activeDeadlineSeconds"] == WAIT_S + indexes * attempt


@pytest.mark.parametrize(
    ("variant", "longer"),
    [
        ("single", {"phase_s": "600"}),
        ("single", {"warmup_s": "1800"}),
        ("single", {"request_s": "3600"}),
        ("single", {"startup_s": "3600"}),
        ("single", {"HOLD_S": "3600"}),
        ("single", {"concurrency": "1,4"}),
        ("single", {"rates": "2"}),
        ("single", {"rates": "auto"}),
        ("compare", {"pairs_at_most": "24"}),
        ("matrix", {"phase_s": "600"}),
    ],
)
def test_deadlines_grow_with_the_parameters(variant, longer):
    deadlines = [
        (spec["activeDeadlineSeconds"], spec["template"]["spec"]["activeDeadlineSeconds"])
        for spec in (job_of(rendered(variant, **settings))["spec"] for settings in ({}, longer))
    ]
    assert deadlines[1] > deadlines[0]
    assert deadlines[1][1] > deadlines[0][1]


def test_rates_that_are_not_known_yet_have_time():
    """Broken: a run with ``rates=auto`` is cut off, since the deadline counts only the phases that have a name."""
    auto, fixed = (Parameters(device="tpu", rates=rates) for rates in ("auto", "1,2,3,4,5,6"))
    assert run_s(auto) > run_s(fixed)


@pytest.mark.parametrize(
    ("variant", "settings"),
    [("single", {}), ("compare", {}), ("compare", {"PARALLEL": "6"}), ("compare", {"pairs_at_most": "16"})],
)
def test_the_page_has_the_deadlines(variant, settings):
    """Broken: a reader plans for hours that a Job no longer has."""
    seconds = job_of(rendered(variant, **settings))["spec"]["template"]["spec"]["activeDeadlineSeconds"]
    hours, minutes = divmod(round(seconds / 60), 60)
    page = " ".join((ROOT / "docs" / "kubernetes.md").read_text().split())
    assert f"{hours} h {minutes:02} min" in page


def test_fewer_phases_take_less_time():
    fewer = Parameters.from_mapping({"phases": "single"})
    assert run_s(fewer) < run_s(Parameters())
    assert run_s(Parameters(device_trace_s=0)) < run_s(Parameters()) < run_s(Parameters(device_trace_s=9))
    assert attempt_s(CompareParameters(control="a", test="b")) < 1800, "runs that exist are only compared"


def test_the_wait_for_a_node_can_be_chosen():
    short, usual = (job_of(rendered("single", **one))["spec"] for one in ({"WAIT_S": "600"}, {}))
    assert short["activeDeadlineSeconds"] == usual["activeDeadlineSeconds"] - WAIT_S + 600
    pods = [spec["template"]["spec"]["activeDeadlineSeconds"] for spec in (short, usual)]
    assert pods[0] == pods[1]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_check_needs_no_tpu_and_gives_up_soon(variant):
    """Broken: a wrong image or bucket is found on a TPU node, which it occupies until the deadline."""
    manifests = rendered("check" if variant == "single" else f"{variant} check", RUN="one")
    for manifest in manifests:
        kubernetes_validate.validate(manifest, VERSION, strict=True)
        assert manifest["metadata"]["name"] == "score-profiling-check-one"
    job, container = job_of(manifests), container_of(manifests)
    real = job_of(rendered(variant))
    assert "tpu" not in yaml.safe_dump(job["spec"]).lower()
    assert "nodeSelector" not in job["spec"]["template"]["spec"]
    assert (job["spec"]["backoffLimit"], job["spec"]["activeDeadlineSeconds"]) == (0, 1800)
    of_real = real["spec"]["template"]["spec"]
    assert container["image"] == of_real["containers"][0]["image"]
    assert container["securityContext"] == of_real["containers"][0]["securityContext"]
    assert container["volumeMounts"] == of_real["containers"][0]["volumeMounts"]
    for name in ("models", "results"):
        assert [
            volume for volume in job["spec"]["template"]["spec"]["volumes"] if volume["name"] == name
        ] == [volume for volume in of_real["volumes"] if volume["name"] == name]


@pytest.mark.parametrize(
    ("breakage", "code", "message"),
    [
        ("", 0, "are usable"),
        ("model", 42, "the models bucket has no"),
        ("results", 42, "the results bucket cannot be written"),
        ("python", 42, "the image has no"),
    ],
)
def test_the_check_names_what_is_missing(breakage, code, message, tmp_path):
    for folder in ("models/qwen3-8b", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    if breakage != "model":
        (tmp_path / "models/qwen3-8b/config.json").touch()
    if breakage == "results":
        (tmp_path / "results").touch()
    python = tmp_path / "bin" / "python"
    python.write_text(f"#!/bin/sh\nexit {int(breakage == 'python')}\n")
    python.chmod(0o755)
    variables = {
        "RUN_NAME": "one",
        "MODEL_PATHS": str(tmp_path / "models/qwen3-8b"),
        "SERVER_PYTHONS": str(python),
    }
    shell, options, script = container_of(rendered("check"))["command"]
    outcome = subprocess.run(
        [shell, options, script.replace("/results", str(tmp_path / "results"))],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == code
    assert message in outcome.stdout + outcome.stderr


def test_the_autoscaler_moves_no_run(job):
    """Broken: a run, or the check before it, is stopped to free a node that is little used."""
    annotations = job["spec"]["template"]["metadata"]["annotations"]
    assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"


def test_grace_is_what_a_spot_node_gives(pod):
    assert pod["terminationGracePeriodSeconds"] == 15


def test_arguments_are_parameters_of_the_notebook(container):
    """Broken: a TPU node reports a misspelt parameter."""
    notebook, output, *rest = container["args"]
    known = CompareParameters if "compare" in notebook else Parameters
    assert (ROOT / notebook).exists()
    assert output.startswith("/scratch/")
    names = [name for flag, name in pairwise(rest) if flag in ("-p", "-r")]
    assert set(names) <= known.names()
    assert {"results_dir", "device", "model_path"} <= set(names)
    for name in {"results_dir", "device", "model_path"}:
        assert rest.count(name) == 1


def test_every_variable_in_the_arguments_is_defined(container):
    defined = {variable["name"] for variable in container["env"]} | {"JOB_COMPLETION_INDEX"}
    used = set(re.findall(r"\$\((\w+)\)", " ".join(container["args"])))
    assert used <= defined


def test_every_parameter_of_a_run_can_be_given(tmp_path):
    """Broken: a parameter cannot be given in a file or on the command line, or may override what the Job sets."""
    given = {
        **{"label": "12e4", "phases": "single,small", "phase_s": 8.0, "concurrency": "1,4", "rate_hz": "50"},
        **{"trust_remote_code": True, "label_token_ids": [3, 4], "server_flags": "--a 'b c'", "seed": 7},
    }
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(given))
    from_file = parameters_of(rendered("single", PARAMETERS=file))[0]
    words = {name: str(value) for name, value in given.items()}
    from_words = parameters_of(rendered("single", **words))[0]
    for merged in (from_file, from_words):
        assert {name: merged[name] for name in given} == given
        Parameters.from_mapping(merged)


def test_the_command_line_is_stronger_than_the_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("startup_s: 3600\nphase_s: 10\n")
    merged = parameters_of(rendered("single", PARAMETERS=file, phase_s="12"))[0]
    assert (merged["startup_s"], merged["phase_s"]) == (3600, 12)


def test_nothing_in_the_arguments_overrides_a_parameter_file(container):
    """Broken: a parameter given both ways has no effect, because papermill reads -p before -f."""
    set_by_job = {"run_dir", "compare_dir", "results_dir", "device", "model_path", "pair_index"}
    assert {name for flag, name in pairwise(container["args"]) if flag in ("-p", "-r")} <= set_by_job


@pytest.mark.parametrize(("name", "parameter"), [("LABEL", "label"), ("SERVER_FLAGS", "server_flags")])
def test_old_names_of_parameters_still_work(name, parameter):
    assert parameters_of(rendered("single", **{name: "x y"}))[0][parameter] == "x y"


def test_old_names_of_parameters_still_work_in_a_comparison():
    settings = {"LABEL": "fixes", "SERVER_FLAGS": "--a", "HOLD_S": "60", "FAIL_ON": "regression"}
    merged = parameters_of(rendered("compare", **settings))[0]
    assert (merged["control_label"], merged["test_label"]) == ("baseline", "fixes")
    assert merged["control_server_flags"] == merged["test_server_flags"] == "--a"
    assert (merged["hold_s"], merged["fail_on"]) == (60, "regression")


def test_two_branches_with_different_flags_are_compared():
    settings = {"control_server_flags": "--a 1", "test_server_flags": "--a 2", "pairs": "8"}
    more = {"phases": "single", "noise_from": "/results/comparisons/noise/comparison.json"}
    merged = parameters_of(rendered("compare", **settings, **more))[0]
    parameters = CompareParameters.from_mapping(merged)
    assert (parameters.control_server_flags, parameters.test_server_flags) == ("--a 1", "--a 2")
    assert (parameters.pairs, parameters.phases, parameters.noise_from) == (8, "single", more["noise_from"])
    assert parameters.control_server_python != parameters.test_server_python


def test_two_settings_of_one_branch_are_compared():
    merged = parameters_of(rendered("compare", PARAMETERS=K8S / "compare" / "two-settings.yaml"))[0]
    parameters = CompareParameters.from_mapping(merged)
    assert parameters.control_server_python == parameters.test_server_python == "/opt/server/bin/python"
    assert parameters.control_server_flags != parameters.test_server_flags
    assert all(getattr(parameters, f"{side}_label") not in SIDES for side in SIDES)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_model_may_be_named_by_a_parameter(variant):
    manifests = rendered(variant, MODEL="", model_path="/models/team/qwen3")
    assert all(merged["model_path"] == "/models/team/qwen3" for merged in parameters_of(manifests))
    assert "model_path" not in container_of(manifests)["args"], "it would go before the file"


def from_hub(variant="single", **settings):
    return rendered(variant, MODEL="", MODELS_BUCKET="", model_path="Qwen/Qwen3-8B", **settings)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("cache", ["", "models-claim"])
def test_model_from_hugging_face_has_a_cache_and_no_bucket(variant, cache):
    """Broken: the download fills the container's disk, or each Pod needs a bucket that it does not read."""
    manifests = from_hub(variant, MODEL_CACHE=cache)
    for manifest in manifests:
        kubernetes_validate.validate(manifest, VERSION, strict=True)
    pod = job_of(manifests)["spec"]["template"]
    container = container_of(manifests)
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(volumes) == set(mounts) == {"parameters", "results", "scratch", "shm", "hub"}
    assert {"name": "HF_HOME", "value": mounts["hub"]} in container["env"]
    if cache:
        assert volumes["hub"]["persistentVolumeClaim"]["claimName"] == cache
    else:
        sizes = [gib(volumes[name]["emptyDir"]["sizeLimit"]) for name in ("hub", "scratch")]
        assert sum(sizes) < gib(container["resources"]["requests"]["ephemeral-storage"])
    of_sidecar = pod["metadata"]["annotations"]["gke-gcsfuse/ephemeral-storage-request"]
    assert gib(container["resources"]["requests"]["ephemeral-storage"]) + gib(of_sidecar) <= 96


def test_secret_becomes_environment_variables():
    """Broken: a gated model cannot be downloaded, or a token is written into the manifest."""
    assert container_of(from_hub(SECRET="hf"))["envFrom"] == [{"secretRef": {"name": "hf"}}]
    assert "envFrom" not in container_of(from_hub())


def test_log_as_json_is_asked_for():
    variable = {"name": "SCOREPROF_LOG", "value": "json"}
    assert variable in container_of(rendered("single", LOG="json"))["env"]
    assert variable not in container_of(rendered("single"))["env"]


def test_check_of_a_model_from_hugging_face_asks_there():
    """Broken: a misspelt id or a missing token is found on a TPU node."""
    (paths,) = [
        one["value"] for one in container_of(from_hub("check"))["env"] if one["name"] == "MODEL_PATHS"
    ]
    assert paths == "Qwen/Qwen3-8B"
    both = {"control_model_path": "/models/a", "test_model_path": "/models/b"}
    container = container_of(rendered("compare check", MODEL="", **both))
    assert {"name": "MODEL_PATHS", "value": "/models/a /models/b"} in container["env"]


@pytest.mark.parametrize("parallel", [1, 4, 6])
def test_pairs_on_several_nodes(parallel):
    """Broken: both runs of a pair are not on one node, a pair is missing, or two Pods write one file."""
    manifests = rendered("compare", PARALLEL=parallel)
    for manifest in manifests:
        kubernetes_validate.validate(manifest, VERSION, strict=True)
    spec, container = job_of(manifests)["spec"], container_of(manifests)
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 6, parallel)
    assert spec["podFailurePolicy"]["rules"][1]["action"] == "FailIndex"
    args = container["args"]
    assert args[args.index("pair_index") + 1] == "$(JOB_COMPLETION_INDEX)"
    results = args[args.index("results_dir") + 1]
    planned_runs, published = [], set()
    for index in range(6):
        merged = {**parameters_of(manifests)[0], "pair_index": index, "compare_dir": "/scratch/c"}
        of_pod = CompareParameters.from_mapping({**merged, "results_dir": results})
        planned_runs += [run.folder.name for run in planned(of_pod, of_pod.most_pairs)]
        published.add(of_pod.published_dir)
    everything = CompareParameters.from_mapping({**parameters_of(manifests)[0], "compare_dir": "/scratch/c"})
    assert planned_runs == [run.folder.name for run in planned(everything, everything.pairs)], (
        "in ABBA order, as on one node"
    )
    assert len(published) == 6


def test_pairs_on_several_nodes_take_the_time_of_one():
    """Broken: twelve pairs on twelve nodes may take as long as on one, so a hung Pod is paid for days."""
    one, all_at_once = (
        job_of(rendered("compare", pairs=12, **settings))["spec"] for settings in ({}, {"PARALLEL": "12"})
    )
    of_pod = [spec["template"]["spec"]["activeDeadlineSeconds"] for spec in (one, all_at_once)]
    assert of_pod[1] < of_pod[0] / 5
    assert all_at_once["activeDeadlineSeconds"] == WAIT_S + of_pod[1]
    half = job_of(rendered("compare", pairs=12, PARALLEL="5"))["spec"]
    assert half["activeDeadlineSeconds"] == WAIT_S + 3 * of_pod[1], "in three rounds"


def test_matrix_on_several_nodes():
    spec = job_of(rendered("matrix", PARALLEL="2"))["spec"]
    assert (spec["completions"], spec["parallelism"]) == (2, 2)
    assert job_of(rendered("matrix"))["spec"]["parallelism"] == 1


def test_each_side_may_have_its_model():
    settings = {"MODEL": "", "control_model_path": "/models/a", "test_model_path": "/models/b"}
    assert "model_path" not in container_of(rendered("compare", **settings))["args"]


def test_each_run_and_each_index_has_a_folder_of_its_own(job, container):
    args = container["args"]
    folder = args[args.index("results_dir") + 1]
    assert "$(RUN_NAME)" in folder
    assert ("$(JOB_COMPLETION_INDEX)" in folder) == ("completionMode" in job["spec"])


def test_text_that_looks_like_a_number_stays_text():
    """Broken: a label such as 12e4, a commit, becomes a number; environment variables must be text."""
    manifests = rendered("single", MODEL="12e4", LABEL="12")
    assert {"name": "MODEL", "value": "12e4"} in container_of(manifests)["env"]
    assert parameters_of(manifests)[0]["label"] == "12"
    args = container_of(manifests)["args"]
    assert args[args.index("model_path") - 1] == "-r", "papermill's -p would make a number of it"


def test_nothing_holds_the_tpu_unless_asked_for(manifests):
    assert all("hold_s" not in merged for merged in parameters_of(manifests))


def test_run_name_is_the_jobs(container):
    (name,) = [variable for variable in container["env"] if variable["name"] == "RUN_NAME"]
    path = name["valueFrom"]["fieldRef"]["fieldPath"]
    assert path == "metadata.labels['batch.kubernetes.io/job-name']"


def test_matrix_has_a_file_for_each_index():
    manifests = rendered("matrix")
    merged = parameters_of(manifests)
    assert job_of(manifests)["spec"]["completions"] == len(list((K8S / "matrix").glob("*.yaml")))
    assert len({Parameters.from_mapping(values).label for values in merged}) == len(merged)


def test_namespace_allows_what_the_job_needs():
    setup = (K8S / "setup" / "namespace.yaml").read_text()
    assert yaml.safe_load(setup)["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"
