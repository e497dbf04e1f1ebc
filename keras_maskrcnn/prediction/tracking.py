"""The same object by the same number, from frame to frame."""

import numpy as np

from keras_maskrcnn.detections import Detections

# An object is followed from this score on, that of the command line; below it, what is followed
# already is found again.
START_SCORE = 0.5


class Tracker:
    """Follows objects through the frames of one video by ByteTrack, of the library `trackers`.

    An object gets its number in the second frame in which it is found, and keeps it while it is
    hidden for up to a second.

    Args:
        fps: Frames a second.

    Raises:
        ModuleNotFoundError: supervision or trackers is not installed.

    Example:
        >>> tracker = Tracker(fps=25)
        >>> for left in (10, 14, 18):
        ...     found = Detections([[left, 10, left + 50, 60]], [0.9], [0], None, (100, 100))
        ...     found = tracker.update(found)
        >>> found.track_ids
        array([1], dtype=int32)
    """

    def __init__(self, fps: float):
        try:
            import supervision
            import trackers
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "Objects are followed with supervision and trackers: "
                "pip install 'maskrcnn-keras[video]'"
            ) from error
        self._detections = supervision.Detections
        self._tracker = trackers.ByteTrackTracker(
            lost_track_buffer=30,  # of 30 frames a second, whatever the video has
            frame_rate=fps,
            track_activation_threshold=START_SCORE,
            high_conf_det_threshold=START_SCORE,
        )
        self._numbers: dict[int, int] = {}

    def update(self, found: Detections) -> Detections:
        """The detections of the next frame, to which `track_ids` are added."""
        tracked = self._tracker.update(
            self._detections(
                xyxy=found.boxes,
                confidence=found.scores,
                class_id=found.class_ids,
                data={"index": np.arange(len(found))},  # they come back in another order
            )
        )
        found.track_ids = np.full(len(found), -1, np.int32)
        if len(tracked):
            for index, track_id in zip(tracked.data["index"], tracked.tracker_id, strict=True):
                if track_id >= 0:
                    # Theirs are counted over all videos of the process.
                    number = self._numbers.setdefault(int(track_id), len(self._numbers) + 1)
                    found.track_ids[index] = number
        return found
