"""The log of answers: one line of JSON each, appended and never changed.

Several runs may append to one log at once. An answer is on its way to the disk before the next one is taken,
and what is wrong with a log is said, not repaired: but for a last line that was not written to its end, which
is cut, and a missing end of the last line, which is added.
"""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from legorec.files.disk import writing
from legorec.files.lock import locked
from legorec.texts.answer_index import AnswerIndex
from legorec.texts.claims import Claims
from legorec.texts.generator import TextAnswer, TextRequest
from legorec.texts.log_lines import lines_of, told_malformed, told_torn
from legorec.texts.records import LoggedAnswer, parse_record
from legorec.texts.secrets import secrets_of_environment, without

FLUSHED = 1.0  # seconds between two flushes to the disk itself: what a power failure may take


class AnswerLog:
    """A log that is open. Memory holds an index, 32 bytes for each answer; answers are read on demand.

    Args:
        path: of the log; it need not be there.
        say: called with a line about what was found wrong and mended.
        appends: False leaves the file as it is, and makes none.
        secrets: what is masked in every record; by default what the environment holds.

    Raises:
        ValueError: a line that is no record, with its number; or the file cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        say: Callable[[str], None] = print,
        appends: bool = True,
        secrets: Iterable[str] | None = None,
    ) -> None:
        self.path, self._say, self._appends = path, say, appends
        self._secrets = tuple(secrets_of_environment() if secrets is None else secrets)
        self._index, self._end, self._lines, self._answers = AnswerIndex(), 0, 0, 0
        self._lock, self._flushed = threading.RLock(), time.monotonic()
        self._claims: Claims | None = None
        self._file: io.FileIO | None = None
        self._open()
        try:
            if appends:
                self._claims = Claims(path.with_name(f"{path.name}.lock"))
                with locked(path, wait=True, create=True):
                    self._catch_up(alone=True)
            else:
                self._catch_up(alone=False)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> AnswerLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """Answers that were asked for; failures, and answers shared by a further id, are none."""
        return self._answers

    def find(self, key: str, id: str) -> LoggedAnswer | None:
        """The answer to a key: of this id, else of another with the same prompt. A failure is none."""
        with self._lock:
            for name in (_own(key, id), key):
                place = self._index.get(name)
                if place is not None and (found := parse_record(self._line_at(place))).key == key:
                    return found
        return None

    def get(self, key: str) -> TextAnswer | None:
        """The answer to a key, whichever request it is of: what a replay gives."""
        found = self.find(key, "")
        if found is None:
            return None
        request = TextRequest(found.id, (), found.template)
        return TextAnswer(request, found.texts, found.prompt_tokens, found.completion_tokens)

    def claim(self, key: str) -> bool:
        """Whether this run may ask for the answer to a key: no run does, and none has."""
        with self._lock:
            if self._claims is None or not self._claims.take(key):
                return False
            self._catch_up(alone=False)  # it was let go after its answer was written
            if self.find(key, "") is None:
                return True
            self._claims.give(key)
            return False

    def release(self, key: str) -> None:
        """Let others ask for the answer to a key."""
        with self._lock:
            if self._claims is not None:
                self._claims.give(key)

    def append(self, record: LoggedAnswer) -> None:
        """Write a record at the end of the log.

        Raises:
            WriteError: the disk did not take it; the log is as it was.
            ValueError: another program has written something else into the log.
        """
        assert self._appends
        line = self.masked(record).to_line()
        with self._lock, locked(self.path, wait=True, create=True):
            if self._file is None or not os.path.samestat(os.fstat(self._file.fileno()), self.path.stat()):
                self._begin_anew()
            self._catch_up(alone=True)
            self._write(line)
            self._note(line, self._end)
            self._end += len(line)
            if time.monotonic() - self._flushed > FLUSHED:
                self.flush()

    def share(self, record: LoggedAnswer, id: str) -> LoggedAnswer:
        """Note the answer to another id's request for this one too, whose prompt is the same."""
        shared = replace(record, id=id, shared=True)
        self.append(shared)
        return shared

    def masked(self, record: LoggedAnswer) -> LoggedAnswer:
        """The record as it is written: without the secrets that a server may have said."""
        texts = tuple(replace(each, text=without(each.text, self._secrets)) for each in record.texts)
        failed = None if record.failed is None else without(record.failed, self._secrets)
        return replace(record, texts=texts, failed=failed)

    def size(self) -> int:
        """Bytes of the file, with what others have appended."""
        return 0 if self._file is None else os.fstat(self._file.fileno()).st_size

    def flush(self) -> None:
        """Ask the system to put what was appended on the disk."""
        self._flushed = time.monotonic()
        if self._file is not None:
            with suppress(
                OSError
            ):  # a file system that cannot, and a disk that fails says so when it is read
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Put the log on the disk and let go of it."""
        if self._claims is not None:
            self._claims.close()
        if self._file is not None:
            if self._appends:
                self.flush()
            self._file.close()
        self._file = None

    def _open(self) -> None:
        try:
            if self._appends:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            there = self._appends or self.path.exists()
            # Without a buffer: another process may cut the end that this one has seen.
            self._file = io.FileIO(self.path, "a+" if self._appends else "r") if there else None
        except OSError as problem:
            what = "written" if self._appends else "read"
            raise ValueError(
                f"{self.path} cannot be {what} ({problem.strerror}); name another log of answers"
            ) from None

    def _begin_anew(self) -> None:
        """Someone has moved the log: what comes now must not go into a file that nobody finds."""
        self._say(f"{self.path} was removed or moved while a run wrote to it; it is begun anew")
        if self._file is not None:
            self._file.close()
        self._open()
        self._index, self._end, self._lines, self._answers = AnswerIndex(), 0, 0, 0

    def _catch_up(self, alone: bool) -> None:
        """Read what was appended since the last time, by whomever.

        Args:
            alone: nobody writes at the moment, so that a line without an end will get none.
        """
        if self._file is None:
            return
        if self.size() < self._end:
            raise ValueError(f"{self.path} was cut by another program while it was in use; run again")
        place = self._end
        for line in lines_of(self._file, place):
            if not line.endswith(b"\n"):
                if alone:
                    self._mend(line)
                return
            self._note(line, place)
            place += len(line)
            self._end = place

    def _mend(self, line: bytes) -> None:
        """End the last line, or cut it where it was not written to its end."""
        assert self._file is not None
        try:
            parse_record(line)
        except json.JSONDecodeError:
            self._say(told_torn(self.path, self._lines + 1, line, "cut"))
            os.truncate(self.path, self._end)
        except ValueError as problem:
            raise told_malformed(self.path, self._lines + 1, problem) from None
        else:
            self._write(b"\n")
            self._note(line, self._end)
            self._end += len(line) + 1

    def _note(self, line: bytes, place: int) -> None:
        """Put a whole line into the index."""
        self._lines += 1
        try:
            record = parse_record(line)
        except ValueError as problem:
            raise told_malformed(self.path, self._lines, problem) from None
        if record.failed is not None:
            return
        own = _own(record.key, record.id)
        if not record.shared and self._index.get(own) is None:
            self._answers += 1
        self._index.add(own, place)
        self._index.add(record.key, place)

    def _line_at(self, place: int) -> bytes:
        assert self._file is not None
        self._file.seek(place)
        line = b""
        while b"\n" not in line and (more := self._file.read(4096)):
            line += more
        return line.partition(b"\n")[0]

    def _write(self, data: bytes) -> None:
        """All of the data or none of it."""
        assert self._file is not None
        start = self.size()
        with writing(self.path, len(data)):
            try:
                left = memoryview(data)
                while left:
                    left = left[self._file.write(left) :]
            except OSError:
                with suppress(OSError):  # what is left of it then is a torn line
                    os.truncate(self.path, start)
                raise


def _own(key: str, id: str) -> str:
    return f"{key} {id}"
