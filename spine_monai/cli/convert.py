"""``spine-monai convert``: annotations to a datalist, and results to other people's annotations."""

import argparse
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spine_monai.cli.codes import DONE, SOME_FAILED

if TYPE_CHECKING:
    from spine_monai.data import Conversion

logger = logging.getLogger(__name__)

Command = Callable[[argparse.Namespace], int]


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("convert", help="annotations to a datalist, and back")
    kinds = command.add_subparsers(required=True, metavar="KIND")
    for add in (_add_tianchi, _add_rsna, _add_masks, _add_markups, _add_csv, _add_results):
        add(kinds)
    _add_to_tianchi(kinds)


def _add_tianchi(kinds: Any) -> None:
    kind = kinds.add_parser("tianchi", help="the Tianchi challenge's JSON, joined to its DICOM")
    kind.add_argument(
        "annotations", nargs="+", type=Path, metavar="ANNOTATIONS", help=".json files"
    )
    kind.add_argument("--images", required=True, type=Path, help="folder of DICOM, at any depth")
    _add_output(kind, _convert_tianchi)
    _add_patients(kind)
    _add_landmark_set(kind)


def _add_rsna(kinds: Any) -> None:
    kind = kinds.add_parser("rsna", help="canal points of RSNA 2024 (landmark set rsna_canal5)")
    kind.add_argument("table", type=Path, metavar="TABLE", help="train_label_coordinates.csv")
    kind.add_argument("--images", required=True, type=Path, help="train_images")
    _add_output(kind, _convert_rsna)
    _add_patients(kind)


def _add_masks(kinds: Any) -> None:
    kind = kinds.add_parser("masks", help="label masks, SPIDER's or your own: centroids")
    kind.add_argument("masks", nargs="+", type=Path, metavar="MASK", help="files or folders")
    kind.add_argument(
        "--images",
        type=Path,
        help="folder of images with the masks' names (default: each mask is "
        "called mask and lies beside its image)",
    )
    kind.add_argument(
        "--labels", type=Path, help="YAML file, such as '1: L5' (default: SPIDER's labels)"
    )
    kind.add_argument(
        "--bodies-only", action="store_true", help="vertebrae are labelled without what lies behind"
    )
    _add_output(kind, _convert_masks)
    _add_patients(kind)
    _add_landmark_set(kind)


def _add_markups(kinds: Any) -> None:
    kind = kinds.add_parser("markups", help="3D Slicer .mrk.json, one case folder each")
    kind.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="case folders")
    _add_output(kind, _convert_markups)
    _add_patients(kind)
    _add_landmark_set(kind)


def _add_csv(kinds: Any) -> None:
    kind = kinds.add_parser("csv", help="a table: case, landmark, x, y, z in mm; or landmarks.csv")
    kind.add_argument("table", type=Path, metavar="TABLE", help=".csv file")
    kind.add_argument("--images", required=True, type=Path, help="folder of images named as cases")
    kind.add_argument(
        "--coordinate-system", choices=("LPS", "RAS"), default="LPS", help="of x, y and z"
    )
    _add_output(kind, _convert_csv)
    _add_patients(kind)
    _add_landmark_set(kind)


def _add_results(kinds: Any) -> None:
    kind = kinds.add_parser("results", help="results of `localize`, to correct or to learn from")
    kind.add_argument("results", type=Path, metavar="RESULTS", help="folder of `localize`")
    kind.add_argument("--found-only", action="store_true", help="leave out uncertain landmarks")
    _add_output(kind, _convert_results)
    _add_patients(kind)
    _add_landmark_set(kind)


def _add_to_tianchi(kinds: Any) -> None:
    kind = kinds.add_parser("to-tianchi", help="results of `localize` as the challenge's JSON")
    kind.add_argument("results", type=Path, metavar="RESULTS", help="folder of `localize`")
    kind.add_argument("--out", required=True, type=Path, help="annotations to write (.json)")
    kind.add_argument("--report", type=Path, help="JSON file for what was left out, and why")
    kind.add_argument(
        "--grade", default="v1", help="of every vertebra and disc; none is measured (default: v1)"
    )
    kind.set_defaults(command=_convert_to_tianchi)


def _add_output(kind: argparse.ArgumentParser, command: Command) -> None:
    kind.add_argument("--out", required=True, type=Path, help="datalist to write (.json)")
    kind.add_argument("--folds", type=Path, help="CSV with the columns case and fold")
    kind.add_argument("--seed", type=int, default=0, help="of the folds, where none are given")
    kind.add_argument("--subjects", type=Path, help="CSV with the columns case and subject")
    kind.add_argument("--report", type=Path, help="JSON file for what was left out, and why")
    kind.set_defaults(command=command)


