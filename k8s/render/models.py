"""Where a Job's models come from: the models bucket, or Hugging Face."""

from collections.abc import Sequence
from dataclasses import dataclass

from k8s.render.settings import Refused, Settings
from scoreprof_nb.parameters.compare import SIDES, CompareParameters
from scoreprof_nb.parameters.profile import Parameters
from scoreprof_nb.parameters.server_checks import is_hub_id

IN_BUCKET = "/models/$(MODEL)"


@dataclass(frozen=True)
class Models:
    """``paths``: folders in the container and Hugging Face ids. ``needed``: the settings that they need.

    ``bucket``: whether the models bucket is mounted; ``hub``: whether something is downloaded.
    """

    paths: tuple[str, ...] = (IN_BUCKET,)
    needed: tuple[str, ...] = ("MODELS_BUCKET", "MODEL")
    bucket: bool = True
    hub: bool = False


def models_of(settings: Settings, runs: Sequence[Parameters | CompareParameters]) -> Models:
    """The models of all runs. Raises Refused for settings that contradict each other or have no effect."""
    named = [_named(run) for run in runs]
    if any(named) and (settings["MODEL"] or not all(named)):
        raise Refused(
            "give either MODEL, a folder in the models bucket, or model_path for every run (with MODEL=)"
        )
    if not any(named):
        if settings["MODEL_CACHE"]:
            raise Refused("MODEL_CACHE is for models from Hugging Face, and MODEL is in the models bucket")
        return Models()
    paths = tuple(dict.fromkeys(path for of_run in named for path in of_run))
    hub = any(map(is_hub_id, paths))
    bucket = not all(map(is_hub_id, paths))
    if not bucket and settings["MODELS_BUCKET"]:
        raise Refused("MODELS_BUCKET has no effect: all models come from Hugging Face (give MODELS_BUCKET=)")
    if settings["MODEL_CACHE"] and not hub:
        raise Refused("MODEL_CACHE is for models from Hugging Face, and all are in the models bucket")
    if bucket and hub and not settings["MODEL_CACHE"]:
        raise Refused(
            "models of the bucket and of Hugging Face do not both fit a node's disk: set MODEL_CACHE to a "
            "PersistentVolumeClaim"
        )
    return Models(paths, ("MODELS_BUCKET",) if bucket else (), bucket, hub)


def _named(run: Parameters | CompareParameters) -> tuple[str, ...]:
    """The models that the parameters name; empty if MODEL has to."""
    if isinstance(run, CompareParameters):
        paths = [getattr(run, f"{side}_model_path") or run.model_path for side in SIDES]
    else:
        paths = [run.model_path]
    return tuple(paths) if all(paths) else ()
