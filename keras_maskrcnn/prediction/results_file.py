"""COCO results in a file that a killed process goes on with where it stopped."""

import array
import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_maskrcnn.detections import Detections


@dataclasses.dataclass
class Progress:
    """How far the file is.

    Attributes:
        inputs: Inputs that were dealt with, the failed ones too.
        failures: Inputs that were passed over.
        results: Entries in the file.
        inputs_digest: Of the inputs that were dealt with.
        results_bytes: Length of the results that are complete.
        errors_bytes: Length of the list of failures that is complete.
    """

    inputs: int = 0
    failures: int = 0
    results: int = 0
    inputs_digest: str = hashlib.sha256().hexdigest()
    results_bytes: int = 0
    errors_bytes: int = 0


class ResultsFile:
    """A JSON array, an entry a line, that grows input by input and outlives a kill.

    Until `finish` the array is in `results.json.part`. `results.json.state` says how much of it
    is complete, and is replaced in one go by `commit`. A process that starts again with the same
    settings and inputs cuts off what came after the last commit and goes on from there, so the
    file becomes what an undisturbed run writes, byte for byte. Inputs that failed are listed in
    `results.errors.jsonl`, a JSON object a line.

    It is opened by `with`, which may raise all of the errors below but the first.

    Args:
        path: Where the finished file goes; it ends in `.json`.
        settings: What the results depend on beside the inputs, as JSON can hold it.

    Attributes:
        progress: How far the file is.
        errors_path: Where failures are listed.

    Raises:
        ValueError: The path does not end in `.json`. Or a run of other settings was begun there, or
            what it wrote was cut short.
        FileExistsError: There is a finished file.
        BlockingIOError: Another process is writing it.

    Example:
        >>> with ResultsFile("results.json", {"model": "m.keras"}) as results:
        ...     for number, file in results.remaining(enumerate(["a.jpg", "b.jpg"], 1)):
        ...         results.add(number, file, [json.dumps({"image_id": number})])
        ...         results.commit()
        ...     results.finish()
        >>> json.loads(pathlib.Path("results.json").read_text())
        [{'image_id': 1}, {'image_id': 2}]
    """

    def __init__(self, path: str | os.PathLike, settings: Mapping[str, Any]):
        self.path = pathlib.Path(path)
        if self.path.suffix != ".json":
            raise ValueError(f"{path}: the results file must end in .json.")
        self.settings = json.loads(json.dumps(dict(settings)))
        self.progress = Progress()
        self.errors_path = self.path.with_suffix(".errors.jsonl")
        self._part_path = self.path.with_name(self.path.name + ".part")
        self._state_path = self.path.with_name(self.path.name + ".state")
        self._digest = hashlib.sha256()
        self._part = self._errors = None

    def __enter__(self) -> "ResultsFile":
        self._refuse_overwriting()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._errors = self.errors_path.open("a+b")
        try:
            self._lock()
            self._refuse_overwriting()  # again: the other process may have finished meanwhile
            if self._state_path.exists():
                self._resume()
            else:
                self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        for file in (self._part, self._errors):
            if file is not None:
                file.close()

    def remaining(self, inputs: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
        """Those of the inputs, numbers and files, that the run before did not deal with.

        Raises:
            ValueError: The inputs that it dealt with are others.
        """
        inputs = iter(inputs)
        for _ in range(self.progress.inputs):
            self._hash(*next(inputs, (0, "")))
        if self._digest.hexdigest() != self.progress.inputs_digest:
            raise ValueError(
                f"{self._state_path}: the first {self.progress.inputs} inputs are not those that "
                f"the results were begun with. {self._advice('inputs')}"
            )
        return iter(()) if self._part is None else inputs

    def add(self, number: int, file: str, entries: Sequence[str]) -> None:
        """Writes the results of the next input.

        Args:
            number: Of the input.
            file: The input.
            entries: What goes into the array, JSON text of one line each.
        """
        for entry in entries:
            self._part.write((",\n" if self.progress.results else "\n").encode() + entry.encode())
            self.progress.results += 1
        self._count(number, file)

    def add_failure(self, number: int, file: str, reason: str) -> None:
        """Lists the next input as one that was passed over, and why."""
        self._errors.write(failure_line(number, file, reason).encode() + b"\n")
        self.progress.failures += 1
        self._count(number, file)

    def commit(self) -> None:
        """Makes what was added outlive a kill and a loss of power."""
        self.progress.results_bytes = _sync(self._part)
        self.progress.errors_bytes = _sync(self._errors)
        self.progress.inputs_digest = self._digest.hexdigest()
        state = {"settings": self.settings, "progress": dataclasses.asdict(self.progress)}
        new = self._state_path.with_name(self._state_path.name + ".new")
        with open(new, "wb") as file:
            file.write(json.dumps(state).encode())
            _sync(file)
        os.replace(new, self._state_path)

    def finish(self) -> None:
        """Closes the array and gives it its name."""
        if self._part is not None:
            self.commit()
            self._part.write(b"\n]\n")
            _sync(self._part)
            os.replace(self._part_path, self.path)
            _sync_folder(self.path.parent)  # the name lasts before what a new start needs goes
        self._state_path.unlink()

    def _refuse_overwriting(self):
        if self.path.exists() and not self._state_path.exists():
            raise FileExistsError(
                f"{self.path} is finished: delete it to begin anew, or name another output."
            )

    def _lock(self):
        try:
            fcntl.flock(self._errors, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(f"Another process is writing {self.path}.") from None

    def _begin(self):
        self._errors.truncate(0)
        self._errors.seek(0)
        self._part = self._part_path.open("wb")
        self._part.write(b"[")
        self.commit()

    def _resume(self):
        state = json.loads(self._state_path.read_bytes())
        _compare(state["settings"], self.settings, self._state_path, self._advice("settings"))
        self.progress = Progress(**state["progress"])
        if self.path.exists():  # killed after it was finished
            return
        lengths = self.progress.results_bytes, self.progress.errors_bytes
        self._part = self._part_path.open("r+b")
        for file, length in zip((self._part, self._errors), lengths, strict=True):
            if file.seek(0, os.SEEK_END) < length:
                raise ValueError(
                    f"{file.name} is shorter than {self._state_path} says. {self._advice('files')}"
                )
            file.truncate(length)
            file.seek(length)

    def _advice(self, what):
        return (
            f"Go on with the same {what}, or delete {self._part_path.name} and "
            f"{self._state_path.name} to begin anew."
        )

    def _count(self, number, file):
        self.progress.inputs += 1
        self._hash(number, file)

    def _hash(self, number, file):
        self._digest.update(f"{number}\t{file}\n".encode(errors="surrogateescape"))


def merge_results(paths: Sequence[str | os.PathLike], output: str | os.PathLike) -> int:
    """Joins results, of shards say, into one array by ascending image id.

    In memory are 32 bytes an entry. Entries of one image keep their order.

    Args:
        paths: Files with an entry a line, as `ResultsFile` writes them, or JSON lines.
        output: The file to write.

    Returns:
        The number of entries.

    Raises:
        ValueError: A line is not an entry.

    Example:
        >>> size = pathlib.Path("1.jsonl").write_text('{"image_id": 1}\\n{"image_id": 3}\\n')
        >>> size = pathlib.Path("2.jsonl").write_text('{"image_id": 2}\\n')
        >>> merge_results(["1.jsonl", "2.jsonl"], "results.json")
        3
    """
    ids, sources, offsets = array.array("q"), array.array("q"), array.array("q")
    new = f"{os.fspath(output)}.new"
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(path, "rb")) for path in paths]
        for source, file in enumerate(files):
            for image_id, offset in _find_entries(file):
                ids.append(image_id)
                sources.append(source)
                offsets.append(offset)
        merged = stack.enter_context(open(new, "wb"))
        merged.write(b"[")
        for count, i in enumerate(np.argsort(ids, kind="stable")):
            files[sources[i]].seek(offsets[i])
            text = files[sources[i]].readline().strip().rstrip(b",")
            merged.write((b",\n" if count else b"\n") + text)
        merged.write(b"\n]\n")
    os.replace(new, output)
    return len(ids)


