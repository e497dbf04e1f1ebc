"""The list of what is wrong with a dataset, and the point from which it is too much."""

from collections.abc import Iterable, Iterator, Sequence

from keras_maskrcnn.config import NO_CLASS
from keras_maskrcnn.data.records import Problem, Record

# So few broken ones do not stop anything, however small the dataset is.
FEW = 5


class ProblemLog:
    """Problems, each once, in the order in which they were met.

    Args:
        source: The dataset's file or folder.
        images: Number of images that were opened.
        annotations: Number of annotations in them.
        problems: Those met while opening; what is lost by them is not in the two numbers.

    Attributes:
        max_broken: The share of the images, or of the annotations, above which `check` raises.

    Example:
        >>> log = ProblemLog("train.json", images=1000, annotations=4000)
        >>> log.add(km.data.Problem("a.jpg", "truncated", lost="image"))
        >>> log.report()
        '1 problem in train.json\\n  a.jpg: truncated'
    """

    def __init__(
        self, source: str, images: int, annotations: int, problems: Iterable[Problem] = ()
    ):
        self.source = source
        self.max_broken = 0.1
        self._problems: dict[Problem, None] = {}
        self._lost = {"image": set(), "annotation": set()}
        for problem in problems:
            self._insert(problem)
        self._totals = {"image": images, "annotation": annotations}
        for kind, lost in self._lost.items():
            self._totals[kind] += len(lost)

    def __iter__(self) -> Iterator[Problem]:
        return iter(list(self._problems))  # a copy, since reading threads may add to it

    def __len__(self) -> int:
        return len(self._problems)

    def add(self, problem: Problem) -> None:
        """Adds a problem if it is new.

        Raises:
            ValueError: Something is lost by it, and too much is broken; see `check`.
        """
        self._insert(problem)
        if problem.lost:  # known ones too: of several reading threads each must stop
            self.check()

    def counts(self) -> dict[str, tuple[int, int]]:
        """How many cannot be used, and of how many, for `"image"` and for `"annotation"`."""
        return {kind: (len(lost), self._totals[kind]) for kind, lost in self._lost.items()}

    def check(self) -> None:
        """Refuses a dataset of which too much is broken.

        Raises:
            ValueError: More than `max_broken` of the images or annotations, and more than five,
                cannot be used; the message lists them.
        """
        for kind, (lost, total) in self.counts().items():
            if lost > max(FEW, self.max_broken * total):
                raise ValueError(
                    f"{self.source}: {lost} of {total} {kind}s cannot be used, more than "
                    f"{self.max_broken:.0%}. Mend them (keras-maskrcnn inspect-dataset lists "
                    "all), or raise the dataset's max_broken.\n"
                    f"{self.report()}"
                )

    def report(self, most: int = 10) -> str:
        """The number of problems and the first of them, a line each."""
        number = len(self._problems)
        lines = [f"{number} problem{'s' * (number != 1)} in {self.source}"]
        lines += [f"  {problem}" for problem in list(self)[:most]]
        if number > most:
            lines.append(f"  and {number - most} more")
        return "\n".join(lines)

    def _insert(self, problem):
        self._problems[problem] = None
        if problem.lost:
            self._lost[problem.lost].add(problem.where)


def nothing_to_train_on(source: str, records: Iterable[Record]) -> str | None:
    """That no object is left when crowds are left out, and what to do; None if there is one.

    Args:
        source: The dataset's.
        records: Gone through to the first object.
    """
    crowds = 0
    for record in records:
        if not all(instance.crowd for instance in record.instances):
            return None
        crowds += len(record.instances)
    if not crowds:
        return (
            f"{source}: nothing is left to train on, since no image has an object: check that "
            "annotations, images and classes belong together."
        )
    return (
        f"{source}: nothing is left to train on, since all {crowds} annotations are crowds, which "
        "training leaves out. CVAT exports the masks of its brush so: set their iscrowd to 0 if "
        "each is one object."
    )


def opening_advice(class_names: Sequence[str]) -> str:
    """The argument with which a dataset is opened that has a model's classes.

    Args:
        class_names: The model's; of those that stand for no category no dataset has an object.
    """
    chosen = "model.config.class_names"
    if NO_CLASS in class_names:
        chosen = f"[name for name in {chosen} if name != {NO_CLASS!r}]"
    return f"class_names={chosen}"


def listed(names: Sequence[str]) -> str:
    """The first ten of them, for a message."""
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
