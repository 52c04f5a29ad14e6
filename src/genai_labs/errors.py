"""The one exception that learners are meant to read."""


class LabError(Exception):
    """A problem a learner can act on.

    The message says what happened, why, and what to do next, in that order, in plain words.
    """
