"""Weighting from numbers, codes and text; the cases are how scanners of each maker write them."""

import pytest

from spine_monai.readers.weighting import weighting_of

SPIN, GRADIENT = "SE", "GR"


def header(kind=SPIN, *, times, **attributes):
    names = ("EchoTime", "RepetitionTime", "InversionTime")
    values = dict(zip(names, times, strict=False))
    return {"ScanningSequence": kind, "MRAcquisitionType": "2D"} | values | attributes


CLINICAL = {
    "Siemens TSE": (header(times=(102, 3500), SequenceVariant=["SK", "SP", "OSP"]), "T2"),
    "Siemens SPACE": (header(times=(122, 1500), MRAcquisitionType="3D"), "T2"),
    "Siemens SPACE, nominal TE": (header(times=(408, 3200), MRAcquisitionType="3D"), "T2"),
    "GE FRFSE": (
        header(times=(98.6, 3100), ScanOptions=["FAST_GEMS", "EDR_GEMS", "TRF_GEMS"]),
        "T2",
    ),
    "GE PROPELLER": (header("RM", times=(95, 4200), ScanOptions=["SAT_GEMS"]), "T2"),
    "Philips TSE": (header(times=(120, 2800), ScanOptions="FC", InversionTime=0), "T2"),
    "Philips VISTA": (header(times=(200, 1300), MRAcquisitionType="3D"), "T2"),
    "Canon FSE": (header(times=(108, 3600), SequenceVariant="NONE"), "T2"),
    "Hitachi low field": (header(times=(120, 4000)), "T2"),
    "GRASE": (header([SPIN, GRADIENT], times=(100, 3000)), "T2"),
    "T1 TSE": (header(times=(9.6, 620)), "T1"),
    "PD TSE": (header(times=(30, 3000)), "PD"),
    "PD, Hitachi of dicom_io": (header(times=(12, 4000)), "PD"),
    "between PD and T2": (header(times=(50, 3000)), "PD"),
    "long TE, short TR": (header(times=(80, 900)), "mixed"),
    "TE and TR between all": (header(times=(45, 800)), "mixed"),
    "2-D HASTE localizer": (header(times=(88, 1000)), "mixed"),
    "myelography": (header(times=(760, 8000)), "myelography"),
    "STIR": (header([SPIN, "IR"], times=(46, 4000, 160)), "STIR"),
    "STIR of low field": (header("IR", times=(25, 2500, 85)), "STIR"),
    "STIR at 3 T": (header("IR", times=(70, 4500, 230)), "STIR"),
    "STIR, coded as spin echo": (header(times=(60, 4000, 150)), "STIR"),
    "STIR without TR": (header("IR", times=(60, None, 150)), "STIR"),
    "T1 FLAIR of GE": (header([SPIN, "IR"], times=(22, 2400, 780)), "T1"),
    "T2 FLAIR": (header([SPIN, "IR"], times=(120, 9000, 2500)), "FLAIR"),
    "3-D FLAIR, Siemens of dicom_io": (header([SPIN, "IR"], times=(394, 6000, 2200)), "FLAIR"),
    "3-D FLAIR, Philips of dicom_io": (header("IR", times=(386.754, 4800, 1650)), "FLAIR"),
    "inversion time unknown": (header("IR", times=(90, 4000)), "inversion recovery"),
    "double inversion": (header(times=(90, 7500), InversionRecovery="YES"), "inversion recovery"),
    "PSIR": (header("IR", times=(90, 4000, 400)), "inversion recovery"),
    "BRAVO, GE of dicom_io": (header(GRADIENT, times=(3.164, 8.9, 900)), "T1"),
    "MPRAGE": (header([GRADIENT, "IR"], times=(2.98, 2300, 900)), "T1"),
    "MEDIC": (header(GRADIENT, times=(17, 450)), "T2*"),
    "localizer": (header(GRADIENT, times=(3.7, 7.2)), "gradient echo"),
    "gradient echo of Enhanced MR": (
        header(None, times=(70, 2000), EchoPulseSequence="GRADIENT"),
        "T2*",
    ),
    "DTI, Canon of dicom_io": (header([SPIN, "EP"], times=(79, 10000)), "echo-planar"),
    "fMRI, Siemens of dicom_io": (header("EP", times=(30, 3000)), "echo-planar"),
    "EPI of Enhanced MR": (
        header(None, times=(80, 4000), EchoPlanarPulseSequence="YES"),
        "echo-planar",
    ),
    "diffusion by TSE": (header(times=(90, 4000), DiffusionBValue=600.0), "diffusion"),
    "b = 0 says nothing": (header(times=(90, 4000), DiffusionBValue=0.0), "T2"),
    "a short TI inverts nothing": (header(times=(100, 3000, 18)), "T2"),
}


@pytest.mark.parametrize(("attributes", "name"), CLINICAL.values(), ids=CLINICAL)
def test_the_numbers_tell(one_series, attributes, name):
    assert weighting_of(one_series(**attributes)).name == name


