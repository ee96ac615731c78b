"""supervisord as PID 1, with what a container needs of it and it does not do.

* It stops when it cannot go on: a program that is FATAL, that flaps, or that says by its exit
  status that trying again is useless, takes the container down with a status other than 0.
  Stock supervisord stays up, the container looks alive, and no restart policy acts
  (Supervisor/supervisor#733); told to stop, it exits with 0 (Supervisor/supervisor#775).
* It reacts at once. Stock supervisord sleeps up to a second before it starts the first
  program, restarts one that died, or notices a signal.
* It hands each program's output to `logs`.
* What a program has left in a session of its own is told when the program ends, and stopped before
  the database is. Stock supervisord leaves it to SIGKILL, when PID 1 ends.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Set

from hive_container import cluster, image, left_behind, limits
from hive_container.image import EXIT_ABSENT, EXIT_CONFIG
from hive_container.logs import ProgramLog
from hive_container.steadiness import Steadiness
from hive_container.volume import PGDATA

sys.path.append("/usr/local/lib/hive/shims")

from supervisor import events, loggers
from supervisor.datatypes import RestartUnconditionally
from supervisor.options import ServerOptions
from supervisor.poller import PollPoller
from supervisor.states import ProcessStates, SupervisorStates
from supervisor.supervisord import Supervisor, asyncore

CONFIGURATION = "/etc/hive/supervisord.conf"

#: Exit status of the container when a program could not be kept running.
EXIT_PROGRAM = 1

#: Lines of supervisord's own log that tell a container's user nothing.
CHATTER = ("without any HTTP authentication", "RPC interface ", "reaped unknown pid")

#: Its children leave by themselves when the postmaster is gone; and `ALTER SYSTEM` may have told
#: it what it cannot start with.
POSTGRESQL = "postgresql"


def run(optional: Set[str], *, tell_states: bool) -> int:
    """Runs the programs until one cannot be kept running or a signal asks to stop. The container
    goes on without those that are `optional`. What becomes of each is written down where somebody
    wants to know.

    Returns the container's exit status.
    """
    options = Options()
    options.realize(["-c", CONFIGURATION])
    options.first = True
    options.test = False
    options.poller = WakefulPoller(options)
    supervisor = ContainerSupervisor(options, optional, tell_states)
    with contextlib.suppress(asyncore.ExitNow):
        supervisor.main()
    if supervisor.why:
        # Again, as the last line: the first time is far above, before everything stopped.
        print(f"hive: stopped: {supervisor.why}", file=sys.stderr, flush=True)
    return supervisor.status


class WakefulPoller(PollPoller):
    """Waits for output of programs, and for signals; does not sleep while work is left."""

    def initialize(self) -> None:
        super().initialize()
        self.wake_reader, wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        self._poller.register(self.wake_reader, select.POLLIN)
        # Rounds of supervisord's loop to go without waiting: one starts programs, and after a
        # signal one reaps, one restarts what was reaped.
        self.rounds = 1

    def poll(self, timeout: float) -> tuple[list[int], list[int]]:
        if self.rounds:
            self.rounds -= 1
            timeout = 0
        readables, writables = super().poll(timeout)
        if self.wake_reader in readables:
            readables.remove(self.wake_reader)
            os.read(self.wake_reader, 4096)
            self.rounds = 2
        return readables, writables


class Options(ServerOptions):
    """supervisord's options, with our log in place of its own."""

    #: How the last child that was reaped ended: supervisord forgets it for one that ended
    #: within its first second.
    last_status = 0

    def waitpid(self) -> tuple[int | None, int | None]:
        pid, status = super().waitpid()
        if pid:
            self.last_status = status
        return pid, status

    def make_logger(self) -> None:
        self.logger = loggers.getLogger(self.loglevel)
        self.logger.addHandler(LogHandler())
        for warning in self.parse_warnings:
            self.logger.warn(warning)


