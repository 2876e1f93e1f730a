"""A case in every format that results are written in, made without the networks."""

import json

from tools.report_run import RunWriter

from spine_monai.viz.report_page import write_report_page
from spine_monai.viz.secondary_capture import write_sc
from spine_monai.writers import markups_text, write_table
from spine_monai.writers.dicom_gsps import GSPS_FILE, write_gsps
from spine_monai.writers.dicom_sc import SC_FILE
from spine_monai.writers.dicom_sr import SR_FILE, write_sr

CASE_FILES = ("landmarks.json", "landmarks.mrk.json", SR_FILE, GSPS_FILE, SC_FILE)
RUN_FILES = ("landmarks.csv", "report.html")


def write_every_format(out, result, located):
    """Write a result's case folder, table and report into a folder, and return it."""
    RunWriter(out, result, located)({result.case: result.landmarks})
    folder = out / result.case
    content = json.loads((folder / "landmarks.json").read_text())
    (folder / "landmarks.mrk.json").write_text(markups_text(result.landmarks))
    write_sr(result, content, located.series, folder / SR_FILE)
    write_gsps(result, content, located.series, folder / GSPS_FILE)
    write_sc(result, content, located.series, folder / SC_FILE)
    write_table(out)
    write_report_page(out)
    return out
