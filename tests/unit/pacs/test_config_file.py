"""pacs.yaml as a file: each fault by its place, no secret in a message."""

import re
from pathlib import Path

import pytest

from spine_monai.pacs.config import PacsConfig
from spine_monai.pacs.config_file import part_of, read_config

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "pacs-yaml.md"


@pytest.fixture
def read(tmp_path):
    def call(text):
        (tmp_path / "pacs.yaml").write_text(text)
        return read_config(tmp_path / "pacs.yaml")

    return call


def test_the_example_of_the_page_is_valid(read, tmp_path):
    for name in ("certificates/hospital.pem", "secrets/pacs-password"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("x")
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), flags=re.S)
    config = read(example)
    assert config.remotes["web"].service.authority == tmp_path / "certificates" / "hospital.pem"
    assert config.pull.series["SeriesDescription"] == ("*T2*SAG*", "*SAG*T2*")
    assert str(config.serve.folder) == "/var/lib/spine-monai"


def test_every_fault_is_named_by_its_place_and_no_value(read):
    text = "node: {prot: 1, port: 0}\nremotes: {pacs: {dicomweb: {password: Geheim-4711}}}\n"
    with pytest.raises(ValueError, match="must be a valid configuration") as caught:
        read(text)
    said = str(caught.value)
    assert "node.prot: unknown key" in said
    assert "node.port: Input should be greater" in said
    assert "remotes.pacs.dicomweb.url: missing" in said
    assert "Geheim" not in said


def test_an_empty_file_says_what_it_may_hold(read):
    with pytest.raises(ValueError, match="must hold keys such as"):
        read("")


def test_no_yaml_is_an_error_with_its_line(read):
    with pytest.raises(ValueError, match="must be YAML: see line 2"):
        read("node:\n\tgeheim: 1")


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_config(tmp_path / "none.yaml")


def test_a_command_needs_its_part():
    with pytest.raises(ValueError, match="must have the part `pull`"):
        part_of(PacsConfig(), "pull", Path("pacs.yaml"))
