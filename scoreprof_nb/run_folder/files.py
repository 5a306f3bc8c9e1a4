"""The names of what a run folder holds, and of what an executed notebook says of its run."""

RUN_MIME = "application/vnd.scoreprof.run+json"  # the notebook's output that names its run folder
