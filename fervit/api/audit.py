"""`fervit.audit` looks through a data set before it is trained on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from fervit.api.arguments import as_text
from fervit.auditing.codes import Codes, read_codes
from fervit.auditing.doubts import doubts, of_doubts, table_of
from fervit.auditing.findings import Finding, of_codes, of_pictures, of_rows
from fervit.auditing.folder import PAGE, RESULTS, AuditFolder
from fervit.auditing.pictures import measure
from fervit.auditing.write import CERTAIN, LISTS, SHEETS, Part, write_audit
from fervit.errors import UserError
from fervit.images import passed_over
from fervit.images.face_index import FaceIndex
from fervit.images.index import open_faces
from fervit.io.files import JsonObject, from_home, near
from fervit.io.storage import absolute, name_of
from fervit.labels.emotions import SPLITS
from fervit.labels.label_set import read_label_set
from fervit.progress import Say, clock, silent


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """The result of an audit."""

    folder: Path
    """The folder of its files."""
    results: JsonObject
    """The content of audit.json."""

    @property
    def page(self) -> Path:
        """The page that shows what was found."""
        return self.folder / PAGE

    @property
    def lists(self) -> dict[str, Path]:
        """The exclusion lists, by the names of the findings, and `certain` for all that is wrong beyond doubt."""
        found = {one["key"]: one["list"] for one in self.results["findings"]}
        found[CERTAIN] = self.results["certain"]["list"]
        return {key: self.folder / name for key, name in found.items() if name is not None}


def audit(
    data_root: str | Path | None = None,
    latents: str | Path | None = None,
    *,
    output_dir: str | Path = "audit",
    labels: str | Path | None = None,
    face_detector: str | Path | None = None,
    label_noise: bool = True,
    no_faces: bool = False,
    say: Say | None = print,
) -> AuditResult:
    """Looks through pictures, codes or both, and writes a page, audit.json, exclusion lists and contact sheets.

    It looks for exact and near copies, conflicting labels, blank, dark and blurred pictures, pictures without a face,
    doubtful labels, and codes that are not finite, constant or far outside. It changes neither pictures nor codes.

    Args:
        data_root: the path or URI of a folder {train,val,test}/<emotion>/*.png, of one split, or of fer2013.csv[.gz].
        latents: the folder or URI that holds the latents in train/, val/ and test/, or one split.
        output_dir: the folder for the files.
        labels: the label set of the pictures, as for `fervit.encode`; None for that of the data.
        face_detector: the ONNX file of YuNet, which finds pictures without a face; None looks for none.
        label_noise: whether to look for doubtful labels, on the pictures or, without any, on the codes.
        no_faces: whether to write no picture of a face: no contact sheets, and a page of text.
        say: gets each line of text; None for silence.

    Returns:
        The folder, the content of audit.json, and the lists.

    Raises:
        UserError: neither pictures nor codes are given, or a file is wrong.

    Example:
        found = fervit.audit("faces", output_dir="audit")
        fervit.train("latents/train", "latents/val", exclude=found.lists["certain"])
    """
    started, tell = time.monotonic(), say or silent
    root, codes_root, detector = map(as_text, (data_root, latents, face_detector))
    if root is None and codes_root is None:
        raise UserError("give data_root, latents, or both")
    if detector is not None and root is None:
        raise UserError("--face_detector: needs --data_root, the pictures to look at")
    folder = AuditFolder(Path(from_home(str(output_dir))))
    parts: list[Part] = []
    about: JsonObject = {
        "of": name_of(str(root or codes_root)),
        "data_root": absolute(root) if root else None,
        "latents": absolute(codes_root) if codes_root else None,
    }
    if root is not None:
        label_set = read_label_set(str(labels)) if labels is not None else None
        part, remarks = _pictures(open_faces(root, label_set), detector, tell, say, label_noise=label_noise)
        parts.append(part)
        about["passed_over"] = remarks
    if codes_root is not None:
        codes = read_codes(codes_root, SPLITS)
        tell(f"codes: {len(codes)} of encoder {codes.encoder}")
        parts.append(_codes(codes, alone=root is None, label_noise=label_noise))
    about["seconds"] = round(time.monotonic() - started, 1)
    content = write_audit(folder, parts, about, tell, no_faces=no_faces)
    for line in (*_summary(content, folder.path), *folder.kept_in_words()):
        tell(line)
    tell(f"looked for {clock(time.monotonic() - started)}; open {near(folder.path / PAGE)} in any browser")
    return AuditResult(folder=folder.path, results=content)


def _codes(codes: Codes, *, alone: bool, label_noise: bool) -> Part:
    """Looks through codes; for copies and doubtful labels only if there are no pictures, which show them better."""
    findings, table = of_codes(codes), ""
    if alone:
        findings += of_rows(codes)
    found = doubts(codes) if alone and label_noise else None
    if found is not None:
        findings.append(of_doubts(codes, found))
        table = table_of(codes, found)
    return Part(rows=codes, findings=findings, table=table)


def _pictures(
    index: FaceIndex, detector: str | None, tell: Say, say: Say | None, *, label_noise: bool
) -> tuple[Part, str]:
    """Looks through the pictures of a data root; also returns a line about the files that are none."""
    for remark in index.remarks:
        tell(remark)
    pictures = measure(index, detector, say)
    others = passed_over.brief(index.passed_over)
    tell(f"pictures: {len(pictures)}, {len(pictures.unreadable)} unreadable, {others}")
    findings: list[Finding] = [*of_rows(pictures), *of_pictures(pictures)]
    table = ""
    if label_noise:
        tell("labels: judging them takes minutes for 30,000; --no_label_noise leaves it out")
        found = doubts(pictures)
        if found is None:
            tell("labels: not judged, since there are too few rows of each class, or all pictures are alike")
        else:
            findings.append(of_doubts(pictures, found))
            table = table_of(pictures, found)
    return Part(rows=pictures, findings=findings, index=index, table=table), others


def _summary(content: JsonObject, out: Path) -> list[str]:
    """A line for each finding, and how to leave out what is certain."""
    found = content["findings"]
    width = max(len(one["title"]) for one in found)
    lines = []
    for one in found:
        by_split = ", ".join(f"{n} {split}" for split, n in one["by_split"].items())
        lines.append(f"  {one['title']:<{width}} {one['rows']:>7,}  {by_split}".rstrip())
    if content["certain"]["rows"]:
        lines.append(f"leave out what is wrong beyond doubt: --exclude {near(out / content['certain']['list'])}")
    full = [name for name in content["files"] if name.startswith(passed_over.FILE.removesuffix(".jsonl"))]
    return [*lines, f"written: {', '.join((PAGE, RESULTS, *full))}, {LISTS}/, {SHEETS}/ in {near(out)}"]