def _find_entries(file):
    """The image id of each entry and where its line starts."""
    offset = 0
    for number, line in enumerate(file, 1):
        text = line.strip().rstrip(b",")
        if text not in (b"[", b"]", b""):
            try:
                yield int(json.loads(text)["image_id"]), offset
            except (ValueError, TypeError, KeyError):
                raise ValueError(
                    f"{file.name}, line {number}: expected one entry of COCO results, as `predict "
                    f"--input-list` writes them; got {text[:60].decode(errors='replace')!r}."
                ) from None
        offset += len(line)


def result_lines(
    found: Detections, image_id: int, file_name: str, score_threshold: float
) -> list[str]:
    """The detections that score enough as entries of COCO results, JSON text each."""
    found = found[found.scores >= score_threshold]
    return [
        json.dumps({**entry, "category_name": name, "file_name": file_name})
        for entry, name in zip(found.to_coco(image_id), found.class_names, strict=True)
    ]


def failure_line(image_id: int, file_name: str, reason: str) -> str:
    """A file that was passed over, and why, as JSON text."""
    reason = " ".join(reason.split())
    return json.dumps({"image_id": image_id, "file_name": file_name, "error": reason})


def _compare(begun, now, where, advice):
    names = [name for name in {**begun, **now} if begun.get(name) != now.get(name)]
    if names:
        changes = "; ".join(f"{name} {begun.get(name)}, now {now.get(name)}" for name in names)
        raise ValueError(f"{where}: the results were begun with {changes}. {advice}")


def _sync(file):
    """Has everything on the disk and returns the length."""
    file.flush()
    os.fsync(file.fileno())
    return file.tell()


def _sync_folder(path):
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
