"""Colours: one family per headline group, so that a component looks the same in every figure.

The families start from the palette of Okabe and Ito, which readers with any common form of colour
blindness can tell apart; members of a group are lighter and darker shades of it, light beside dark
where they are neighbours in a bar.
"""

from types import MappingProxyType

from scoreprof_nb.components import catalog

_SHADES = MappingProxyType(
    {
        "http": {"http": "#E69F00", "validation": "#B37400", "response": "#F7C96B"},
        "tokenizer": {"tokenize": "#F0E442"},
        "ipc": {"ipc": "#56B4E9", catalog.IPC_AND_WAKEUP: "#AEDCF7"},
        "scheduler": {
            "batch": "#009E73",
            "receive": "#5CC3A3",
            "host_prep": "#9ADBC6",
            "output": "#006B4E",
            "decode_step": "#003F2E",
        },
        "jax": {
            "dispatch": "#0072B2",
            "trace_compile": "#003355",
            "transfer": "#4A86DB",
            "device_wait": "#00528F",
        },
        "post-processing": {"logprobs": "#D55E00", "softmax": "#963F00"},
        "detokenizer": {"detokenize": "#CC79A7"},
        "waiting": {
            "idle_poll": "#BDBDBD",
            "wait_forward": "#757575",
            "await_request": "#9A9A9A",
            "idle_wait": "#DEDEDE",
        },
        "other": {
            "gc": "#8C6239",
            "logging": "#B8966A",
            "housekeeping": "#5E3C1A",
            "unclassified": "#FFFFFF",
        },
        "native threads": {catalog.NATIVE_THREADS: "#4B1F78"},
        "client": {catalog.CLIENT: "#1A1A1A"},
    }
)
_COLOURS = MappingProxyType({name: shade for shades in _SHADES.values() for name, shade in shades.items()})

ORDER: tuple[str, ...] = (*catalog.NAMES, *catalog.EXTRA_GROUPS)  # of segments in bars and legends
RANK = MappingProxyType({name: rank for rank, name in enumerate(ORDER)})


def colour(component: str) -> str:
    """The hex colour of a component or of an extra line; raises KeyError for any other name."""
    return _COLOURS[component]


def group_colour(group: str) -> str:
    """The hex colour of a headline group: that of its leading member."""
    return next(iter(_SHADES[group].values()))


def members(group: str) -> tuple[str, ...]:
    """The components and extra lines that share the colour family of a headline group."""
    return tuple(_SHADES[group])


def hatch(component: str) -> str:
    """The matplotlib hatch of a component: only ``unclassified`` has one."""
    return "////" if component == "unclassified" else ""


def text_colour(component: str) -> str:
    """Black or white, whichever reads better on the component's colour."""
    red, green, blue = (int(colour(component)[start : start + 2], 16) / 255 for start in (1, 3, 5))
    luminance = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2
    return "#000000" if luminance > 0.179 else "#FFFFFF"
