"""Which node a Job needs: machine type, accelerator, topology, chips, CPU, memory, and how it is bought.

Sources: GKE's "Plan TPUs" (single-host topologies of ct6e machines: cloud.google.com/kubernetes-engine/docs/
concepts/plan-tpus), "TPU v6e" (vCPU and memory per VM: cloud.google.com/tpu/docs/v6e), "Flex-start"
(cloud.google.com/kubernetes-engine/docs/concepts/dws), and xpk, which selects a reservation's nodes by the
same label (github.com/AI-Hypercomputer/xpk).
"""

import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from k8s.render.settings import Refused, Settings

SPOT = "cloud.google.com/gke-spot"
ACCELERATOR = "cloud.google.com/gke-tpu-accelerator"
TOPOLOGY = "cloud.google.com/gke-tpu-topology"
CAPACITIES: Mapping[str, Mapping[str, str]] = {  # the labels of the nodes
    "spot": {SPOT: "true"},
    "on-demand": {},
    "reservation": {},  # its name is added
    "flex-start": {"cloud.google.com/gke-flex-start": "true"},
}
DEVICES_PER_CHIP = {"tpu7x": 2}  # that JAX sees; one on all others that GKE has
NODE = ("ACCELERATOR", "TOPOLOGY", "CHIPS")  # instead of MACHINE, or in agreement with it
_TP_FLAGS = ("--tp-size", "--tensor-parallel-size")
_QUANTITY = re.compile(r"[1-9][0-9]*(m|[KMGT]i)?")


@dataclass(frozen=True)
class Node:
    """One host with TPU chips, and what a Pod that has it alone requests."""

    accelerator: str
    topology: str
    chips: int
    cpu: str
    memory: str


# Requests leave a fifth of the machine to the system and to the sidecar that mounts the buckets.
MACHINES: Mapping[str, Node] = {
    "ct6e-standard-1t": Node("tpu-v6e-slice", "1x1", 1, "32", "120Gi"),  # 44 vCPU, 176 GB
    "ct6e-standard-4t": Node("tpu-v6e-slice", "2x2", 4, "140", "500Gi"),  # 180 vCPU, 720 GB
    "ct6e-standard-8t": Node("tpu-v6e-slice", "2x4", 8, "140", "1000Gi"),  # 180 vCPU, 1440 GB
}
_CHOICES = "; ".join(
    f"{name}: TOPOLOGY={node.topology}, CHIPS={node.chips}" for name, node in MACHINES.items()
)


def node_of(settings: Settings) -> Node:
    """The node that MACHINE, ACCELERATOR, TOPOLOGY and CHIPS agree on, with CPU and MEMORY if given.

    The machine of settings.env gives way to the others on the command line. Raises Refused.
    """
    asked = {name: settings[name] for name in NODE if settings[name]}
    if "MACHINE" in settings.given or not settings.given.intersection(NODE):
        asked["MACHINE"] = settings["MACHINE"]
    if asked.get("MACHINE", next(iter(MACHINES))) not in MACHINES:
        raise Refused(
            f"MACHINE={asked['MACHINE']!r} is not one of {', '.join(MACHINES)}: for another machine, "
            "set ACCELERATOR, TOPOLOGY, CHIPS, CPU and MEMORY instead"
        )
    _refuse_many_hosts(asked)
    v6e = next(iter(MACHINES.values())).accelerator
    if asked.get("ACCELERATOR", v6e) == v6e:
        node = _machine_of(asked)
        return Node(
            node.accelerator,
            node.topology,
            node.chips,
            _quantity(settings, "CPU") or node.cpu,
            _quantity(settings, "MEMORY") or node.memory,
        )
    if "MACHINE" in asked:
        raise Refused(f"MACHINE={asked['MACHINE']} has {v6e}, not ACCELERATOR={asked['ACCELERATOR']}")
    missing = [name for name in ("TOPOLOGY", "CHIPS", "CPU", "MEMORY") if not settings[name]]
    if missing:
        raise Refused(f"ACCELERATOR={asked['ACCELERATOR']} also needs {' '.join(missing)}")
    return Node(
        asked["ACCELERATOR"],
        asked["TOPOLOGY"],
        _chips(asked["CHIPS"]),
        _quantity(settings, "CPU"),
        _quantity(settings, "MEMORY"),
    )


