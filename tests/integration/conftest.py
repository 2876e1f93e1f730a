"""Fixtures of the integration tests: the real bundle, demo study and command line."""

import shutil
from pathlib import Path

import pytest

from spine_monai.cli import main

REPOSITORY = Path(__file__).parents[2]
BUNDLE = REPOSITORY / "bundles" / "spine_landmarks"
DEMO_SERIES = BUNDLE / "sample" / "sub-034"


@pytest.fixture(scope="session")
def bundle():
    return BUNDLE


@pytest.fixture(scope="session")
def demo_series():
    return DEMO_SERIES


@pytest.fixture
def run(capsys, caplog):
    """Run the command line; gives the exit code and everything that it said."""

    def call(*arguments):
        caplog.clear()
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return code, said.out + said.err + caplog.text

    return call


@pytest.fixture
def bundle_copy(tmp_path):
    """A bundle whose weights can be spoilt; the demo study stays behind."""
    copy = tmp_path / "bundle"
    shutil.copytree(BUNDLE, copy, ignore=shutil.ignore_patterns("sample", "runs", "predictions"))
    return copy
