"""When a program that ends again and again is given up."""

import os
import signal

#: A run this long is a good one: with it, counting begins anew.
GOOD_RUN_SECONDS = 60
#: As many ends in a row without a good run are flapping: no matter how quickly they follow
#: one another. (A count within a window never sees a program that dies every 15 s.)
SHORT_RUNS = 6

#: SIGKILL is not the program's own doing: an operator sends it, or a kernel short of memory. More
#: of them than this within so many seconds is flapping, too.
KILLS = 20
KILL_SECONDS = 60


class Steadiness:
    """What is known of one program's ends."""

    def __init__(self) -> None:
        self.short_runs = 0
        self.kills: list[float] = []

    def verdict(self, ran_seconds: float, status: int, now: float) -> str | None:
        """Takes an end that nobody asked for: how long the program ran, its wait status, and the
        time in seconds. Says why it is to be given up, or None."""
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            self.kills = [at for at in self.kills if now - at < KILL_SECONDS] + [now]
            if len(self.kills) > KILLS:
                return f"was killed {len(self.kills)} times within {KILL_SECONDS} s"
            return None
        self.short_runs = 0 if ran_seconds >= GOOD_RUN_SECONDS else self.short_runs + 1
        if self.short_runs < SHORT_RUNS:
            return None
        return (
            f"ended {self.short_runs} times in a row,"
            f" each time within {GOOD_RUN_SECONDS} s of its start"
        )
