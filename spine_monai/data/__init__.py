"""Annotations in, datalists out, and the synthetic studies of the tests."""

from spine_monai.data.datalists import (
    assign_folds,
    load_datalist,
    read_datalist,
    training_items,
    write_datalist,
)
from spine_monai.data.markups import datalist_from_markups, read_markups

__all__ = [
    "assign_folds",
    "datalist_from_markups",
    "load_datalist",
    "read_datalist",
    "read_markups",
    "training_items",
    "write_datalist",
]
