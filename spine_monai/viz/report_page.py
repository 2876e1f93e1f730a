"""``report.html``: one page to check the results of a run by eye.

The page stands alone: styles, script and pictures are in it, nothing is fetched, and it opens from
disk. Its policy forbids every connection and every script but its own. Without JavaScript it is
complete, worst case first; the script sorts, filters and enlarges.

It also holds the landmarks as JSON (``read_page_data``), so that it can be compared with the other
files.
"""

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

from spine_monai.files import write_text
from spine_monai.viz.figures import RESEARCH_NOTE
from spine_monai.viz.markup import Markup, element, joined
from spine_monai.viz.normal_ranges import SUBJECTS
from spine_monai.viz.report_card import case_card, link_list
from spine_monai.viz.report_cases import CaseView, Concern, RunView, read_run

PAGE_FILE = "report.html"
DATA_ID = "spine-monai-data"
DATA_FORMAT = "spine_monai.report_page"
DATA_VERSION = 1
DIGITS = 4  # of the points in the page, in mm
STATUSES = {
    "failed": "failed",
    "done": "done",
    "skipped": "skipped, finished before",
    "earlier": "from earlier runs",
}
SORT_COLUMNS = (
    ("rank", "Worst first"),
    ("case", "Case"),
    ("confidence", "Least confidence"),
    ("radius", "Widest radius"),
    ("warnings", "Warnings"),
    ("duration", "Duration"),
)
GUIDE = (
    "Cross: landmark. Circle: holds 95 % of the belief; dashed where the landmark is uncertain.",
    "Worst first: failed cases; those to check (a landmark absent or uncertain, levels in doubt or "
    "out of order, a distance far from usual); those with another warning; the rest. In each group "
    "the least confidence first, then the widest radius.",
    "Distances: the pale bar is the usual range in mm, the dark bar that of a spine of this size "
    f"(2.5 to 97.5 percentile of {SUBJECTS} patients with low back pain, SPIDER data set, doi "
    "10.5281/zenodo.10159290, CC BY 4.0). Dot: usual. Diamond: outside both, as somewhere in "
    "a fifth of those patients. Cross: less than half, or more than one and a half times, what is "
    "usual at this size.",
    "No warning does not mean right: all landmarks named one level off look like this, too.",
)


def write_report_page(output_dir: Path) -> Path:
    """Write ``report.html`` from what lies in an output folder of ``localize``.

    Takes ``report.json``, and from each case's folder ``landmarks.json`` and the thumbnail.

    Args:
        output_dir: holds ``report.json`` and one folder a case; the page goes beside them.

    Returns:
        The page's path.

    Raises:
        FileNotFoundError: there is no ``report.json``.
        ValueError: ``report.json`` cannot be read.
        OSError: the page cannot be written.
    """
    page = output_dir / PAGE_FILE
    write_text(page, page_text(read_run(output_dir)))
    return page


def page_text(run: RunView) -> str:
    """Return the page of a run."""
    style, script = _asset("report_page.css"), _asset("report_page.js")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", "spine_monai: quality report"),
        element("style", style),
    )
    body = element(
        "body",
        _header(run),
        element("main", _toolbar(run.cases), _table(run.cases)),
        element("footer", element("p", RESEARCH_NOTE)),
        element("script", Markup(data_text(run.cases)), type="application/json", id=DATA_ID),
        element("script", script),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def data_text(cases: Sequence[CaseView]) -> str:
    """Return the landmarks of the cases as JSON that may stand in a page."""
    content = {
        "format": DATA_FORMAT,
        "format_version": DATA_VERSION,
        "coordinate_system": "LPS",
        "unit": "mm",
        "cases": [
            {"case": view.case, "landmarks": [_datum(entry) for entry in view.landmarks]}
            for view in cases
            if view.record is not None
        ],
    }
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def read_page_data(path: Path) -> dict[str, dict[str, list[float] | None]]:
    """Read the landmarks out of a ``report.html``.

    Returns:
        LPS point in mm by landmark by case; ``None`` where absent.

    Raises:
        ValueError: the file is no whole quality report of spine_monai.
    """
    parser = _DataParser()
    try:
        text = path.read_text(encoding="utf-8")
        if not text.rstrip().endswith("</html>"):
            msg = "it breaks off"
            raise ValueError(msg)
        parser.feed(text)
        content = json.loads(parser.data)
        if (content["format"], content["format_version"]) != (DATA_FORMAT, DATA_VERSION):
            msg = f"format {content['format']} version {content['format_version']}"
            raise ValueError(msg)
        return {
            case["case"]: {e["name"]: e["position_lps_mm"] for e in case["landmarks"]}
            for case in content["cases"]
        }
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{path} must be a whole quality report of spine_monai: {error!r}. Write it again."
        raise ValueError(msg) from error


class _DataParser(HTMLParser):
    """Collects the text of the page's data script."""

    def __init__(self) -> None:
        super().__init__()
        self.data = ""
        self._is_inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._is_inside = tag == "script" and ("id", DATA_ID) in attrs

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - HTMLParser's interface
        self._is_inside = False

    def handle_data(self, data: str) -> None:
        if self._is_inside:
            self.data += data


def _datum(entry: Mapping[str, Any]) -> dict[str, Any]:
    position = entry["position_lps_mm"]
    return {
        "name": entry["name"],
        "status": entry["status"],
        "position_lps_mm": position and [round(value, DIGITS) for value in position],
        "confidence": entry["confidence"],
        "radius95_mm": entry["radius95_mm"],
    }


def _asset(name: str) -> Markup:
    return Markup(files("spine_monai.viz").joinpath(name).read_text(encoding="utf-8"))


def _policy(style: str, script: str) -> str:
    return (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_source(style)}'; script-src '{_source(script)}'"
    )


