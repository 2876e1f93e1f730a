"""``presentation.dcm``: the landmarks as a grayscale softcopy presentation state.

Points and names are drawn over the native slice by whoever shows it. Coordinates count from the
outer corner of the first pixel, so the centre of the first pixel is (0.5, 0.5): half a pixel more
than everywhere else in this package. DICOM keeps them in 32 bits: 0.00004 px at column 640.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataelem import DataElement
from pydicom.tag import Tag

from spine_monai.geometry import points_xy_from_lps
from spine_monai.readers.series import Instance, Series
from spine_monai.writers.dicom_reference import (
    Mark,
    frame_number,
    note_of,
    place_marks,
    read_header,
    reference_image,
    slice_instance,
    value_of_frame,
)
from spine_monai.writers.dicom_sc import BODY_PART
from spine_monai.writers.dicom_study import (
    building,
    identity_element,
    object_arguments,
    reading,
    result_uid,
    save_in_study,
)
from spine_monai.writers.result import Result

GSPS_FILE = "presentation.dcm"
CORNER_PX = 0.5
LAYER = "LANDMARKS"
DESCRIPTION = "Spine landmarks, research only"
WINDOW_PERCENTILES = (0.5, 98.5)
# A name without components, as good as no name (PS3.5 6.2.1.2); dcmtk refuses a state without one.
EMPTY_NAME = "^"
TOP_OF_DISPLAY = (0.0, 0.0, 1.0, 0.05)  # left, top, right, bottom; shares of it
YELLOW_LAB = (86.0, 6.0, 57.0)


def write_gsps(result: Result, content: Mapping[str, Any], series: Series, path: Path) -> None:
    """Write the landmarks as a presentation state of their slice, in the study of the images.

    All landmarks are drawn on the result's slice, those beside it at their projection; where they
    were taken from several slices, each is drawn on its own. Those that lie outside their image, as
    uncertain ones may, are named in words over the result's slice.

    Args:
        result: landmarks and slice.
        content: of ``landmarks.json``.
        series: the images; see ``check_is_dicom``.
        path: file to write.

    Raises:
        ValueError: no landmark was found inside its image, or the series does not hold the slice.
    """
    from highdicom.pr import GraphicLayer, GrayscaleSoftcopyPresentationState

    main = slice_instance(result, series)
    drawn, outside = _drawn_and_outside(result, series)
    with building(series):
        header = read_header(main)
        _name_nobody(header)
        layer = GraphicLayer(LAYER, 1, DESCRIPTION, display_color=_yellow())
        notes = [_annotation(mark, one, layer, content, series) for one, mark in drawn]
        notes += [_words(outside, main, layer, series)] if outside else []
        images = [*(one for one, _ in drawn), *([main] if outside else [])]
        dataset = GrayscaleSoftcopyPresentationState(
            referenced_images=_distinct([reference_image(one, series) for one in images]),
            content_label=LAYER,
            content_description=DESCRIPTION,
            graphic_layers=[layer],
            graphic_annotations=notes,
            **_grey_values(header, main, result),
            **object_arguments("gsps", content, series),
        )
        _finish(dataset, main)
        save_in_study(dataset, header, path)


def _name_nobody(header: Any) -> None:
    """Give a header that holds no name an empty one."""
    element = identity_element(header, "PatientName")
    if element is None or not element.value:
        header["PatientName"] = DataElement(Tag("PatientName"), "PN", EMPTY_NAME)


def points_xy_by_image(path: Path) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Read the points of a presentation state, by SOPInstanceUID and landmark name.

    Returns:
        (2,) points (column, row) in pixels, whole numbers at pixel centres.

    Raises:
        ValueError: the file is no such presentation state.
    """
    points: dict[str, dict[str, NDArray[np.float64]]] = {}
    with reading(path, "a presentation state of landmarks"):
        for note in pydicom.dcmread(path).GraphicAnnotationSequence:
            uid = str(note.ReferencedImageSequence[0].ReferencedSOPInstanceUID)
            for shape in note.get("GraphicObjectSequence", []):
                xy = np.array(shape.GraphicData, dtype=np.float64).reshape(2) - CORNER_PX
                points.setdefault(uid, {})[str(shape.TrackingID)] = xy
    return points


def points_xy_of_gsps(path: Path) -> tuple[str, dict[str, NDArray[np.float64]]]:
    """Read the SOPInstanceUID of the one image of a presentation state, and the points on it.

    Raises:
        ValueError: the file is no such presentation state, or has points on several images.
    """
    points = points_xy_by_image(path)
    if len(points) != 1:
        msg = f"{path} must have its points on one image: it has them on {len(points)}."
        raise ValueError(msg)
    return next(iter(points.items()))


def _drawn_and_outside(
    result: Result, series: Series
) -> tuple[list[tuple[Instance, Mark]], list[str]]:
    """Return the landmarks inside their images, with these, and the names of the others."""
    pairs = [(one, mark) for one, marks in place_marks(result, series) for mark in marks]
    drawn = [(one, mark) for one, mark in pairs if _is_inside(one, mark)]
    if not drawn:
        msg = f"case {result.case} must have a landmark inside its image to be drawn over it: all "
        msg += "found lie outside. Leave out the format gsps for it."
        raise ValueError(msg)
    return drawn, [mark.landmark.name for one, mark in pairs if not _is_inside(one, mark)]


