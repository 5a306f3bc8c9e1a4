"""The manifests, as kustomize renders them: valid, and right in what a schema cannot see."""

import os
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from scoreprof_nb.parameters.compare import CompareParameters
from scoreprof_nb.parameters.profile import Parameters
from tests.support.job import FILLED_IN, job_of, render
from tests.support.paths import ROOT

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
    "LABEL": "feature/x",
    "SERVER_FLAGS": "--mem-fraction-static 0.8",
    "HOLD_S": "600",
    "FAIL_ON": "regression",
}

if shutil.which("kubectl") is None:
    if os.environ.get("CI"):
        raise RuntimeError("CI must have kubectl, which renders the manifests")
    pytest.skip("no kubectl, which renders the manifests", allow_module_level=True)


def rendered(variant, **settings):
    words = [f"{name}={value}" for name, value in {**FILLED, **settings}.items()]
    return render(*([] if variant == "single" else [variant]), *words)


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
        ["kubectl", "kustomize", str(ROOT / "k8s" / "setup")], check=True, capture_output=True, text=True
    ).stdout
    plain = (ROOT / "k8s" / "score-profiling-job.yaml").read_text()
    for manifest in [*manifests, *yaml.safe_load_all(setup), yaml.safe_load(plain)]:
        kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_every_setting_is_filled_in(manifests):
    """A bucket called REPLACE-ME is found out after the node was waited for."""
    text = yaml.safe_dump_all(manifests)
    assert "REPLACE-ME" not in text
    for name in ("IMAGE", "SERVICE_ACCOUNT", "MODELS_BUCKET", "RESULTS_BUCKET", "MODEL", "LABEL", "HOLD_S"):
        assert FILLED[name] in text, name
    assert {manifest["metadata"]["namespace"] for manifest in manifests} == {"perf"}


def test_the_plain_file_marks_what_has_to_be_filled_in():
    plain = (ROOT / "k8s" / "score-profiling-job.yaml").read_text()
    settings = (ROOT / "k8s" / "settings.env").read_text()
    assert set(re.findall(r"REPLACE-ME-[-A-Z]*", plain)) == set(re.findall(r"REPLACE-ME-[-A-Z]*", settings))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["comapre"], "'comapre' is not NAME=VALUE, nor a variant"),
        (["compare", "matrix"], "'matrix' is not NAME=VALUE"),
        (["FAIL_UN=regression"], "settings.env has no FAIL_UN"),
        (["LABEL=x"], "not set: IMAGE MODELS_BUCKET RESULTS_BUCKET MODEL"),
        ([*FILLED_IN, "RUN=Bad_name"], "RUN='Bad_name'"),
        ([*FILLED_IN, "RUN=-1"], "RUN='-1'"),
        ([*FILLED_IN, "RUN="], "RUN=''"),
        ([*FILLED_IN, f"RUN={'a' * 41}"], "at most 40"),
        ([*FILLED_IN, "IMAGE=host:5000/x/y"], "has no tag"),
        ([*FILLED_IN, "IMAGE=host:5000/x/y:latest"], "latest"),
        ([*FILLED_IN, "IMAGE=REGISTRY/y:1"], "lower case"),
    ],
)
def test_what_render_does_not_know_is_refused(words, said):
    """Broken: the wrong Job runs on a TPU, or a gate that was asked for is not there."""
    found = subprocess.run(["bash", str(ROOT / "k8s" / "render.sh"), *words], capture_output=True, text=True)
    assert found.returncode == 42
    assert found.stdout == ""
    assert said in found.stderr


def test_two_runs_in_a_row_have_two_names():
    """A Job is immutable: applying one of the same name again fails."""
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


def test_one_tpu_chip_is_asked_for_and_is_the_limit(container):
    resources = container["resources"]
    assert resources["requests"]["google.com/tpu"] == resources["limits"]["google.com/tpu"] == 1
    assert resources["requests"]["memory"] == resources["limits"]["memory"]
    assert "cpu" not in resources["limits"]


def test_resources_fit_the_machine(container):
    """ct6e-standard-1t: 44 CPUs, 176 GB; the system and the sidecar need some of it."""
    assert int(container["resources"]["requests"]["cpu"]) <= 40
    assert int(container["resources"]["requests"]["memory"].removesuffix("Gi")) <= 140


def test_quantities_are_sane(manifests, pod, container):
    """The schema passes 150GGi."""
    found = [value for kind in container["resources"].values() for value in kind.values()]
    found += [volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if "emptyDir" in volume]
    annotations = job_of(manifests)["spec"]["template"]["metadata"]["annotations"]
    found += [value for name, value in annotations.items() if re.search("-(request|limit)$", name)]
    assert len(found) >= 10
    for value in map(str, found):
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


def test_scheduled_on_a_spot_v6e_chip(pod):
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v6e-slice",
        "cloud.google.com/gke-tpu-topology": "1x1",
        "cloud.google.com/gke-spot": "true",
    }
    tolerated = {(one["key"], one.get("value"), one["operator"]) for one in pod["tolerations"]}
    assert tolerated == {("google.com/tpu", None, "Exists"), ("cloud.google.com/gke-spot", "true", "Equal")}


