"""The one error of the readers."""


class StudyError(ValueError):
    """A study cannot be used; the message says which file, what was expected and what came."""