class LogHandler(loggers.Handler):
    """Writes supervisord's own lines like those of a program."""

    def __init__(self) -> None:
        super().__init__()
        self.log = ProgramLog("supervisord")

    def emit(self, record: loggers.LogRecord) -> None:
        message = record.asdict()["message"]
        if not any(chatter in message for chatter in CHATTER):
            self.log.write(message.rstrip("\n").encode() + b"\n")

    def reopen(self) -> None:
        """SIGUSR2 asks for it; `logs` rotates by itself."""


class ContainerSupervisor(Supervisor):
    """supervisord that gives up when it should."""

    def __init__(self, options: Options, optional: Set[str], tell_states: bool):
        super().__init__(options)
        self.optional = optional
        self.tell_states = tell_states
        #: By program: whether it runs, since when, and how often it was started.
        self.seen: dict[str, dict[str, float]] = {}
        #: What became of those that the container goes on without.
        self.without: dict[str, str] = {}
        self.status = 0
        self.why = ""
        self.logs: dict[str, ProgramLog] = {}
        self.started: dict[str, float] = {}
        self.kills = limits.kills()
        #: The programs' own processes, of all their starts: each leads its group.
        self.leaders: set[int] = set()
        #: Processes without a parent of which the log has told.
        self.told: set[int] = set()
        #: By program: who of them it has left at its last end.
        self.left: dict[str, str] = {}
        self.ended_what_was_left = False
        self.steadiness: dict[str, Steadiness] = {}

    def runforever(self) -> None:
        # Supervisor.run() clears all subscriptions just before it comes here.
        events.subscribe(events.ProcessLogStdoutEvent, self.on_output)
        events.subscribe(events.ProcessStateStartingEvent, self.on_start)
        events.subscribe(events.ProcessStateExitedEvent, self.on_exit)
        events.subscribe(events.ProcessStateBackoffEvent, self.on_exit)
        events.subscribe(events.ProcessStateFatalEvent, self.on_fatal)
        events.subscribe(events.ProcessStateStoppedEvent, self.on_stopped)
        if self.tell_states:
            events.subscribe(events.ProcessStateEvent, self.on_any_state)
        # A terminal that goes away, or `docker kill -s HUP`, is no reason to restart everything.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        super().runforever()

    def on_output(self, event: events.ProcessLogStdoutEvent) -> None:
        self.log_of(event.process).write(event.data)

    def on_start(self, event: events.ProcessStateEvent) -> None:
        name = event.process.config.name
        self.started[name] = time.monotonic()
        self.log_of(event.process).begin()
        # By hand: what it did before counts no longer.
        if self.without.pop(name, None):
            event.process.config.autorestart = RestartUnconditionally
            self.steadiness.pop(name, None)
            self.write_without()

    def on_any_state(self, event: events.ProcessStateEvent) -> None:
        """For metrics. Where it cannot be written there is no file: nobody reads an old one."""
        name = event.process.config.name
        seen = self.seen.setdefault(name, {"starts": 0, "started": 0, "runs": 0})
        if isinstance(event, events.ProcessStateStartingEvent):
            seen["starts"] += 1
            seen["started"] = time.time()
        seen["runs"] = int(isinstance(event, events.ProcessStateRunningEvent))
        try:
            image.write_private(image.PROGRAMS_SEEN_FILE, json.dumps(self.seen))
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(image.PROGRAMS_SEEN_FILE)

    def on_exit(self, event: events.ProcessStateEvent) -> None:
        process = event.process
        name = process.config.name
        self.clear_up(process)
        self.tell_what_is_left(name)
        status = self.options.last_status
        code, reason = os.WEXITSTATUS(status), self.log_of(process).reason
        # The other status is also an app's own to end with.
        if os.WIFEXITED(status) and (code == EXIT_CONFIG or (code == EXIT_ABSENT and reason)):
            why = reason or "it cannot run like this, see its last lines"
            self.end_of(process, f"{name}: {why}", code)
            return
        now = time.monotonic()
        steadiness = self.steadiness.setdefault(name, Steadiness())
        why = steadiness.verdict(now - self.started.get(name, now), status, now)
        if why:
            self.end_of(process, self.explained(process, why))

    def on_fatal(self, event: events.ProcessStateFatalEvent) -> None:
        self.end_of(event.process, self.explained(event.process, "could not be started"))

    def end_of(self, process: object, why: str, status: int = EXIT_PROGRAM) -> None:
        """A program cannot be kept running: neither can the container, unless the spec says so."""
        name = process.config.name
        if name not in self.optional:
            self.give_up(why, status)
        elif name not in self.without:
            self.options.logger.critical(
                f"going on without {why}; hint: supervisorctl start {name}"
            )
            self.without[name] = why
            self.write_without()
            # Each is what keeps supervisord from starting it again: of one that ran for a second,
            # and of one that did not.
            process.config.autorestart = False
            if process.state == ProcessStates.BACKOFF:
                process.backoff = process.config.startretries + 1

    def write_without(self) -> None:
        """For the health check. A full /run costs what it says, never the container."""
        with contextlib.suppress(OSError):
            image.write_private(image.WITHOUT_FILE, "; ".join(self.without.values()))

    def explained(self, process: object, what: str) -> str:
        """What became of a program, with what it said itself and the way back, if there is one."""
        name = process.config.name
        log = self.log_of(process)
        said = log.last_words()
        why = f"{name} {what}" + (f": {said}" if said else "")
        if left := self.left.get(name):
            why = f"{why}; it leaves {left} in the background, and has to stay in the foreground"
        # Not of one that was killed: no setting did that.
        if name == POSTGRESQL and log.complaint and (way_back := cluster.way_back(PGDATA)):
            why = f"{why}; hint: {way_back}"
        return why

    def on_stopped(self, event: events.ProcessStateStoppedEvent) -> None:
        self.clear_up(event.process)

    def clear_up(self, process: object) -> None:
        """A program has ended: its last line, and what it left behind."""
        self.log_of(process).flush()
        self.leaders.add(process.pid)
        if process.config.name != POSTGRESQL:
            kill_group(process.pid)

    def known(self) -> set[int]:
        """The processes of programs that run, and of those that did."""
        return self.leaders | {pid for pid in self.options.pidhistory if pid}

    def tell_what_is_left(self, name: str) -> None:
        """Of a program that ended: it may hold the program's port, or be the program itself, which
        has gone to the background."""
        orphans = [one for one in left_behind.found(self.known()) if one.may_be_of(name)]
        left = [one for one in orphans if one.pid not in self.told]
        self.told |= {one.pid for one in left}
        self.left[name] = ", ".join(map(str, left))
        if left and self.options.mood >= SupervisorStates.RUNNING:
            self.options.logger.warn(
                f"{name} has ended, and has left {self.left[name]} in the background;"
                " hint: a program has to run in the foreground, and to end with all that it starts"
            )

    def ordered_stop_groups_phase_1(self) -> None:
        groups = self.stop_groups
        # It is the last one, and who is left may still want to write to it. Where it is elsewhere
        # all have been stopped.
        is_time = not groups or groups[-1].config.name == POSTGRESQL
        if is_time and not self.ended_what_was_left:
            self.ended_what_was_left = True
            asked, killed = left_behind.end(self.known())
            if asked:
                self.options.logger.warn(
                    f"stopped what was left in the background: {', '.join(map(str, asked))}"
                )
            if killed:
                self.options.logger.warn(
                    f"killed, as it went on for {left_behind.GRACE:.0f} s:"
                    f" {', '.join(map(str, killed))}"
                )
        super().ordered_stop_groups_phase_1()

    def give_up(self, why: str, status: int = EXIT_PROGRAM) -> None:
        """Stops all programs in order and ends the container with a failure."""
        if self.options.mood < SupervisorStates.RUNNING:
            return
        killed = limits.kills() - self.kills
        if killed > 0:
            why = f"{why}; {limits.out_of_memory(killed)}"
        self.options.logger.critical(f"stopping the container: {why}")
        self.why, self.status = why, status
        self.options.mood = SupervisorStates.SHUTDOWN

    def log_of(self, process: object) -> ProgramLog:
        name = process.config.name
        if name not in self.logs:
            self.logs[name] = ProgramLog(name)
        return self.logs[name]


def kill_group(leader: int) -> None:
    """Kills what a program left behind: workers of a killed parent still hold its port."""
    if leader > 1:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)
