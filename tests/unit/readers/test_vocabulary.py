"""The words that scanners and radiographers use; examples are protocol names as sites have them."""

import pytest
from pydicom.dataset import Dataset

from spine_monai.readers.vocabulary import codes_of, level_of, words_of


def header(description="", protocol="", manufacturer="", body_part=""):
    dataset = Dataset()
    dataset.SeriesDescription, dataset.ProtocolName = description, protocol
    dataset.Manufacturer, dataset.BodyPartExamined = manufacturer, body_part
    return dataset


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ("t2_tse_sag", {"T2"}),
        ("SAGT2TSE", {"T2"}),
        ("Sag T2 FRFSE", {"T2"}),
        ("T2W_TSE 4mm", {"T2"}),
        ("T2WI/TSE/SAG", {"T2"}),
        ("t1_tse_sag", {"T1"}),
        ("T1W SAG", {"T1"}),
        ("Sag T1 T10-T12", {"T1"}),
        ("level T12", set()),
        ("PD TSE SAG", {"PD"}),
        ("t2_tse_sag_fs", {"T2", "fat-suppressed"}),
        ("Sag T2 FS", {"T2", "fat-suppressed"}),
        ("SAG T2FS", {"T2", "fat-suppressed"}),
        ("Sag T2 FatSat", {"T2", "fat-suppressed"}),
        ("sag fat_sat t2", {"T2", "fat-suppressed", "fat"}),
        ("T2W_SPAIR SAG", {"T2", "fat-suppressed"}),
        ("T2 SPIR", {"T2", "fat-suppressed"}),
        ("T2 no FS", {"T2", "fat-suppressed", "not fat-suppressed"}),
        ("Sag FSE T2", {"T2"}),
        ("STIR SAG", {"STIR"}),
        ("t2_tirm_sag", {"T2", "STIR"}),
        ("T2 STIR longTE", {"T2", "STIR"}),
        ("T2 FLAIR SAG", {"FLAIR"}),
        ("t2_spc_da-fl_sag_dark-fluid", {"T2", "FLAIR"}),
        ("T2* SAG", {"T2*"}),
        ("T2_STAR", {"T2*"}),
        ("SAG MERGE", {"T2*"}),
        ("t2_me2d_medic_sag", {"T2", "T2*"}),
        ("T2 Map Images", {"map"}),
        ("t2_tse_dixon_sag_W", {"T2", "Dixon", "water"}),
        ("t2_tse_dixon_sag_F", {"T2", "Dixon", "fat"}),
        ("t2_tse_dixon_sag_in", {"T2", "Dixon", "in phase"}),
        ("t2_tse_dixon_sag_opp", {"T2", "Dixon", "opposed phase"}),
        ("WATER: Sag T2 IDEAL", {"T2", "Dixon", "water"}),
        ("T2 mDIXON", {"T2", "Dixon"}),
        ("Sag T2 FSE-Flex", {"T2", "Dixon"}),
        ("sag T2 flex coil", {"T2"}),
        ("localizer", {"localizer"}),
        ("haste_loc_sag", {"localizer"}),
        ("3-Plane Loc", {"localizer"}),
        ("Survey_32ch", {"localizer"}),
        ("3 Plane Localiser", {"localizer"}),
        ("block t2", {"T2"}),
        ("t2_spc_sag MPR", {"T2", "reformat"}),
        ("t1_mprage_sag", {"T1"}),
        ("ep2d_diff_sag", {"diffusion"}),
        ("MYELO sag thick", {"myelography"}),
        ("L-SPINE", set()),
    ],
)
def test_descriptions_are_understood(description, words):
    assert words_of(header(description)) == words
    assert words_of(header(description.lower())) == words


def test_the_protocol_counts_too():
    assert words_of(header("sag", "t2_tse")) == {"T2"}


def test_the_protocol_of_ge_names_the_examination():
    assert words_of(header("Sag T2", "L-SPINE STIR", "GE MEDICAL SYSTEMS")) == {"T2"}
    assert words_of(header("", "Sag T2", "GE MEDICAL SYSTEMS")) == {"T2"}


@pytest.mark.parametrize(
    ("attributes", "level"),
    [
        ({"description": "Sag T2 L-Spine"}, "lumbar"),
        ({"description": "t2_tse_sag_LWS"}, "lumbar"),
        ({"description": "LUMBAR SAG T2"}, "lumbar"),
        ({"description": "Sag T2 TL spine"}, "lumbar"),
        ({"description": "Sag T2 C-Spine"}, "other"),
        ({"description": "t2_tse_sag_HWS"}, "other"),
        ({"description": "T2 thoracic"}, "other"),
        ({"description": "sag T2"}, ""),
        ({"description": "Sag T2 C-Spine", "body_part": "LSPINE"}, "other"),
        ({"description": "sag T2", "protocol": "C-SPINE"}, "other"),
        ({"description": "sag T2", "body_part": "LSPINE"}, "lumbar"),
        ({"description": "sag T2", "body_part": "SPINE"}, ""),
    ],
)
def test_the_level_is_read_from_the_nearest_text(attributes, level):
    assert level_of(header(**attributes)) == level


def test_codes_are_gathered_in_upper_case():
    dataset = Dataset()
    dataset.ScanningSequence, dataset.ScanOptions = ["SE", "IR"], "FS"
    assert codes_of(dataset, "ScanningSequence", "ScanOptions", "ImageType") == {"SE", "IR", "FS"}


def test_a_header_without_text_has_no_words():
    assert words_of(Dataset()) == frozenset()
    assert level_of(Dataset()) == ""
