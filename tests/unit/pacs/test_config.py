"""What may stand in pacs.yaml, and that its page names every key."""

import re
from datetime import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from spine_monai.pacs import config
from spine_monai.pacs.config import DicomWeb, Dimse, Hours, Node, PacsConfig, Secret, check_aet

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "pacs-yaml.md"
PACS = {"dimse": {"aet": "PACS"}}


def parts_of(module):
    kinds = [one for one in vars(module).values() if isinstance(one, type)]
    return [one for one in kinds if issubclass(one, module.Part) and one is not module.Part]


def sections():
    """Keys and defaults that the page's tables show, by heading."""
    found = {}
    for block in re.split(r"^#+ ", PAGE.read_text(), flags=re.M)[1:]:
        rows = re.findall(r"^\| (`.+?`) \| (.+?) \|", block, flags=re.M)
        table = found.setdefault(block.split("\n")[0].lower(), {})
        for keys, default in rows:
            table |= dict.fromkeys(re.findall(r"`(\w+)`", keys), default.strip("`"))
    return found


def test_the_page_names_every_key():
    words = set(re.findall(r"`(\w+)`", PAGE.read_text())) | set(sections())
    parts = parts_of(config)
    assert len(parts) > 10
    assert not {key for one in parts for key in one.model_fields if key not in words}


@pytest.mark.parametrize("name", ["node", "dimse", "dicomweb", "pull", "push", "serve", "watch"])
def test_a_table_of_the_page_is_its_model(name):
    model = {one.__name__.lower(): one for one in parts_of(config)}[name]
    rows = sections()[name]
    assert rows.keys() == model.model_fields.keys()
    for key, field in model.model_fields.items():
        if field.is_required():
            assert rows[key] == "-", key
        elif isinstance(field.default, int | float):
            assert float(rows[key]) == field.default, key
        elif isinstance(field.default, str):
            assert rows[key] == field.default, key


def test_who_listens_does_so_for_this_machine_alone():
    assert (Node().host, Node().aet, Node().allowed_calling_aets) == ("127.0.0.1", "SPINE", ())


@pytest.mark.parametrize("aet", ["", " ", "A" * 17, "A\\B", "Ä"])
def test_an_impossible_title_is_refused(aet):
    with pytest.raises(ValueError, match="1 to 16 printable ASCII"):
        check_aet(aet)


def test_spaces_around_a_title_do_not_count():
    assert check_aet(" PACS ") == "PACS"


def test_an_unknown_key_is_refused():
    with pytest.raises(ValidationError, match="prot"):
        Dimse.model_validate({"aet": "PACS", "prot": 11})


def test_a_secret_is_the_first_line_of_a_file(tmp_path):
    (tmp_path / "secret").write_text("geheim \nmore\n")
    assert Secret(file=tmp_path / "secret").read() == "geheim"


def test_a_secret_stands_in_the_environment(monkeypatch):
    monkeypatch.setenv("SPINE_SECRET", "geheim")
    assert Secret(env="SPINE_SECRET").read() == "geheim"


def test_no_secret_is_an_error(tmp_path, monkeypatch):
    monkeypatch.delenv("SPINE_SECRET", raising=False)
    (tmp_path / "secret").write_text("")
    with pytest.raises(ValueError, match=r"the first line of .*secret must hold the secret"):
        Secret(file=tmp_path / "secret").read()
    with pytest.raises(ValueError, match="the variable SPINE_SECRET must hold the secret"):
        Secret(env="SPINE_SECRET").read()


@pytest.mark.parametrize("places", [{}, {"env": "A", "file": __file__}])
def test_a_secret_stands_in_one_place(places):
    with pytest.raises(ValidationError, match="either `file` or `env`"):
        Secret(**places)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"user": "u"}, "`user` and `password` must go together"),
        ({"user": "u", "password": {"env": "P"}, "token": {"env": "T"}}, "must have either"),
        ({"certificate": __file__}, "`certificate` and `key` must go together"),
        ({"url": "https://u:p@pacs"}, "pattern"),
        ({"url": "ftp://pacs"}, "pattern"),
    ],
)
def test_a_service_says_who_we_are_in_one_way(values, reason):
    with pytest.raises(ValidationError, match=reason):
        DicomWeb.model_validate({"url": "https://pacs/dicom-web"} | values)


@pytest.mark.parametrize("remote", [{}, PACS | {"dicomweb": {"url": "http://pacs"}}])
def test_a_remote_is_one_thing(remote):
    with pytest.raises(ValidationError, match="either `dimse` or `dicomweb`"):
        PacsConfig.model_validate({"remotes": {"pacs": remote}})


def test_a_node_is_no_service():
    remotes = PacsConfig.model_validate({"remotes": {"pacs": PACS}}).remotes
    with pytest.raises(ValueError, match="must be a DICOMweb service"):
        _ = remotes["pacs"].service


@pytest.mark.parametrize("part", ["pull", "push"])
def test_a_part_names_a_known_remote(part):
    with pytest.raises(ValidationError, match=f"{part} names the remote other.*: pacs"):
        PacsConfig.model_validate({"remotes": {"pacs": PACS}, part: {"remote": "other"}})


def test_hours_may_reach_over_midnight():
    night, day = Hours(start=time(20), end=time(6)), Hours(start=time(8), end=time(17))
    assert [night.holds(time(hour)) for hour in (19, 20, 23, 0, 5, 6)] == [
        *(False, True, True, True, True, False)
    ]
    assert [day.holds(time(hour)) for hour in (7, 8, 16, 17)] == [False, True, True, False]


def test_hours_that_begin_when_they_end_are_the_whole_day():
    assert all(Hours(start=time(8), end=time(8)).holds(time(hour)) for hour in range(24))
