"""What really went wrong, below the errors that MONAI wraps around it."""


def root_cause(error: BaseException) -> BaseException:
    """Return the first error that is not one of MONAI's plain ``RuntimeError`` wrappers.

    Transforms, config expressions and config components all wrap what happens inside them.
    """
    while type(error) is RuntimeError and error.__cause__ is not None:
        error = error.__cause__
    return error


def in_one_line(error: BaseException) -> str:
    """Return the cause's message, with its type where the message alone would not tell."""
    cause = root_cause(error)
    message = " ".join(str(cause).split())
    return message if isinstance(cause, ValueError) else f"{type(cause).__name__}: {message}"