def _machine_of(asked: Mapping[str, str]) -> Node:
    fitting = [
        node
        for name, node in MACHINES.items()
        if asked.get("MACHINE", name) == name
        and asked.get("TOPOLOGY", node.topology) == node.topology
        and _chips(asked.get("CHIPS", str(node.chips))) == node.chips
    ]
    if len(fitting) == 1 or (fitting and set(asked) == {"ACCELERATOR"}):
        return fitting[0]
    words = " ".join(f"{name}={value}" for name, value in asked.items())
    raise Refused(f"{words} is no machine with TPU v6e chips; there are {_CHOICES}")


def _refuse_many_hosts(asked: Mapping[str, str]) -> None:
    if "TOPOLOGY" not in asked:
        return
    if not re.fullmatch(r"[1-9][0-9]*(x[1-9][0-9]*){1,2}", asked["TOPOLOGY"]):
        raise Refused(f"TOPOLOGY={asked['TOPOLOGY']!r} must look like 2x2 or 2x2x1")
    chips = math.prod(map(int, asked["TOPOLOGY"].split("x")))
    of_host = max(node.chips for node in MACHINES.values())
    if "MACHINE" in asked:
        of_host = MACHINES[asked["MACHINE"]].chips
    if "CHIPS" in asked:
        of_host = _chips(asked["CHIPS"])
    if chips > of_host:
        raise Refused(
            f"TOPOLOGY={asked['TOPOLOGY']} has {chips} chips, one host {of_host}: slices of several hosts "
            "(multi-host) are not supported"
        )
    if "CHIPS" in asked and chips < of_host:
        raise Refused(f"TOPOLOGY={asked['TOPOLOGY']} has {chips} chips, CHIPS={of_host}: they must agree")


def _chips(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]*", text):
        raise Refused(f"CHIPS={text!r} must be a whole number")
    return int(text)


def _quantity(settings: Settings, name: str) -> str:
    if settings[name] and not _QUANTITY.fullmatch(settings[name]):
        raise Refused(f"{name}={settings[name]!r} is not a quantity such as 32 or 120Gi")
    return settings[name]


def selector_of(settings: Settings, node: Node) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """The nodeSelector and the tolerations of a Pod. Raises Refused."""
    capacity = settings["CAPACITY"]
    if capacity not in CAPACITIES:
        raise Refused(f"CAPACITY={capacity!r} must be one of {', '.join(CAPACITIES)}")
    reservation = settings["RESERVATION"]
    if bool(reservation) != (capacity == "reservation"):
        raise Refused(
            f"CAPACITY={capacity} and RESERVATION={reservation!r}: a reservation is named with "
            "CAPACITY=reservation, and only then"
        )
    labels = {ACCELERATOR: node.accelerator, TOPOLOGY: node.topology, **CAPACITIES[capacity]}
    if reservation:
        labels["cloud.google.com/reservation-name"] = reservation
    tolerations = [{"key": "google.com/tpu", "operator": "Exists", "effect": "NoSchedule"}]
    if capacity == "spot":
        tolerations.append({"key": SPOT, "operator": "Equal", "value": "true", "effect": "NoSchedule"})
    return labels, tolerations


def check_tp_size(node: Node, flags: str, where: str) -> None:
    """Raise Refused if the server would not use all of the node's chips, or more than there are."""
    devices = node.chips * DEVICES_PER_CHIP.get(node.accelerator, 1)
    try:
        words = shlex.split(flags)
    except ValueError as error:
        raise Refused(f"{where}={flags!r}: {error}") from error
    size = "1"
    for word, following in pairwise([*words, ""]):
        flag, equals, value = word.partition("=")
        if flag in _TP_FLAGS:
            size = value if equals else following
    if size != str(devices):
        raise Refused(
            f"{where}={flags!r} means --tp-size {size}, but a node has {devices} devices "
            f"(TOPOLOGY={node.topology}): give --tp-size {devices}, or another machine"
        )