def test_the_evidence_names_the_numbers(one_series):
    weighting = weighting_of(one_series(EchoTime=102, RepetitionTime=3510.5))
    assert (weighting.evidence, weighting.is_by_text) == ("TE 102 ms, TR 3510.5 ms", False)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("STIR", "STIR"),
        ("FLUID_ATTENUATED", "FLAIR"),
        ("DIFFUSION", "diffusion"),
        ("T2_STAR", "T2*"),
        ("UNKNOWN", "T2"),
        ("T1", "T2"),
    ],
)
def test_a_code_of_contrast_stands_above_the_times_only_if_they_cannot_tell(one_series, code, name):
    assert weighting_of(one_series(AcquisitionContrast=code)).name == name


def test_a_code_of_contrast_stands_in_for_missing_times(one_series):
    weighting = weighting_of(one_series(RepetitionTime=None, AcquisitionContrast="T2"))
    assert (weighting.name, weighting.evidence) == ("T2", "AcquisitionContrast T2")


SUPPRESSED = {
    "standard code": {"ScanOptions": ["PFP", "FS"]},
    "GE": {"ScanOptions": ["FAST_GEMS", "SAT_GEMS", "FS"]},
    "Enhanced MR": {"SpectrallySelectedSuppression": "FAT"},
    "water excitation": {"SpectrallySelectedExcitation": "WATER"},
    "water of Dixon, Siemens": {"ImageType": ["DERIVED", "PRIMARY", "DIXON", "WATER"]},
    "water of Dixon, Philips": {"ImageType": ["ORIGINAL", "PRIMARY", "W", "W", "DERIVED"]},
    "text": {"SeriesDescription": "t2_tse_sag_fs"},
    "text SPAIR": {"ProtocolName": "T2W_SPAIR"},
    "text of Dixon": {"SeriesDescription": "T2 IDEAL sag"},
}


@pytest.mark.parametrize("attributes", SUPPRESSED.values(), ids=SUPPRESSED)
def test_fat_suppression_is_seen(one_series, attributes):
    weighting = weighting_of(one_series(**attributes))
    assert weighting.name == "T2 fat-suppressed"
    assert weighting.evidence.startswith("TE 100 ms, TR 3000 ms; ")


NOT_SUPPRESSED = {
    "spatial saturation": {"ScanOptions": ["SAT_GEMS", "SFS"]},
    "no suppression": {"SpectrallySelectedSuppression": "NONE"},
    "text": {"SeriesDescription": "t2 sag non fs"},
    "letters inside a word": {"SeriesDescription": "T2 FSE offset"},
    "in phase by text": {"SeriesDescription": "t2_tse_dixon_sag_in"},
    "in phase by code": {"SeriesDescription": "t2 dixon", "ImageType": ["DERIVED", "IN_PHASE"]},
}


@pytest.mark.parametrize("attributes", NOT_SUPPRESSED.values(), ids=NOT_SUPPRESSED)
def test_fat_is_not_taken_for_suppressed(one_series, attributes):
    assert weighting_of(one_series(**attributes)).name == "T2"


@pytest.mark.parametrize(
    ("description", "name"),
    [
        ("t1_tse_sag", "T2"),
        ("pd", "T2"),
        ("sag stir", "STIR"),
        ("tirm", "STIR"),
        ("t2 flair", "FLAIR"),
        ("t2 myelo", "myelography"),
    ],
)
def test_the_text_is_only_asked_what_the_numbers_leave_open(one_series, description, name):
    assert weighting_of(one_series(SeriesDescription=description)).name == name


@pytest.mark.parametrize(
    ("description", "name"), [("t2_tse", "T2"), ("t2/pd double echo", "PD"), ("sag", "PD")]
)
def test_the_text_decides_between_pd_and_t2(one_series, description, name):
    series = one_series(EchoTime=52, SeriesDescription=description)
    assert weighting_of(series).name == name


@pytest.mark.parametrize(
    ("description", "name", "evidence"),
    [
        ("t2_tse_sag", "T2", "the word T2 in its description, TE being absent"),
        ("t1_tse_sag", "T1", "the word T1 in its description, TE being absent"),
        ("t1/t2", "unknown", "its description names several, TE being absent"),
        ("T2* sag", "T2*", "the word T2* in its description, TE being absent"),
        ("sag", "unknown", "TE and the word T2 are absent"),
        ("t2_tse_fs", "T2 fat-suppressed", None),
    ],
)
def test_the_text_decides_where_a_number_is_missing_and_is_said_to(
    one_series, description, name, evidence
):
    weighting = weighting_of(one_series(EchoTime=None, SeriesDescription=description))
    assert (weighting.name, weighting.is_by_text) == (name, True)
    assert evidence in (None, weighting.evidence)


def test_no_evidence_quotes_the_text(one_series):
    for attributes in ({}, {"EchoTime": None}, {"ScanOptions": "FS"}, {"ScanningSequence": "IR"}):
        for text in ("Jane Doe sag T2 FS", "Jane Doe STIR", "Jane Doe"):
            weighting = weighting_of(one_series(SeriesDescription=text, **attributes))
            assert "Jane" not in f"{weighting}"
