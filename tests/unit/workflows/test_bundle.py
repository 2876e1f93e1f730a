import json
import sys
from pathlib import Path

import pytest

import spine_monai
from spine_monai.workflows import bundle as module
from spine_monai.workflows.bundle import describe_bundle, find_bundle, parse_config
from spine_monai.workflows.checks import check_bundle_root, check_not_empty, is_lower


def make_bundle(root):
    (root / "configs").mkdir(parents=True)
    (root / "configs" / "metadata.json").write_text(json.dumps({"version": "1.0.0"}))
    (root / "configs" / "inference.yaml").write_text("bundle_root: .\nepochs: 1\n")
    return root


def test_the_given_bundle_wins_over_the_environments(tmp_path, monkeypatch):
    given, other = make_bundle(tmp_path / "given"), make_bundle(tmp_path / "other")
    monkeypatch.setenv("SPINE_MONAI_BUNDLE", str(other))
    assert find_bundle(given) == given
    assert find_bundle() == other


def test_the_checkouts_bundle_is_the_default(monkeypatch):
    monkeypatch.delenv("SPINE_MONAI_BUNDLE", raising=False)
    assert (find_bundle() / "sample" / "datalist.json").is_file()


def test_an_installed_bundle_is_found(tmp_path, monkeypatch):
    monkeypatch.delenv("SPINE_MONAI_BUNDLE", raising=False)
    monkeypatch.setattr(spine_monai, "__file__", str(tmp_path / "site" / "spine_monai" / "x.py"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    installed = make_bundle(tmp_path / "share" / "spine_monai" / "bundles" / module.BUNDLE_NAME)
    assert find_bundle() == installed


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"must hold .*: model.pt, .* missing.*spine-monai train"):
        describe_bundle(make_bundle(tmp_path / "bundle"))


def test_an_unknown_id_cannot_be_overridden(tmp_path):
    root = make_bundle(tmp_path / "bundle")
    assert parse_config(root, "inference.yaml", epochs=5)["epochs"] == 5
    with pytest.raises(ValueError, match=r"inference.yaml must have the id 'epochss'"):
        parse_config(root, "inference.yaml", epochss=5)


@pytest.mark.parametrize("name", ["%b", "@b", "$b"])
def test_a_folder_whose_name_means_something_to_monai_is_a_folder(tmp_path, monkeypatch, name):
    make_bundle(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    parser = parse_config(Path(name), "inference.yaml")
    assert parser.get_parsed_content("bundle_root") == str(tmp_path / name)


def test_a_bundle_whose_path_monai_would_misread_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"bundle must be a path without '#'.*got .*b#1"):
        find_bundle(make_bundle(tmp_path / "b#1"))


def test_a_link_without_the_character_leads_to_a_bundle_with_it(tmp_path):
    make_bundle(tmp_path / "b#1")
    (tmp_path / "link").symlink_to(tmp_path / "b#1")
    parser = parse_config(find_bundle(tmp_path / "link"), "inference.yaml")
    assert parser.get_parsed_content("bundle_root") == str(tmp_path / "link")


def test_a_folder_without_metadata_is_no_bundle(tmp_path):
    with pytest.raises(ValueError, match=r"bundle_root must hold configs/metadata.json"):
        check_bundle_root(tmp_path)


def test_an_empty_dataset_is_an_error():
    check_not_empty([1], "training")
    with pytest.raises(ValueError, match=r"training must hold at least one case: got none"):
        check_not_empty([], "training")


def test_a_lower_error_is_better():
    assert is_lower(5.0, -1)
    assert is_lower(4.0, 5.0)
    assert not is_lower(6.0, 5.0)
