"""Fixtures of all tests of the PACS door."""

import gc
import warnings

import pytest


@pytest.fixture(scope="module", autouse=True)
def collected():
    """Collect the sockets that pynetdicom leaves open, before they trouble another module."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