def _source(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _header(run: RunView) -> Markup:
    counts = Counter(view.status for view in run.cases)
    flagged = sum(view.concern >= Concern.CHECK for view in run.cases)
    figures = [(len(run.cases), "cases"), (flagged, "to look at")]
    figures += [(counts[status], name) for status, name in STATUSES.items() if counts[status]]
    boxes = [element("li", element("b", str(n)), f" {name}") for n, name in figures]
    return element(
        "header",
        element("h1", "Quality report"),
        element("p", RESEARCH_NOTE, class_="research"),
        element("ul", *boxes, class_="counts"),
        _what_ran(run),
        element(
            "details",
            element("summary", "How to read this page"),
            *(element("p", line) for line in GUIDE),
        ),
    )


def _what_ran(run: RunView) -> Markup:
    report, bundle = run.report, run.report["bundle"]
    software = dict(report["software"])
    name = f"{software.pop('name')} {software.pop('version')}"
    facts = [
        ("Started", str(report["started"])),
        ("Took", f"{report['duration_s']:.1f} s"),
        ("Software", name),
        ("With", ", ".join(f"{package} {version}" for package, version in software.items())),
        ("Bundle", f"{bundle.get('name')} {bundle.get('version')}"),
        *((f"SHA-256 of {file}", sha) for file, sha in _digests(bundle)),
        ("Formats", ", ".join(report["formats"])),
    ]
    rows = [part for key, value in facts for part in (element("dt", key), element("dd", value))]
    return element(
        "details",
        element("summary", "What ran"),
        element("dl", *rows),
        link_list("", run.files),
    )


def _digests(bundle: Mapping[str, Any]) -> list[tuple[str, str]]:
    weights = [(str(file), str(sha)) for file, sha in bundle.get("weights_sha256", {}).items()]
    return [*weights, ("inference.yaml", str(bundle.get("config_sha256")))]


def _toolbar(cases: Sequence[CaseView]) -> Markup:
    options = [("", "all cases"), ("flagged", "those to look at"), ("failed", "failed")]
    find = element("input", type="search", id="filter", autocomplete="off", spellcheck="false")
    return element(
        "form",
        element("label", "Find ", find),
        element(
            "label",
            "Show ",
            element("select", *(element("option", t, value=v) for v, t in options), id="show"),
        ),
        element("output", f"{len(cases)} cases", id="shown", role="status"),
        element("span", RESEARCH_NOTE, class_="research"),
        id="toolbar",
        hidden=True,
    )


def _table(cases: Sequence[CaseView]) -> Markup:
    heads = [_sort_head(key, name) for key, name in SORT_COLUMNS]
    return element(
        "table",
        element("caption", "Cases, with their pictures, warnings and points"),
        element("thead", element("tr", *heads)),
        *(case_card(view, rank) for rank, view in enumerate(cases, start=1)),
        id="cases",
    )


def _sort_head(key: str, name: str) -> Markup:
    order = "ascending" if key == "rank" else None
    button = element("button", name, type="button", data_key=key)
    return element("th", joined(button), scope="col", aria_sort=order, class_=key)
