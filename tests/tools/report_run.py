"""An output folder of `localize` as the quality report finds it, made without the networks."""

import json
from dataclasses import replace

import numpy as np

from spine_monai.viz.thumbnails import THUMBNAIL_FILE, thumbnail_jpeg
from spine_monai.workflows.report import CaseReport, RunReport
from spine_monai.writers import case_content, case_text

BUNDLE = {
    "name": "spine_landmarks",
    "version": "9.8.7",
    "weights_sha256": {"model.pt": "ab" * 32, "fusion.pt": "cd" * 32},
    "config_sha256": "ef" * 32,
}


def straight_spine(landmarks):
    """Landmarks all found, in a straight line, as far apart as in a spine."""
    points_lps = np.stack([[3.0, 40.0, 200.0 - 18.0 * number] for number in range(11)])
    return replace(
        landmarks,
        points_lps=points_lps,
        confidence=np.full(11, 0.99),
        radius95_mm=np.full(11, 3.0),
    )


class RunWriter:
    """Writes runs of one study into a folder.

    Args:
        out: the output folder.
        result: of the study.
        located: the study.
    """

    def __init__(self, out, result, located):
        self.out, self.result, self.located = out, result, located

    def __call__(self, done, failed=(), skipped=(), thumbnails=True, **changes):
        """Write results.

        Args:
            done: landmarks by case.
            failed: reason by case.
            skipped: cases that were finished before.
            thumbnails: whether to write them.
            **changes: of ``landmarks.json`` by case.
        """
        report = RunReport.start(BUNDLE, ("json", "report"))
        for number, (case, landmarks) in enumerate(done.items()):
            self._write_case(case, landmarks, thumbnails, changes.get(case, {}))
            status = "skipped" if case in skipped else "done"
            report.cases.append(CaseReport(case, status, "why", (), 1.5 + number))
        for case, reason in dict(failed).items():
            report.cases.append(CaseReport(case, "failed", reason, (), 0.25))
        self.out.mkdir(exist_ok=True)
        report.write(self.out)
        return self.out

    def _write_case(self, case, landmarks, thumbnails, changes):
        one = replace(self.result, case=case, landmarks=landmarks)
        content = case_content(one, self.located, BUNDLE, {}) | changes
        (self.out / case).mkdir(parents=True)
        (self.out / case / "landmarks.json").write_text(case_text(content))
        if thumbnails:
            (self.out / case / THUMBNAIL_FILE).write_bytes(thumbnail_jpeg(one))


def edit_record(folder, change):
    """Change a case's ``landmarks.json`` in place."""
    path = folder / "landmarks.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
