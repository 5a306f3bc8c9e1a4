"""The Job and its ConfigMap, built from score-profiling-job.yaml."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from k8s.render.machines import Node
from k8s.render.settings import Settings

Manifest = dict[str, Any]
CHECK_S = 1800
_CHECK = Path(__file__).with_name("check.sh")


@dataclass(frozen=True)
class Plan:
    """What distinguishes one Job from another."""

    settings: Settings
    node: Node
    node_selector: Mapping[str, str]
    tolerations: list[dict[str, Any]]
    notebook: str
    folder_parameters: Mapping[str, str]  # where the notebook writes, as -p
    files: Mapping[str, str]  # of the ConfigMap, name and text
    read_files: tuple[str, ...]  # the notebook's parameters files, the later one decides
    attempt_s: int
    deadline_s: int
    indexes: int | None = None  # of an Indexed Job
    server_pythons: tuple[str, ...] = field(default=("/opt/server/bin/python",))
    model_path: str = "/models/$(MODEL)"


def manifests_of(base: Manifest, plan: Plan) -> list[Manifest]:
    """The ConfigMap with the parameters, and the Job that reads it."""
    name = f"score-profiling-{plan.settings['RUN']}"
    metadata = {"name": name, "namespace": plan.settings["NAMESPACE"]}
    configuration: Manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {**metadata, "labels": dict(base["metadata"]["labels"])},
        "immutable": True,
        "data": dict(plan.files),
    }
    job = copy.deepcopy(base)
    job["metadata"].update(metadata)
    spec = job["spec"]
    spec["activeDeadlineSeconds"] = plan.deadline_s
    if plan.indexes is not None:
        spec["completionMode"] = "Indexed"
        spec["completions"] = plan.indexes
        spec["parallelism"] = 1
        spec["backoffLimitPerIndex"] = spec.pop("backoffLimit")
        spec["podFailurePolicy"]["rules"][1]["action"] = "FailIndex"
    pod = spec["template"]["spec"]
    pod["activeDeadlineSeconds"] = plan.attempt_s
    pod["serviceAccountName"] = plan.settings["SERVICE_ACCOUNT"]
    pod["nodeSelector"] = dict(plan.node_selector)
    pod["tolerations"] = list(plan.tolerations)
    _fill_volumes(pod, name, plan.settings)
    _fill_container(pod["containers"][0], plan)
    return [configuration, job]


def _fill_volumes(pod: Manifest, configuration: str, settings: Settings) -> None:
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    volumes["parameters"]["configMap"]["name"] = configuration
    volumes["models"]["csi"]["volumeAttributes"]["bucketName"] = settings["MODELS_BUCKET"]
    volumes["results"]["csi"]["volumeAttributes"]["bucketName"] = settings["RESULTS_BUCKET"]


def _fill_container(container: Manifest, plan: Plan) -> None:
    container["image"] = plan.settings["IMAGE"]
    container["args"] = [plan.notebook, "/scratch/out.ipynb"]
    for file in plan.read_files:
        container["args"] += ["-f", f"/parameters/{file}"]
    for name, folder in plan.folder_parameters.items():
        container["args"] += ["-p", name, folder]
    container["args"] += ["-p", "device", "tpu"]
    variables = {variable["name"]: variable for variable in container["env"]}
    if plan.settings["MODEL"]:
        container["args"] += ["-r", "model_path", plan.model_path]
        variables["MODEL"]["value"] = plan.settings["MODEL"]
    else:
        container["env"].remove(variables["MODEL"])
    resources = container["resources"]
    resources["requests"]["cpu"] = plan.node.cpu
    for amounts in resources.values():
        amounts["memory"] = plan.node.memory
        amounts["google.com/tpu"] = plan.node.chips


def without_tpu(manifests: list[Manifest], plan: Plan) -> list[Manifest]:
    """The same image and mounts on any node, to find out before a TPU is used whether they work."""
    configuration, job = copy.deepcopy(manifests)
    spec = job["spec"]
    for name in ("completionMode", "completions", "parallelism", "backoffLimitPerIndex", "podFailurePolicy"):
        spec.pop(name, None)
    spec["backoffLimit"] = 0
    spec["activeDeadlineSeconds"] = CHECK_S
    for manifest in (configuration, job):
        manifest["metadata"]["name"] = f"score-profiling-check-{plan.settings['RUN']}"
    pod = spec["template"]["spec"]
    for name in ("activeDeadlineSeconds", "nodeSelector", "tolerations"):
        pod.pop(name)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    volumes["parameters"]["configMap"]["name"] = configuration["metadata"]["name"]
    (container,) = pod["containers"]
    container["command"] = ["/bin/bash", "-uc", _CHECK.read_text(encoding="utf-8")]
    del container["args"]
    container["env"] += [
        {"name": "MODEL_PATH", "value": plan.model_path},
        {"name": "SERVER_PYTHONS", "value": " ".join(plan.server_pythons)},
    ]
    container["resources"] = {
        "requests": {"cpu": "1", "memory": "4Gi", "ephemeral-storage": "1Gi"},
        "limits": {"memory": "4Gi", "ephemeral-storage": "1Gi"},
    }
    annotations = spec["template"]["metadata"]["annotations"]
    for kind in ("request", "limit"):
        annotations[f"gke-gcsfuse/cpu-{kind}"] = "250m"
        annotations[f"gke-gcsfuse/memory-{kind}"] = "512Mi"
        annotations[f"gke-gcsfuse/ephemeral-storage-{kind}"] = "2Gi"
    return [configuration, job]


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they are, so that a person can read them."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def as_yaml(manifests: list[Manifest]) -> str:
    """The manifests as `kubectl apply -f -` reads them."""
    return yaml.dump_all(manifests, Dumper=_Dumper, sort_keys=False, width=1000)
