"""Results into files: JSON, CSV, Slicer markups."""

from spine_monai.writers.json import RESULT_FILE, case_content, case_text
from spine_monai.writers.markups import MARKUPS_FILE, markups_text
from spine_monai.writers.result import Result
from spine_monai.writers.table import write_table

__all__ = [
    "MARKUPS_FILE",
    "RESULT_FILE",
    "Result",
    "case_content",
    "case_text",
    "markups_text",
    "write_table",
]