def _is_inside(instance: Instance, mark: Mark) -> bool:
    size = np.array([instance.header.Columns, instance.header.Rows])
    corner_xy = _corner_xy(instance, mark)
    return bool((corner_xy >= 0).all() and (corner_xy <= size).all())


def _corner_xy(instance: Instance, mark: Mark) -> NDArray[np.float64]:
    """Column and row from the outer corner of the first pixel."""
    return points_xy_from_lps(mark.point_lps, instance.lps_from_column_row) + CORNER_PX


def _words(names: Sequence[str], instance: Instance, layer: Any, series: Series) -> Any:
    """Say which landmarks are not drawn, at the top of the display."""
    from highdicom.pr import GraphicAnnotation, TextObject

    text = f"Outside the image, not drawn: {', '.join(names)}"
    return GraphicAnnotation(
        referenced_images=[reference_image(instance, series)],
        referenced_frame_number=frame_number(instance),
        graphic_layer=layer,
        text_objects=[TextObject(text, "DISPLAY", bounding_box=TOP_OF_DISPLAY)],
    )


def _annotation(
    mark: Mark, instance: Instance, layer: Any, content: Mapping[str, Any], series: Series
) -> Any:
    from highdicom.pr import GraphicAnnotation, GraphicObject, TextObject

    column, row = _corner_xy(instance, mark)
    text = f"{mark.landmark.name} ({note_of(mark, bool(content['calibrated']))})"
    point = GraphicObject(
        "POINT",
        np.array([[column, row]]),
        "PIXEL",
        tracking_id=mark.landmark.name,
        tracking_uid=result_uid(content, series, "gsps", mark.landmark.name),
    )
    return GraphicAnnotation(
        referenced_images=[reference_image(instance, series)],
        referenced_frame_number=frame_number(instance),
        graphic_layer=layer,
        graphic_objects=[point],
        text_objects=[
            TextObject(text, "PIXEL", anchor_point=(column, row), anchor_point_visible=False)
        ],
    )


def _distinct(images: Sequence[Any]) -> list[Any]:
    """Images by their UID: the frames of a multi-frame file are one image."""
    return list({image.SOPInstanceUID: image for image in images}.values())


def _grey_values(header: Any, instance: Instance, result: Result) -> dict[str, Any]:
    """How grey values are shown: as the images themselves ask for, else as in the overlay."""
    from highdicom import ModalityLUTTransformation, PresentationLUTTransformation
    from highdicom.pr import SoftcopyVOILUTTransformation

    slope, intercept = _rescale(instance)
    center, width = _window(header, instance, result)
    shape = "INVERSE" if _is_inverse(instance) else "IDENTITY"
    return {
        "modality_lut_transformation": ModalityLUTTransformation(intercept, slope, "US"),
        "voi_lut_transformations": [SoftcopyVOILUTTransformation(center, width)],
        "presentation_lut_transformation": PresentationLUTTransformation(shape),
    }


def _window(header: Any, instance: Instance, result: Result) -> tuple[float, float]:
    center, width = (_window_value(header, instance, part) for part in ("Center", "Width"))
    if width >= 1 and np.isfinite(center):
        return center, width
    low, high = np.percentile(result.image[0].numpy(), WINDOW_PERCENTILES)
    center = float(low + high) / 2
    return _turned_back(center, instance), max(float(high - low), 1.0)


def _window_value(header: Any, instance: Instance, part: str) -> float:
    """The first of the values that an image may have; NaN where it has none."""
    try:
        value: Any = value_of_frame(header, instance, f"Window{part}")
        return float(np.atleast_1d(value)[0])
    except (TypeError, ValueError, IndexError):  # it is absent, or no number
        return float("nan")


def _turned_back(value: float, instance: Instance) -> float:
    """A value of the picture as it stands in the file: readers turn MONOCHROME1 over."""
    if not _is_inverse(instance):
        return value
    is_signed = bool(instance.header.get("PixelRepresentation"))
    stored_sum = -1 if is_signed else 2 ** int(instance.header.BitsStored) - 1
    slope, intercept = _rescale(instance)
    return slope * stored_sum + 2 * intercept - value


def _rescale(instance: Instance) -> tuple[float, float]:
    header = instance.header
    return float(header.get("RescaleSlope") or 1), float(header.get("RescaleIntercept") or 0)


def _is_inverse(instance: Instance) -> bool:
    return bool(instance.header.get("PhotometricInterpretation") == "MONOCHROME1")


def _finish(dataset: Any, instance: Instance) -> None:
    """Say the body part, and the true size of pixels, which highdicom takes for square."""
    dataset.BodyPartExamined = BODY_PART
    (area,) = dataset.DisplayedAreaSelectionSequence
    del area.PresentationPixelAspectRatio
    area.PresentationPixelSpacing = instance.header["PixelSpacing"].value


def _yellow() -> Any:
    from highdicom.color import CIELabColor

    return CIELabColor(*YELLOW_LAB)
