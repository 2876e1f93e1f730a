"""Silence of pydicom, also in threads."""

import logging
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydicom.dataset import Dataset

from spine_monai.readers.quiet import silence_pydicom


def provoke():
    """Make pydicom warn of a value, which it quotes."""
    Dataset().StudyDate = "Doe^Jane"


def test_pydicom_would_quote_the_value():
    with pytest.warns(UserWarning, match="Doe"):
        provoke()


def test_its_warnings_and_its_log_are_silent(caplog):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        silence_pydicom()
        provoke()
    assert not caught
    assert "Doe" not in caplog.text


def test_the_silence_returns_after_the_filters_were_reset():
    silence_pydicom()
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            silence_pydicom()
            provoke()
            assert sum("pydicom" in str(entry[3]) for entry in warnings.filters) == 1


def test_threads_do_not_end_each_others_silence():
    def read(_):
        for _ in range(50):
            silence_pydicom()
            provoke()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(8))) == [None] * 8


def test_other_warnings_are_heard():
    silence_pydicom()
    with pytest.warns(UserWarning, match="of ours"):
        warnings.warn("of ours", UserWarning, stacklevel=1)
    assert logging.getLogger("spine_monai").filters == []
