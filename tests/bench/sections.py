"""The sections of docs/performance.md, in the order of the page.

A new one: a module whose function measures and returns Markdown (``scoreprof_nb.report.markdown`` has tables),
and a line here. The function may take minutes, prints nothing, and leaves nothing behind. ``make bench ONLY=name``
then writes its section and no other.
"""

from tests.bench import history_speed, import_speed, long_capture, observer, own_run, own_time
from tests.bench.page import Section

SECTIONS = (
    Section("import", "Importing a recording", import_speed.measure),
    Section("parameter", "A wrong parameter", own_time.wrong_parameter),
    Section("own", "A run's own time", own_run.measure),
    Section("reanalysis", "Analysing a finished run again", own_time.reanalysis),
    Section("history", "Many runs", history_speed.measure),
    Section("observer", "What profiling costs the requests", observer.measure),
    Section("long", "A long capture", long_capture.measure),
)
