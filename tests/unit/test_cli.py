import argparse

import pytest

from spine_monai import cli
from spine_monai.cli.evaluate import number


@pytest.fixture
def failing(monkeypatch):
    """A command line whose one command raises what the test wants."""

    def install(error):
        def command(_options):
            raise error

        parser = argparse.ArgumentParser()
        parser.set_defaults(command=command, verbose=False)
        monkeypatch.setattr(cli, "build_parser", lambda: parser)

    return install


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("wrong"), 2),
        (FileNotFoundError("nothing there"), 2),
        (ImportError("pip install 'spine_monai[viz]'"), 2),
        (PermissionError("disk"), 3),
        (KeyboardInterrupt(), 75),
    ],
)
def test_every_kind_of_failure_has_its_exit_code(failing, capsys, error, code):
    failing(error)
    assert cli.main([]) == code
    said = capsys.readouterr().err
    assert str(error) in said
    assert said.count("\n") == 1


def test_an_unexpected_error_is_not_hidden(failing):
    failing(KeyError("a bug"))
    with pytest.raises(KeyError):
        cli.main([])


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["localize"], ["localize", "x"]])
def test_wrong_usage_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: spine-monai" in capsys.readouterr().err


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out.startswith("spine-monai 0.")


def test_an_infinite_median_is_shown_as_such():
    assert number(None) == "inf"
    assert number(1.23456) == "1.235"
