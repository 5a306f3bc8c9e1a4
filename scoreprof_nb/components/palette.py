"""Colours and hatches that do not depend on which component is drawn."""

# For components without a colour of their own: Paul Tol's "muted" scheme, safe for colour-blind readers.
DEFAULT_COLOURS = (
    "#332288",
    "#CC6677",
    "#88CCEE",
    "#882255",
    "#117733",
    "#DDCC77",
    "#AA4499",
    "#44AA99",
    "#999933",
)


def hatch(component: str) -> str:
    """The matplotlib hatch of a component: only ``unclassified`` has one."""
    return "////" if component == "unclassified" else ""


def text_colour(colour: str) -> str:
    """Black or white, whichever is easier to read on a colour (``#RRGGBB``)."""
    red, green, blue = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    luminance = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2
    return "#000000" if luminance > 0.179 else "#FFFFFF"
