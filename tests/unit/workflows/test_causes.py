from spine_monai.workflows.causes import in_one_line, root_cause


def wrapped(error):
    """As MONAI wraps what happens in a transform, twice."""
    try:
        try:
            try:
                raise error
            except type(error) as cause:
                raise RuntimeError("applying transform") from cause
        except RuntimeError as cause:
            raise RuntimeError("Failed to evaluate") from cause
    except RuntimeError as outer:
        return outer


def test_the_cause_below_monais_wrappers_is_found():
    error = ValueError("the spacing is absent")
    assert root_cause(wrapped(error)) is error


def test_a_cause_of_our_own_error_is_left_where_it_is():
    error = ValueError("the file is damaged")
    error.__cause__ = EOFError("end")
    assert root_cause(wrapped(error)) is error


def test_a_message_is_one_line_and_says_its_type_where_needed():
    assert in_one_line(wrapped(ValueError("two\n  lines"))) == "two lines"
    assert in_one_line(MemoryError("too large")) == "MemoryError: too large"
