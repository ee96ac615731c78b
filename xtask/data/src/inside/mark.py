"""Notes on the volume when its data were backed up, for the container's metrics.

Its argument is JSON: `written` or `restored` (so far it was proved) to the second, since 1970, that
the backup is of. An older one never takes the place of a newer one.
"""

import json
import os
import sys

MARK = "/var/lib/postgresql/data/hive/backup.json"

try:
    with open(MARK, encoding="utf-8") as file:
        known = json.load(file)
except (FileNotFoundError, ValueError):
    known = {}
for level, second in json.loads(sys.argv[1]).items():
    known[level] = max(second, known.get(level, 0))
with open(f"{MARK}.new", "w", encoding="utf-8") as file:
    json.dump(known, file)
os.rename(f"{MARK}.new", MARK)
