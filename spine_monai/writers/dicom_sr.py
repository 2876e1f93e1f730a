"""``landmarks.dcm``: the landmarks as a DICOM structured report.

A Comprehensive 3D SR of template TID 1500 with one TID 1410 group a landmark: its point as SCOORD3D
in the frame of reference of the images, and the numbers inferred from that same point. The group is
shaped so that OHIF, 3D Slicer and the validators take it alike: the tracking identifier is the one
by which OHIF knows a probe, the label is the comment, and the level is the finding site.

DICOM keeps SCOORD3D in 32 bits: a coordinate comes back within 0.000004 mm where it is under
128 mm, and within 0.000016 mm where it is under 512 mm.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from spine_monai.landmarks import LUMBAR13, Landmark
from spine_monai.readers.series import Instance, Series
from spine_monai.writers.dicom_reference import (
    Mark,
    frame_number,
    marks_of,
    note_of,
    place_marks,
    read_header,
    reference_image,
    slice_instance,
)
from spine_monai.writers.dicom_study import (
    SOFTWARE,
    building,
    object_arguments,
    reading,
    result_uid,
    save_in_study,
    weights_digest,
)
from spine_monai.writers.result import Result

SR_FILE = "landmarks.dcm"
PRIVATE_SCHEME = "99SPINEMONAI"
# OHIF and cornerstone know by its start that the group is a point to show.
TRACKING_IDENTIFIER = "Cornerstone3DTools@^0.1.0:Probe"
CENTRES = {
    "disc": ("DISC_CENTRE", "Centre of intervertebral disc"),
    "vertebra": ("VERTEBRA_CENTRE", "Centre of vertebral body"),
}
SPINE_LANDMARK = ("SPINE_LANDMARK", "Landmark of the spine")
RAW_CONFIDENCE = ("RAW_CONFIDENCE", "Uncalibrated confidence")
RADIUS95 = ("RADIUS95", "Radius holding 95 % of the belief")
RAW_RADIUS95 = ("RAW_RADIUS95", "Uncalibrated radius holding 95 % of the belief")
QUALITATIVE_EVALUATIONS = ("C0034375", "UMLS", "Qualitative Evaluations")
# Warnings whose words hold no path and concern whoever reads the report.
REPORTED_WARNINGS = (
    *("uncertain_landmarks", "level_in_doubt", "landmarks_out_of_order"),
    "extreme_grey_values",
)
FINDING_SITE, COMMENT, MEASUREMENT_GROUP = "363698007", "121106", "125007"


def write_sr(result: Result, content: Mapping[str, Any], series: Series, path: Path) -> None:
    """Write the landmarks as a structured report in the study of their images.

    Args:
        result: landmarks and slice.
        content: of ``landmarks.json``.
        series: the images; see ``check_is_dicom``.
        path: file to write.

    Raises:
        ValueError: no landmark was found, or the series does not hold the slice.
    """
    from highdicom.sr import Comprehensive3DSR

    main, marks = slice_instance(result, series), marks_of(result)
    shown = [image for image, _ in place_marks(result, series)]
    with building(series):
        header = read_header(main)
        groups = [_group(mark, content, series) for mark in marks]
        library = [reference_image(image, series) for image in shown]
        report = _report(groups, library, content, series)
        _number_frames(report[0], shown)
        _add_remarks(report[0], content)
        dataset = Comprehensive3DSR(
            evidence=[reference_image(image, series) for image in series.instances],
            content=report[0],
            is_complete=True,
            is_final=False,
            is_verified=False,
            coding_schemes=[_coding_scheme()],
            **object_arguments("sr", content, series),
        )
        save_in_study(dataset, header, path)


def points_lps_of_sr(path: Path) -> dict[str, NDArray[np.float64]]:
    """Read the points of a report: (3,) LPS in mm by landmark name.

    Raises:
        ValueError: the file is no such report, or a point's label contradicts its finding site.
    """
    with reading(path, "a structured report of landmarks"):
        root = pydicom.dcmread(path).ContentSequence
        groups = [item for item in _walk(root) if _code(item) == MEASUREMENT_GROUP]
        rows = [(_name(group), _name_of_site(group), _point_lps(group)) for group in groups]
    wrong = [f"{name} at {site}" for name, site, _ in rows if site not in (None, name)]
    if wrong or not rows:
        msg = f"{path} must have points whose label agrees with their finding site: "
        msg += f"got {', '.join(wrong) or 'no point'}."
        raise ValueError(msg)
    return {name: point for name, _, point in rows}


def _report(
    groups: Sequence[Any], library: Sequence[Any], content: Mapping[str, Any], series: Series
) -> Any:
    from highdicom.sr import MeasurementReport
    from pydicom.sr.codedict import codes

    return MeasurementReport(
        observation_context=_observer(content, series),
        # No code for a lumbar MRI is in CID 100.
        procedure_reported=codes.LN.MRIUnspecifiedBodyRegion,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=library,
    )


def _observer(content: Mapping[str, Any], series: Series) -> Any:
    from highdicom.sr import (
        DeviceObserverIdentifyingAttributes,
        ObservationContext,
        ObserverContext,
    )
    from pydicom.sr.codedict import codes

    attributes = DeviceObserverIdentifyingAttributes(
        uid=result_uid(content, series, "sr", "device"),
        manufacturer_name=SOFTWARE,
        model_name=str(content["bundle"]["name"]),
        serial_number=weights_digest(content),
    )
    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=codes.DCM.Device, observer_identifying_attributes=attributes
        )
    )


def _group(mark: Mark, content: Mapping[str, Any], series: Series) -> Any:
    from highdicom import sr
    from pydicom.sr.codedict import codes

    frame_uid = series.uids["FrameOfReferenceUID"]
    region = sr.ImageRegion3D("POINT", mark.point_lps[None], frame_of_reference_uid=frame_uid)
    group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=result_uid(content, series, "sr", mark.landmark.name),
            identifier=TRACKING_IDENTIFIER,
        ),
        referenced_region=region,
        finding_type=_finding(mark.landmark),
        finding_sites=[sr.FindingSite(anatomic_location=_site(mark.landmark))],
        algorithm_id=_algorithm(content),
        geometric_purpose=codes.DCM.RepresentativePoint,
    )
    # The template's constructor refuses numbers with coordinates, which the template allows and
    # OHIF needs: it takes the place of a point from the first number.
    calibrated = bool(content["calibrated"])
    group[0].ContentSequence.extend(_numbers(mark, calibrated, frame_uid))
    label = f"{mark.landmark.name} ({note_of(mark, calibrated)})"
    group[0].ContentSequence.append(sr.TextContentItem(codes.DCM.Comment, label, "CONTAINS"))
    return group


def _numbers(mark: Mark, calibrated: bool, frame_uid: str) -> list[Any]:
    """Confidence in percent and radius in mm, where known."""
    from pydicom.sr.codedict import codes

    certainty = codes.DCM.CertaintyOfFinding if calibrated else _private_code(*RAW_CONFIDENCE)
    radius = _private_code(*(RADIUS95 if calibrated else RAW_RADIUS95))
    values = [
        (certainty, round(100 * mark.confidence, 2), codes.UCUM.Percent),
        (radius, round(mark.radius95_mm, 3), codes.UCUM.Millimeter),
    ]
    return [_number(*row, mark, frame_uid) for row in values if np.isfinite(row[1])]


def _number(name: Any, value: float, unit: Any, mark: Mark, frame_uid: str) -> Any:
    from highdicom import sr

    point = sr.CoordinatesForMeasurement3D(
        "POINT", mark.point_lps[None], frame_of_reference_uid=frame_uid
    )
    return sr.Measurement(name=name, value=value, unit=unit, referenced_coordinates=[point])[0]


def _algorithm(content: Mapping[str, Any]) -> Any:
    from highdicom.sr import AlgorithmIdentification
    from pydicom.sr.codedict import codes

    bundle = content["bundle"]
    return AlgorithmIdentification(
        name=f"{SOFTWARE} {bundle['name']}",
        family=codes.DCM.ArtificialIntelligence,
        version=f"{content['software']['version']}, bundle {bundle['version']}",
        parameters=[f"{file} sha256 {sha}" for file, sha in bundle["weights_sha256"].items()],
    )


def _finding(landmark: Landmark) -> Any:
    """What the point marks: the centre of a coded structure, or a landmark of a set of its own."""
    return _private_code(*(CENTRES[landmark.kind] if landmark.snomed_code else SPINE_LANDMARK))


def _site(landmark: Landmark) -> Any:
    from highdicom.sr import CodedConcept

    if landmark.snomed_code is None:
        return _private_code(landmark.name, landmark.name)
    meaning = f"{landmark.name.replace('-', '/')} {landmark.kind}"
    return CodedConcept(landmark.snomed_code, "SCT", meaning)


def _private_code(value: str, meaning: str) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(value, PRIVATE_SCHEME, meaning)


def _coding_scheme() -> Any:
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    return CodingSchemeIdentificationItem(
        PRIVATE_SCHEME, name="Codes of spine_monai", responsible_organization=SOFTWARE
    )


def _number_frames(root: Any, shown: Sequence[Instance]) -> None:
    """Name the frame in each image of the library that is a frame of a multi-frame file."""
    items = [item for item in _walk([root]) if item.ValueType == "IMAGE"]
    for item, instance in zip(items, shown, strict=True):
        number = frame_number(instance)
        if number is not None:
            item.ReferencedSOPSequence[0].ReferencedFrameNumber = number


def _add_remarks(root: Any, content: Mapping[str, Any]) -> None:
    """Say in the report what was not found, and what its reader is warned of."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    absent = [one["name"] for one in content["landmarks"] if one["status"] == "absent"]
    remarks = ["Research only, not for clinical use."]
    remarks += [f"Not found: {', '.join(absent)}."] if absent else []
    remarks += [w["message"] for w in content["warnings"] if w["code"] in REPORTED_WARNINGS]
    container = sr.ContainerContentItem(
        sr.CodedConcept(*QUALITATIVE_EVALUATIONS), relationship_type="CONTAINS"
    )
    container.ContentSequence = sr.ContentSequence(
        [sr.TextContentItem(codes.DCM.Comment, text, "CONTAINS") for text in remarks]
    )
    root.ContentSequence.append(container)


def _walk(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        yield item
        yield from _walk(item.get("ContentSequence", []))


def _name(group: Any) -> str:
    label = next(item.TextValue for item in group.ContentSequence if _code(item) == COMMENT)
    return str(label).rsplit(" (", 1)[0]


def _name_of_site(group: Any) -> str | None:
    """The landmark whose code the finding site has; ``None`` of a code not known here."""
    sites = (i.ConceptCodeSequence[0] for i in group.ContentSequence if _code(i) == FINDING_SITE)
    names = {landmark.snomed_code: landmark.name for landmark in LUMBAR13.landmarks}
    return names.get(next(sites).get("CodeValue"))


def _point_lps(group: Any) -> NDArray[np.float64]:
    data = next(i.GraphicData for i in group.ContentSequence if i.ValueType == "SCOORD3D")
    return np.array(data, dtype=np.float64).reshape(3)


def _code(item: Any) -> str | None:
    names = item.get("ConceptNameCodeSequence")
    return names[0].get("CodeValue") if names else None
