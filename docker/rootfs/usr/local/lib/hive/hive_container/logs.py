"""Each program's output: line by line to `docker logs`, with its name; and rotated on disk."""

import os

#: Where files go. Not being able to write there costs the files, never the container.
DIRECTORY = "/var/log/hive"
MAX_BYTES = 10 * 1024 * 1024
BACKUPS = 3
#: A line longer than this is passed on in parts: a program that writes no line ends must not
#: fill our memory.
LONGEST_LINE = 16 * 1024
#: PostgreSQL's lines that say why it cannot go on, and how much of a line is quoted.
COMPLAINTS = (b"FATAL:", b"PANIC:")
LONGEST_QUOTE = 300
#: What `run-postgresql` and `run-app` begin the line with that says why they cannot go on.
REASON = b"hive: "
NOTE = b"hive: note: "


class ProgramLog:
    """Where the output of one program goes."""

    def __init__(self, name: str, directory: str = DIRECTORY):
        self.prefix = f"{name} | ".encode()
        self.path = os.path.join(directory, f"{name}.log")
        self.rest = b""
        self.begin()
        self.file = None
        self._open()

    def begin(self) -> None:
        """The program starts: what an earlier run of it said explains nothing."""
        #: The last line in which one of our own programs said why it cannot go on.
        self.reason = ""
        #: The last line of any kind, and the last one in which PostgreSQL gave up.
        self.last = self.complaint = b""

    def last_words(self) -> str:
        """What the program said in the end, as one line; empty when it said nothing."""
        said = self.complaint or self.last.strip()
        return said[:LONGEST_QUOTE].decode(errors="replace")

    def write(self, data: bytes) -> None:
        """Takes the next bytes of the program's output; passes on whole lines."""
        lines = (self.rest + data).split(b"\n")
        self.rest = lines.pop()
        if len(self.rest) > LONGEST_LINE:
            lines.append(self.rest)
            self.rest = b""
        if lines:
            self._emit(lines)

    def flush(self) -> None:
        """Passes on an unfinished last line: the program is gone."""
        if self.rest:
            lines, self.rest = [self.rest], b""
            self._emit(lines)

    def _emit(self, lines: list[bytes]) -> None:
        for line in lines:
            self.last = line if line.strip() else self.last
            for complaint in COMPLAINTS:
                if complaint in line:
                    self.complaint = line[line.index(complaint) :].strip()
            if line.startswith(REASON) and not line.startswith(NOTE):
                self.reason = line.removeprefix(REASON).decode(errors="replace")
        _write_all(1, b"".join(self.prefix + line + b"\n" for line in lines))
        if self.file is not None:
            self._keep(b"".join(line + b"\n" for line in lines))

    def _keep(self, data: bytes) -> None:
        try:
            if self.size + len(data) > MAX_BYTES:
                self._rotate()
            _write_all(self.file, data)
            self.size += len(data)
        except OSError as error:
            self._give_up(error)

    def _open(self) -> None:
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self.file = os.open(self.path, flags, 0o640)
            self.size = os.fstat(self.file).st_size
        except OSError as error:
            self._give_up(error)

    def _rotate(self) -> None:
        os.close(self.file)
        self.file = None
        for number in range(BACKUPS, 0, -1):
            older = self.path if number == 1 else f"{self.path}.{number - 1}"
            if os.path.exists(older):
                os.rename(older, f"{self.path}.{number}")
        self._open()

    def _give_up(self, error: OSError) -> None:
        if self.file is not None:
            os.close(self.file)
            self.file = None
        note = f"no more log file {self.path} ({error.strerror}); docker logs has it all"
        _write_all(1, self.prefix + note.encode() + b"\n")


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
