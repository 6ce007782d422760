"""What can be wrong with data."""

from __future__ import annotations


class DataError(ValueError):
    """The data of a job cannot be used; the text says what is wrong and what would work."""


class Absent(DataError):
    """The data are not at hand: nothing is there, or it cannot be reached."""


class Unreadable(ValueError):
    """One sample that cannot be used; the text is the reason shown to the user."""
