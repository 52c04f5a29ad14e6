"""The exceptions that learners are meant to read."""

import linecache
import traceback


class LabError(Exception):
    """A problem a learner can act on.

    The message says what happened, why, and what to do next, in that order, in plain words.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback: the learner's line, where there is one, and the message."""
        said = [f"{type(self).__name__}: {self}"]
        for frame, number in traceback.walk_tb(self.__traceback__):
            if frame.f_globals.get("__name__") == "__main__":  # the first such frame is the cell that was run
                line = linecache.getline(frame.f_code.co_filename, number).strip()
                return [f"In line {number} of this cell:", f"    {line}", "", *said]
        return said


class Interrupted(KeyboardInterrupt):
    """Somebody stopped what was running: the message says what is kept and how to go on.

    Like any interruption it stops "Run All Cells". status: what a command exits with, 128 and the number of the signal.
    """

    def __init__(self, message: str, status: int = 130) -> None:
        super().__init__(message)
        self.status = status

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback, which would say nothing that the reader wants to know."""
        return [str(self)]
