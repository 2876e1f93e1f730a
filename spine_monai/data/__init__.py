"""Annotations in, datalists out, and the synthetic studies of the tests."""

from spine_monai.data.conversion import Conversion, Remark, write_conversion_report
from spine_monai.data.csv_points import datalist_from_csv
from spine_monai.data.datalists import (
    assign_folds,
    load_datalist,
    read_datalist,
    read_training_cases,
    training_items,
    write_datalist,
)
from spine_monai.data.folds import with_folds, with_subjects
from spine_monai.data.markups import conversion_from_markups, datalist_from_markups, read_markups
from spine_monai.data.masks import datalist_from_masks
from spine_monai.data.results import datalist_from_results
from spine_monai.data.rsna import datalist_from_rsna
from spine_monai.data.tianchi import datalist_from_tianchi
from spine_monai.data.tianchi_export import tianchi_from_results, write_tianchi

__all__ = [
    "Conversion",
    "Remark",
    "assign_folds",
    "conversion_from_markups",
    "datalist_from_csv",
    "datalist_from_markups",
    "datalist_from_masks",
    "datalist_from_results",
    "datalist_from_rsna",
    "datalist_from_tianchi",
    "load_datalist",
    "read_datalist",
    "read_markups",
    "read_training_cases",
    "tianchi_from_results",
    "training_items",
    "with_folds",
    "with_subjects",
    "write_conversion_report",
    "write_datalist",
    "write_tianchi",
]