def _add_patients(kind: argparse.ArgumentParser) -> None:
    kind.add_argument(
        "--subject-key", type=Path, help="file with a secret, for subjects nobody can look up"
    )


def _add_landmark_set(kind: argparse.ArgumentParser) -> None:
    kind.add_argument("--landmark-set", default="lumbar11", help="name or YAML file")


def _convert_tianchi(options: argparse.Namespace) -> int:
    from spine_monai.data import datalist_from_tianchi

    return _finish(
        datalist_from_tianchi(
            options.annotations, options.images, _registry(options), subject_key=_key(options)
        ),
        options,
    )


def _convert_rsna(options: argparse.Namespace) -> int:
    from spine_monai.data import datalist_from_rsna

    return _finish(
        datalist_from_rsna(options.table, options.images, subject_key=_key(options)), options
    )


def _convert_masks(options: argparse.Namespace) -> int:
    from spine_monai.data.masks import SPIDER_LABELS, datalist_from_masks, read_labels

    conversion = datalist_from_masks(
        options.masks,
        _registry(options),
        labels=read_labels(options.labels) if options.labels else SPIDER_LABELS,
        images=options.images,
        bodies_only=options.bodies_only,
        subject_key=_key(options),
    )
    return _finish(conversion, options)


def _convert_markups(options: argparse.Namespace) -> int:
    from spine_monai.data import conversion_from_markups

    return _finish(
        conversion_from_markups(options.folders, _registry(options), subject_key=_key(options)),
        options,
    )


def _convert_csv(options: argparse.Namespace) -> int:
    from spine_monai.data import datalist_from_csv

    conversion = datalist_from_csv(
        options.table,
        options.images,
        _registry(options),
        coordinate_system=options.coordinate_system,
        subject_key=_key(options),
    )
    return _finish(conversion, options)


def _convert_results(options: argparse.Namespace) -> int:
    from spine_monai.data import datalist_from_results

    statuses = ("found",) if options.found_only else ("found", "uncertain")
    conversion = datalist_from_results(
        options.results, _registry(options), statuses=statuses, subject_key=_key(options)
    )
    return _finish(conversion, options)


def _convert_to_tianchi(options: argparse.Namespace) -> int:
    from spine_monai.data.tianchi_export import tianchi_from_results, write_tianchi

    studies, conversion = tianchi_from_results(options.results, grade=options.grade)
    _tell(conversion, options.report)
    write_tianchi(studies, options.out)
    print(f"{len(conversion.items)} cases in {options.out}{_left_out(conversion)}")
    print(f"every vertebra and disc has the grade {options.grade}: none was measured")
    return SOME_FAILED if conversion.left_out else DONE


def _registry(options: argparse.Namespace) -> Any:
    from spine_monai.landmarks import load_registry

    return load_registry(options.landmark_set)


def _key(options: argparse.Namespace) -> bytes:
    from spine_monai.data.folds import read_subject_key

    return read_subject_key(options.subject_key)


def _finish(conversion: "Conversion", options: argparse.Namespace) -> int:
    """Tell what was left out, give subjects and folds, and write the datalist."""
    from spine_monai.data import write_datalist
    from spine_monai.data.folds import with_folds, with_subjects

    items = with_subjects(conversion.items, options.subjects)
    subjects = {item["subject"] for item in items}
    if len(items) > 1 and len(subjects) == 1:
        msg = f"all {len(items)} cases have one subject, so they share a fold. If they are of "
        msg += "several patients, give --subjects."
        conversion.remark("one_subject", msg)
    _tell(conversion, options.report)
    items = with_folds(items, options.folds, seed=options.seed)
    write_datalist(items, options.out, conversion.registry.name)
    counts = f"{len(items)} cases of {len(subjects)} subjects"
    print(f"{counts} in {options.out}{_left_out(conversion)}")
    return SOME_FAILED if conversion.left_out else DONE


def _tell(conversion: "Conversion", report: Path | None) -> None:
    from spine_monai.data.conversion import write_conversion_report

    for remark in conversion.remarks:
        place = f"case {remark.case}: " if remark.case else ""
        logger.warning("%s%s", place, remark.message)
    if report is not None:
        write_conversion_report(conversion, report)
    if not conversion.items:
        msg = (
            f"no case can be converted: {len(conversion.left_out)} were left out, for the reasons "
        )
        msg += "above."
        raise ValueError(msg)


def _left_out(conversion: "Conversion") -> str:
    count = len(conversion.left_out)
    return f"; {count} left out, for the reasons above" if count else ""