def test_preemption_is_ignored_before_a_wrong_configuration_fails(job):
    """The first rule that matches decides: in the other order a preempted Pod could end the Job."""
    ignore, fail = job["spec"]["podFailurePolicy"]["rules"]
    assert ignore == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert fail["action"] == ("FailIndex" if "completionMode" in job["spec"] else "FailJob")
    assert fail["onExitCodes"] == {"containerName": "profiler", "operator": "In", "values": [3, 42]}
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never", "podFailurePolicy needs it"
    assert job["spec"]["podReplacementPolicy"] == "Failed"


def test_retries_are_bounded_and_the_job_goes_away(job):
    spec = job["spec"]
    assert 0 < spec["activeDeadlineSeconds"] <= 8 * 3600
    assert 0 < spec["ttlSecondsAfterFinished"] <= 7 * 86400
    retries = "backoffLimitPerIndex" if "completionMode" in spec else "backoffLimit"
    assert 0 < spec[retries] <= 6
    assert ("backoffLimit" in spec) == ("completionMode" not in spec)


def test_grace_is_what_a_spot_node_gives(pod):
    assert pod["terminationGracePeriodSeconds"] == 15


def test_arguments_are_parameters_of_the_notebook(container):
    """A misspelt one would be found out on the TPU."""
    notebook, output, *rest = container["args"]
    known = CompareParameters if "compare" in notebook else Parameters
    assert (ROOT / notebook).exists()
    assert output.startswith("/scratch/")
    names = [name for flag, name in pairwise(rest) if flag in ("-p", "-r")]
    assert set(names) <= known.names()
    assert {"results_dir", "device", "model_path"} <= set(names)


def test_every_variable_in_the_arguments_is_defined(container):
    defined = {variable["name"] for variable in container["env"]} | {"JOB_COMPLETION_INDEX"}
    used = set(re.findall(r"\$\((\w+)\)", " ".join(container["args"])))
    assert used <= defined


def test_every_setting_reaches_the_notebook(job, container):
    """Broken: flags that a user sets are left out without a word. In the matrix each file has its own."""
    args = " ".join(container["args"])
    own = {"RUN_LABEL", "SERVER_FLAGS"} if "completionMode" in job["spec"] else set()
    assert ("$(FAIL_ON)" in args) == ("compare_runs" in args)
    for name in {"RUN_LABEL", "MODEL", "SERVER_FLAGS", "HOLD_S", "RUN_NAME"} - own:
        assert f"$({name})" in args, name


def test_both_sides_of_a_comparison_get_the_same_flags():
    (container,) = job_of(rendered("compare"))["spec"]["template"]["spec"]["containers"]
    args = container["args"]
    for side in ("control", "test"):
        assert args[args.index(f"{side}_server_flags") + 1] == "$(SERVER_FLAGS)"


def test_each_run_and_each_index_has_a_folder_of_its_own(job, container):
    args = container["args"]
    folder = args[args.index("results_dir") + 1]
    assert "$(RUN_NAME)" in folder
    assert ("$(JOB_COMPLETION_INDEX)" in folder) == ("completionMode" in job["spec"])


@pytest.mark.parametrize("name", ["LABEL", "MODEL", "SERVER_FLAGS", "HOLD_S"])
def test_a_setting_that_looks_like_a_number_stays_text(name):
    """A label may be a commit, such as 12e4; the value of an environment variable must be text."""
    (container,) = job_of(rendered("single", **{name: "12e4"}))["spec"]["template"]["spec"]["containers"]
    assert "12e4" in [variable.get("value") for variable in container["env"]]


def test_label_is_passed_as_text(container):
    """papermill's -p would make a number of it."""
    args = container["args"]
    assert args[args.index("$(RUN_LABEL)") - 2] == "-r" if "$(RUN_LABEL)" in args else "-f" in args


def test_nothing_holds_the_tpu_unless_asked_for():
    plain = yaml.safe_load((ROOT / "k8s" / "score-profiling-job.yaml").read_text())
    (container,) = plain["spec"]["template"]["spec"]["containers"]
    assert {"name": "HOLD_S", "value": "0"} in container["env"]
    assert "HOLD_S=0" in (ROOT / "k8s" / "settings.env").read_text().splitlines()


def test_run_name_is_the_jobs(container):
    (name,) = [variable for variable in container["env"] if variable["name"] == "RUN_NAME"]
    path = name["valueFrom"]["fieldRef"]["fieldPath"]
    assert path == "metadata.labels['batch.kubernetes.io/job-name']"


def test_matrix_has_a_file_for_each_index():
    manifests = rendered("matrix")
    files = next(manifest for manifest in manifests if manifest["kind"] == "ConfigMap")["data"]
    completions = job_of(manifests)["spec"]["completions"]
    assert sorted(files) == [f"{index}.yaml" for index in range(completions)]
    for text in files.values():
        Parameters.from_mapping(yaml.safe_load(text))
    assert len({yaml.safe_load(text)["label"] for text in files.values()}) == completions


def test_namespace_allows_what_the_job_needs():
    setup = (ROOT / "k8s" / "setup" / "namespace.yaml").read_text()
    assert yaml.safe_load(setup)["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"
