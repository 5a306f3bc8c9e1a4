"""Write the commits that the image was built from, for the report: image_info.py KIT_COMMIT TARGET."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

commit, target = sys.argv[1], Path(sys.argv[2])
sources = {name: Path("/opt", name, "scoreprof-source.json") for name in ("server", "baseline")}
info = {
    "built_at": datetime.now(UTC).isoformat(timespec="seconds"),
    "kit_commit": commit or None,
    **{name: json.loads(path.read_text()) for name, path in sources.items() if path.exists()},
}
target.parent.mkdir(parents=True, exist_ok=True)
target.write_text(json.dumps(info, indent=1) + "\n")
