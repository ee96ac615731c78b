"""Programs of the image's own, beside PostgreSQL and the app: how the supervisor has them, and what
they wait for."""

import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

#: Starts at once, before the app and what needs it, and stops after them.
NOTHING = "nothing"
APP = "app"

#: Between two looks whether what a program waits for is there.
PAUSE = 0.1

#: supervisord starts low priorities first and stops them last; the app has 200.
BEFORE_THE_APP = 150
AFTER_THE_APP = 250

#: The stop signal is the program's alone: one that has workers of its own tells them what to do.
#: What is left of them when it is gone is killed.
SECTION = """\
[program:{name}]
priority={priority}
command=/opt/venv/bin/python -P /usr/local/lib/hive/run-app --program {name}
directory=/app
autorestart=true
startsecs=1
startretries=3
stopsignal={stop_signal}
stopwaitsecs={stop_seconds}
killasgroup=true
redirect_stderr=true
stdout_logfile=NONE
stdout_events_enabled=true
"""

#: The program that answers Prometheus: only where somebody has asked for it.
METRICS = "metrics"
METRICS_SECTION = f"""
[program:{METRICS}]
priority=300
command=/usr/local/lib/hive/metrics
autorestart=true
startsecs=1
startretries=3
stopsignal=TERM
stopwaitsecs=2
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile=NONE
stdout_events_enabled=true
"""

#: The program that has the log received to the archive: only where there is a volume for it. It
#: stops after all that write, and before PostgreSQL, which would wait for it.
ARCHIVE = "archive"
ARCHIVE_SECTION = f"""
[program:{ARCHIVE}]
priority=110
command=/usr/local/lib/hive/archive
autorestart=true
startsecs=1
startretries=3
stopsignal=TERM
stopwaitsecs=3
killasgroup=true
redirect_stderr=true
stdout_logfile=NONE
stdout_events_enabled=true
"""


@dataclass(frozen=True)
class OwnProgram:
    """As /etc/hive/image.json has it."""

    name: str
    command: list[str]
    stop_signal: str
    stop_seconds: int
    starts_after: str
    #: Whether the container ends where the program cannot be kept running.
    fatal: bool


def of(document: Sequence[Mapping[str, object]]) -> list[OwnProgram]:
    """Those that an image.json lists."""
    return [OwnProgram(**one) for one in document]


def configuration(programs: Iterable[OwnProgram]) -> str:
    """What supervisord includes. A comment where there are none: it warns of a file that is empty
    or not there."""
    text = "; programs of the image's own\n"
    for one in programs:
        priority = BEFORE_THE_APP if one.starts_after == NOTHING else AFTER_THE_APP
        text += "\n" + SECTION.format(
            name=one.name,
            priority=priority,
            stop_signal=one.stop_signal,
            stop_seconds=one.stop_seconds,
        )
    return text


def wait(program: OwnProgram, ready: str, port: int) -> None:
    """Returns when what the program waits for is there: the file that says so of the database, and
    somebody who listens on the app's port."""
    if program.starts_after == NOTHING:
        return
    while not os.path.exists(ready):
        time.sleep(PAUSE)
    while program.starts_after == APP and not listens(port):
        time.sleep(PAUSE)


def listens(port: int) -> bool:
    """Whether a server takes connections there."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
