"""Frames of Enhanced MR as single-frame headers.

In Enhanced MR the attributes of a frame stand in functional groups, shared by all frames or per
frame, often under another name. Here each frame gets a flat header of its own. What a file is, its
content says, not its SOP class: one without functional groups is read by its root attributes.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from spine_monai.readers.elements import Elements, convert
from spine_monai.readers.keywords import FRAME_GROUPS, FRAME_TAGS

# Macros of PS3.3 C.7.6.16 and C.8.13.5; the converted ones hold what a legacy converter found no
# place for, so they come first and are overruled.
MACROS = (
    "UnassignedSharedConvertedAttributesSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
    "PixelMeasuresSequence",
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "FrameContentSequence",
    "PixelValueTransformationSequence",
    "MRImageFrameTypeSequence",
    "MREchoSequence",
    "MRTimingAndRelatedParametersSequence",
    "MRModifierSequence",
    "MRDiffusionSequence",
)
CLASSIC_NAMES = {
    "EffectiveEchoTime": "EchoTime",
    "InversionTimes": "InversionTime",
    "FrameType": "ImageType",
    "FrameAcquisitionNumber": "AcquisitionNumber",
    "FrameAcquisitionDateTime": "AcquisitionDateTime",
    "TemporalPositionIndex": "TemporalPositionIdentifier",
}


MACRO_TAGS = tuple(Tag(keyword) for keyword in MACROS)
CLASSIC_TAGS = {Tag(name): Tag(classic) for name, classic in CLASSIC_NAMES.items()}
WANTED_TAGS = FRAME_TAGS | CLASSIC_TAGS.keys()


class Frame(NamedTuple):
    """One image of a file.

    Args:
        number: of the frame, from 0; ``None`` in a file of one image.
        header: its attributes, as in a single-frame file.
        unreadable: keywords of attributes whose values are no such values.
    """

    number: int | None
    header: Dataset
    unreadable: tuple[str, ...]


def frames_of(
    root: Elements,
    unreadable: Sequence[BaseTag],
    shared: Sequence[Dataset],
    per_frame: Sequence[Dataset],
) -> list[Frame]:
    """Return the images of a file: one a frame, or the one of a file without functional groups.

    Args:
        root: the file's own attributes.
        unreadable: tags of those among them that have no such value.
        shared: the item of its shared functional groups, if any.
        per_frame: the items of its per-frame functional groups, if any.
    """
    if not shared and not per_frame:
        return [_frame(None, root, unreadable)]
    element = root.get(Tag("NumberOfFrames"))
    count = int(element.value or 1) if element else 1
    if len(per_frame) != count and (per_frame or count > 1):
        return [_frame(None, root, [*unreadable, Tag(FRAME_GROUPS)])]
    if count == 1:
        return [_frame(None, *_overlaid(root, unreadable, [*shared, *per_frame]))]
    groups = [[*shared, group] for group in per_frame]
    return [_frame(k, *_overlaid(root, unreadable, group)) for k, group in enumerate(groups)]


def _frame(number: int | None, elements: Elements, unreadable: Iterable[BaseTag]) -> Frame:
    return Frame(number, Dataset(elements), tuple(keyword_for_tag(tag) for tag in unreadable))


def _overlaid(
    root: Elements, unreadable: Iterable[BaseTag], groups: Sequence[Dataset]
) -> tuple[Elements, list[BaseTag]]:
    """The file's attributes, overruled by those of functional groups under their classic names."""
    elements, bad = dict(root), set(unreadable)
    for macro in _macros(groups):
        found, unread = convert(macro, WANTED_TAGS)
        for tag, element in found.items():
            classic = CLASSIC_TAGS.get(tag, tag)
            if not element.is_empty:
                elements[classic] = _renamed(element, classic)
                bad.discard(classic)
        bad.update(CLASSIC_TAGS.get(tag, tag) for tag in unread)
    return elements, sorted(bad)


def _renamed(element: DataElement, tag: BaseTag) -> DataElement:
    if element.tag == tag:
        return element
    return DataElement(tag, element.VR, element.value, already_converted=True)


def _macros(groups: Sequence[Dataset]) -> Iterator[Dataset]:
    """The items of the macros that speak of the image, the one that rules at the end."""
    for tag in MACRO_TAGS:
        for group in groups:
            if tag in group:
                yield from group[tag].value[:1]
