"""The Job and its ConfigMap, built from score-profiling-job.yaml."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from k8s.render.machines import Node
from k8s.render.models import IN_BUCKET, Models
from k8s.render.settings import Settings

Manifest = dict[str, Any]
CHECK_S = 1800
HUB = "/hub"  # the download cache of Hugging Face's library
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
    models: Models = field(default_factory=Models)
    indexes: int | None = None  # of an Indexed Job
    parallel: int = 1
    server_pythons: tuple[str, ...] = field(default=("/opt/server/bin/python",))


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
        spec["parallelism"] = plan.parallel
        spec["backoffLimitPerIndex"] = spec.pop("backoffLimit")
        spec["podFailurePolicy"]["rules"][1]["action"] = "FailIndex"
    pod = spec["template"]["spec"]
    pod["activeDeadlineSeconds"] = plan.attempt_s
    pod["serviceAccountName"] = plan.settings["SERVICE_ACCOUNT"]
    pod["nodeSelector"] = dict(plan.node_selector)
    pod["tolerations"] = list(plan.tolerations)
    _fill_volumes(pod, name, plan.settings)
    _fill_container(pod["containers"][0], plan)
    if not plan.models.bucket:
        _remove_models_bucket(spec["template"])
    if plan.models.hub:
        _add_hub_cache(pod, plan.settings["MODEL_CACHE"])
    return [configuration, job]


def _fill_volumes(pod: Manifest, configuration: str, settings: Settings) -> None:
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    volumes["parameters"]["configMap"]["name"] = configuration
    volumes["models"]["csi"]["volumeAttributes"]["bucketName"] = settings["MODELS_BUCKET"]
    volumes["results"]["csi"]["volumeAttributes"]["bucketName"] = settings["RESULTS_BUCKET"]


def _remove_models_bucket(template: Manifest) -> None:
    """Without it, the sidecar keeps no file cache on the node's disk."""
    pod = template["spec"]
    (container,) = pod["containers"]
    pod["volumes"] = [volume for volume in pod["volumes"] if volume["name"] != "models"]
    container["volumeMounts"] = [mount for mount in container["volumeMounts"] if mount["name"] != "models"]
    for kind in ("request", "limit"):
        template["metadata"]["annotations"][f"gke-gcsfuse/ephemeral-storage-{kind}"] = "5Gi"


def _add_hub_cache(pod: Manifest, claim: str) -> None:
    """A volume for models from Hugging Face: a PersistentVolumeClaim, else the node's disk."""
    (container,) = pod["containers"]
    source: Manifest = {"persistentVolumeClaim": {"claimName": claim}}
    if not claim:
        source = {"emptyDir": {"sizeLimit": "60Gi"}}
        for amounts in container["resources"].values():
            amounts["ephemeral-storage"] = "82Gi"  # and scratch and the log
    pod["volumes"].append({"name": "hub", **source})
    container["volumeMounts"].append({"name": "hub", "mountPath": HUB})
    container["env"].append({"name": "HF_HOME", "value": HUB})


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
        container["args"] += ["-r", "model_path", IN_BUCKET]
        variables["MODEL"]["value"] = plan.settings["MODEL"]
    else:
        container["env"].remove(variables["MODEL"])
    if plan.settings["SECRET"]:  # each of its keys becomes an environment variable
        container["envFrom"] = [{"secretRef": {"name": plan.settings["SECRET"]}}]
    if plan.settings["LOG"] == "json":
        container["env"].append({"name": "SCOREPROF_LOG", "value": "json"})
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
        {"name": "MODEL_PATHS", "value": " ".join(plan.models.paths)},
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
