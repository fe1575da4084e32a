"""An audit finds what is wrong with a data set, and its lists leave that out."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

import fervit
from fervit.auditing.copies import conflicting, exact_copies, surplus
from fervit.auditing.findings import of_rows
from fervit.auditing.folder import AuditFolder
from fervit.auditing.pictures import measure
from fervit.auditing.write import Part, write_audit
from fervit.errors import UserError
from fervit.images.demo_faces import write_demo_faces
from fervit.images.index import open_faces
from fervit.labels.emotions import EMOTIONS
from fervit.latents.parts import write_part
from fervit.latents.schema import schema, table
from tests.conftest import ENCODER, Command

KAGGLE = "fer2013_train_val.csv.gz"


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn faces with one fault of each kind."""
    root = tmp_path_factory.mktemp("audited") / "faces"
    write_demo_faces(root, {"train": 5, "val": 3}, seed=0)
    happy, sad = (sorted((root / "train" / name).iterdir()) for name in ("happy", "sad"))
    (root / "val/happy/copy.png").write_bytes(happy[0].read_bytes())
    (root / "train/fear/conflict.png").write_bytes(happy[1].read_bytes())
    Image.open(sad[0]).save(root / "train/sad/again.jpg", quality=80)
    Image.new("RGB", (64, 64), (90, 90, 90)).save(root / "train/angry/blank.png")
    picture = Image.open(sad[1]).convert("RGB")
    Image.fromarray(np.asarray(picture) // 12).save(root / "train/sad/dark.png")
    Image.open(sad[2]).filter(ImageFilter.GaussianBlur(14)).save(root / "train/sad/blurred.png")
    (root / "train/sad/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return root


def listed(folder: Path, name: str) -> dict[str, str]:
    """The image id of each line of an exclusion list -> the reason."""
    lines = [json.loads(line) for line in (folder / "exclude" / f"{name}.jsonl").read_text().splitlines()]
    return {line["image_id"]: line["reason"] for line in lines}


def test_each_fault_is_found_and_shown(faces: Path, tmp_path: Path, command: Command) -> None:
    ended = command("audit", "--data-root", faces, "--output_dir", tmp_path / "audit", "--no_label_noise")
    assert ended.status == 0, ended.err
    out = tmp_path / "audit"
    assert list(listed(out, "blank")) == ["train/angry/blank.png"]
    assert "train/sad/dark.png" in listed(out, "dark")
    assert "train/sad/blurred.png" in listed(out, "blurred")
    assert list(listed(out, "unreadable")) == ["train/sad/broken.png"]
    copies, conflicts, near = (listed(out, name) for name in ("copies", "conflicts", "near_copies"))
    happy = sorted(path.name for path in (faces / "train/happy").iterdir())
    # The copy in validation stays, and that in training is left out.
    assert copies[f"train/happy/{happy[0]}"] == "copy of val/happy/copy.png"
    assert set(conflicts) == {f"train/happy/{happy[1]}", "train/fear/conflict.png"}
    assert "happy" in conflicts["train/fear/conflict.png"]
    assert any(name.startswith("train/sad/") for name in near)
    certain = listed(out, "certain")
    assert set(certain) == {*copies, *conflicts, "train/angry/blank.png", "train/sad/broken.png"}
    assert "certain.jsonl" in ended.out
    results = json.loads((out / "audit.json").read_text())
    assert results["counts"]["pictures"]["train"]["sad"] == 5 + 4
    assert {one["key"]: one["rows"] for one in results["findings"]}["conflicts"] == 2
    assert (out / "sheets/conflicts.png").is_file()
    page = (out / "audit.html").read_text()
    assert "data:image/jpeg" in page
    assert "http" not in page.split("<main>")[1].split("</main>")[0]


def test_no_faces_writes_no_picture(faces: Path, tmp_path: Path) -> None:
    out = tmp_path / "audit"
    fervit.audit(faces, output_dir=out, label_noise=False, say=None)
    found = fervit.audit(faces, output_dir=out, label_noise=False, no_faces=True, say=None)
    assert not list(out.rglob("*.png"))  # those of the first audit are gone, too
    assert "data:image/jpeg" not in found.page.read_text()
    assert listed(out, "blank")


def test_an_audit_deletes_no_file_of_others_and_keeps_edited_lists(
    faces: Path, tmp_path: Path, command: Command
) -> None:
    mine = {"labels.csv": "mine", "exclude/by_hand.txt": "train/sad/a.png", "sheets/consent.txt": "signed"}
    mine["exclude/copies.jsonl"] = '{"image_id": "my own"}\n'
    for name, text in mine.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    first = fervit.audit(faces, output_dir=tmp_path, label_noise=False, say=None)
    assert first.lists["copies"] == tmp_path / "exclude/copies-2.jsonl"
    assert first.results["kept"] == ["exclude/copies.jsonl"]
    edited = first.lists["certain"].read_text().splitlines(keepends=True)[:2]
    mine["exclude/certain.jsonl"] = "".join(edited)
    first.lists["certain"].write_text("".join(edited))
    ended = command("audit", "--data_root", faces, "--output_dir", tmp_path, "--no_label_noise", "--no_faces")
    assert ended.status == 0, ended.err
    assert "kept: exclude/certain.jsonl, exclude/copies.jsonl, which were edited" in ended.out
    assert "--exclude " in ended.out
    assert "exclude/certain-2.jsonl" in ended.out
    assert {name: (tmp_path / name).read_text() for name in mine} == mine
    assert not list(tmp_path.rglob("*.png"))
    lists = {path.name for path in (tmp_path / "exclude").iterdir()}
    assert {"certain-2.jsonl", "copies-2.jsonl", "blank.jsonl"} <= lists
    assert not {"copies-3.jsonl", "blank-2.jsonl"} & lists  # those that nobody has changed are replaced


def test_a_folder_with_an_audit_json_of_others_is_refused(faces: Path, tmp_path: Path) -> None:
    (tmp_path / "audit.json").write_text('{"auditor": "me"}')
    with pytest.raises(UserError, match=r"holds a file audit.json that no audit wrote; give another folder"):
        fervit.audit(faces, output_dir=tmp_path, say=None)
    assert [path.name for path in tmp_path.iterdir()] == ["audit.json"]


def test_every_file_that_is_no_face_is_listed(tmp_path: Path, command: Command) -> None:
    write_demo_faces(tmp_path / "faces", {"train": 2, "val": 2}, seed=0)
    (tmp_path / "faces/train/happy/notes.txt").write_text("x")
    ended = command("audit", "--data_root", tmp_path / "faces", "--output_dir", tmp_path / "out", "--no_label_noise")
    assert "1 passed over (1 no picture)" in ended.out
    assert "_passed_over.jsonl" in ended.out
    (line,) = (tmp_path / "out/_passed_over.jsonl").read_text().splitlines()
    assert json.loads(line) == {"path": "train/happy/notes.txt", "reason": "no picture"}


@pytest.mark.parametrize(("side", "grey"), [(48, 0), (1, 200)])
def test_an_audit_of_pictures_that_are_all_alike(side: int, grey: int, tmp_path: Path) -> None:
    for name in EMOTIONS:
        (tmp_path / "faces/train" / name).mkdir(parents=True)
        for i in range(12):
            Image.new("L", (side, side), grey).save(tmp_path / "faces/train" / name / f"{i}.png")
    lines: list[str] = []
    found = fervit.audit(tmp_path / "faces", output_dir=tmp_path / "audit", say=lines.append)
    assert len(listed(found.folder, "blank")) == 84
    assert any(line.startswith("labels: not judged") for line in lines)


def test_a_picture_that_vanishes_meanwhile_ends_no_audit(tmp_path: Path) -> None:
    write_demo_faces(tmp_path / "faces", {"train": 2}, seed=0)
    one, other = sorted((tmp_path / "faces/train/happy").iterdir())[:2]
    other.write_bytes(one.read_bytes())
    index = open_faces(str(tmp_path / "faces"))
    pictures = measure(index, say=None)
    other.unlink()
    parts = [Part(rows=pictures, findings=of_rows(pictures), index=index)]
    content = write_audit(AuditFolder(tmp_path / "audit"), parts, {"of": "faces"}, pytest.fail)
    assert content["certain"]["rows"] == 1
    assert (tmp_path / "audit/sheets/copies.png").is_file()


def test_an_audit_of_codes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(60, 4, 16)).astype(np.float16)
    codes[3, 0, 5], codes[4], codes[5] = np.nan, 1, codes[5] * 40
    labels = np.arange(60) % 7
    names = [f"{EMOTIONS[label]}/{i}.png" for i, label in enumerate(labels)]
    digests = [f"{i}" for i in range(60)]
    digests[10] = digests[17]  # of the same label
    write_part(table(names, labels, digests, codes, schema(ENCODER)), str(tmp_path / "latents/train"), names)
    found = fervit.audit(latents=tmp_path / "latents", output_dir=tmp_path / "audit", label_noise=False, say=None)
    assert list(listed(found.folder, "codes_not_finite")) == [names[3]]
    assert list(listed(found.folder, "codes_constant")) == [names[4]]
    assert list(listed(found.folder, "codes_far")) == [names[5]]
    assert list(listed(found.folder, "copies")) == [names[17]]


def test_nothing_to_look_at_is_told(tmp_path: Path, command: Command) -> None:
    assert command("audit").status == 2
    with pytest.raises(UserError, match="no latents here"):
        fervit.audit(latents=tmp_path, output_dir=tmp_path / "audit", say=None)


def test_the_copies_of_the_real_fer2013(shared: Path, tmp_path: Path) -> None:
    """The pixels themselves say which rows are copies: some of those, with both splits, and rows that have none."""
    path = shared / "data" / KAGGLE
    if not path.is_file():
        pytest.skip("the real FER2013 is not here")
    heading, *lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    groups: dict[str, list[str]] = {}
    for line in lines:
        groups.setdefault(line.split(",")[1], []).append(line)
    several = [rows for rows in groups.values() if len(rows) > 1]
    assert sum(map(len, several)) - len(several) == 1532
    assert sum(len({row[0] for row in rows}) > 1 for rows in several) == 47
    few = [rows for rows in several if len({row[0] for row in rows}) > 1][:20] + several[:60]
    few = list({rows[0]: rows for rows in few}.values())
    (tmp_path / "fer2013.csv").write_text("\n".join([heading, *lines[:100], *(row for rows in few for row in rows)]))
    pictures = measure(open_faces(str(tmp_path / "fer2013.csv")), say=None)
    found = exact_copies(pictures)
    pixels = [*(line.split(",")[1] for line in lines[:100]), *(row.split(",")[1] for rows in few for row in rows)]
    assert len(surplus(found, pictures.splits)) == len(pixels) - len(set(pixels)) >= 60
    assert len(conflicting(found, pictures.labels)) == sum(len({row[0] for row in rows}) > 1 for rows in few) >= 20
