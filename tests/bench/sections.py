"""The sections of docs/performance.md, in the order of the page.

A new one: a module whose function measures and returns Markdown (``scoreprof_nb.report.markdown`` has tables),
and a line here. The function may take minutes, prints nothing, and leaves nothing behind. ``make bench ONLY=name``
then writes its section and no other.
"""

from tests.bench import import_speed, long_capture, observer
from tests.bench.page import Section

SECTIONS = (
    Section("import", "Importing a recording", import_speed.measure),
    Section("observer", "What profiling costs the requests", observer.measure),
    Section("long", "A long capture", long_capture.measure),
)
