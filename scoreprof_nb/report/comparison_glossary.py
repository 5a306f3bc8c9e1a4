"""The words of a comparison's report."""

from scoreprof_nb.report.overview import GLOSSARY

_ALSO_HERE = ("compile hit", "component", "interval", "joint", "marginal", "phase", "request path", "split")
_OWN = (
    ("A/A comparison", "a server compared with itself: whatever differs is noise or a bias"),
    ("control, test", "the side that is the measure, and the side that is judged"),
    ("guard", "what must hold before anything is called an improvement, such as equal scores"),
    ("headline", "the mean latency of a kind of request, without py-spy and without compiles"),
    ("launch", "one start of a server, with its phases: the unit of a comparison"),
    ("margin", "the smallest relative change that matters (parameter delta)"),
    ("p", "how likely chance alone is to look like what the verdict claims; below 0.025 it was shown"),
    ("pair", "one launch of each side, one directly after the other"),
    ("smallest change that would show", "with 80 % probability, given how much launches differ here"),
)  # fmt: skip
COMPARISON_GLOSSARY = tuple(sorted([*_OWN, *(entry for entry in GLOSSARY if entry[0] in _ALSO_HERE)]))
