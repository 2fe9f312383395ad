"""A run in the hands of strangers: released, sent, interrupted, corrupted, replaced, loaded."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import time

import pytest
import soundfile
import yaml
from conftest import ECHAT, ROOT, echat, echat_process, merged, tree

from manifests.errors import UserError
from manifests.run import load_run
from pipeline.build import build
from pipeline.inspect import read_documents
from pipeline.publish.release import Terms, _markdown, make_release
from pipeline.publish.upload import upload, verify_remote
from pipeline.verify import verify

TERMS = Terms("CC-BY-4.0", anyway=True)  # tones are no speech, and the release must say so


def tone(folder, **changes):
    base = yaml.safe_load((ROOT / "manifests" / "runs" / "tone.yaml").read_text())
    (folder / "run.yaml").write_text(yaml.safe_dump(merged(base, changes)))
    return build(load_run(folder / "run.yaml"), folder / "run.yaml", folder / "out", quiet=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("publish")
    tone(folder)
    return folder / "out"


@pytest.fixture(scope="module")
def release(run):
    return make_release(run, TERMS)


@pytest.fixture(scope="module")
def s3():
    """An S3 server of its own process's thread on loopback, with one bucket."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    values = {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        import s3fs

        system = s3fs.S3FileSystem(skip_instance_cache=True)
        system.mkdir("bucket")
        yield system
    server.stop()


def test_a_release_verifies_and_lists_every_file(release):
    assert verify(release) == []
    listed = {line.split("  ", 1)[1] for line in (release / "checksums.sha256").read_text().splitlines()}
    assert listed | {"checksums.sha256"} == set(tree(release))
    (release / "index" / "extra").write_text("x")
    assert [str(finding) for finding in verify(release) if "not listed" in str(finding)]
    (release / "index" / "extra").unlink()


def test_the_index_answers_sql_and_finds_the_sound_in_the_tar(release):
    duckdb = pytest.importorskip("duckdb")
    rows = duckdb.sql(f"SELECT * FROM '{release}/index/*.parquet' ORDER BY id").fetchall()
    assert len(rows) == 40
    names = [item[0] for item in duckdb.sql(f"DESCRIBE SELECT * FROM '{release}/index/train.parquet'").fetchall()]
    for values in rows[:5]:
        row = dict(zip(names, values, strict=True))
        for role in ("query", "reply"):
            with (release / row["shard"]).open("rb") as stream:
                stream.seek(row[f"{role}_offset"])
                samples, rate = soundfile.read(io.BytesIO(stream.read(row[f"{role}_size"])))
            assert len(samples) / rate == pytest.approx(row[f"{role}_seconds"], abs=1e-3)


def test_croissant_is_valid_and_its_records_iterate(release):
    croissant = pytest.importorskip("mlcroissant")
    dataset = croissant.Dataset(jsonld=release / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    sizes = {split: len(list(dataset.records(split))) for split in ("train", "validation", "test")}
    assert sizes == {"train": 27, "validation": 9, "test": 4}
    texts = {row["test/query_text"].decode() for row in dataset.records("test")}
    own = {document["turns"][0]["query"]["text"] for document in read_documents(release / "test-1turn-00000.tar")}
    assert texts == own
    document = json.loads((release / "croissant.json").read_text())
    assert document["rai:dataBiases"]


def test_statistics_are_those_of_the_selection_and_of_what_is_published(release):
    statistics = json.loads((release / "statistics.json").read_text())
    dataset = json.loads((release / "dataset.json").read_text())
    published = statistics["published"]
    assert statistics["verdict"] == {"kept": 40}
    assert published["dialogues"] == published["turns"] == 40
    assert published["split"] == {name: item["rows"] for name, item in dataset["splits"].items()}
    seconds = published["query_seconds"]["sum"] + published["reply_seconds"]["sum"]
    assert seconds == pytest.approx(dataset["seconds"], abs=0.01)
    assert sum(published["emotion"].values()) == 40


def test_pandas_reads_the_index(release):
    pandas = pytest.importorskip("pandas")
    frame = pandas.concat(map(pandas.read_parquet, sorted((release / "index").glob("*.parquet"))))
    assert len(frame) == frame["id"].nunique() == 40
    assert set(frame["split"]) == {"train", "validation", "test"}


def test_the_card_has_the_header_that_a_hub_reads(release):
    from huggingface_hub import DatasetCard

    card = DatasetCard.load(release / "README.md")
    data = card.data.to_dict()
    assert data["license"] == "cc-by-4.0"
    assert data["language"] == ["en"]
    assert {item["config_name"] for item in data["configs"]} == {"default", "index"}
    assert "Not for use beyond tests" in card.text
    assert "40 planned = 40 kept + 0 rejected + 0 quarantined" in card.text


def test_no_text_is_markup_in_the_card():
    hostile = "<script>x</script> | [a](javascript:x) `code` **b** \n# head"
    safe = _markdown(hostile)
    assert "\n" not in safe
    assert "<" not in safe
    assert not re.search(r"(?<!\\)[\]\[|`*#]", safe)


def test_a_copy_in_a_folder_is_the_release(run, release, tmp_path):
    done = upload(release, str(tmp_path / "copy"), run / "publish")
    assert (done.sent, done.there, done.removed) == (len(tree(release)), 0, 0)
    assert tree(tmp_path / "copy") == tree(release)
    again = upload(release, str(tmp_path / "copy"), run / "publish")
    assert (again.sent, again.there) == (0, done.sent)


def test_a_larger_release_replaces_the_smaller_and_leaves_nothing_behind(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    tone(tmp_path / "a", shard={"rows": 4})
    tone(tmp_path / "b", plan={"quotas": {"neutral": 3}})
    many, few = (make_release(tmp_path / name / "out", TERMS) for name in ("a", "b"))
    target = str(tmp_path / "target")
    upload(many, target, tmp_path / "notes")
    done = upload(few, target, tmp_path / "notes")
    assert done.removed
    assert tree(tmp_path / "target") == tree(few)


def test_what_fails_on_the_way_is_never_listed_as_complete(run, release, tmp_path, monkeypatch):
    target = tmp_path / "full"
    upload(release, str(target), run / "publish")
    (target / "README.md").write_text("torn")  # of another size: it is to be sent again
    from fsspec.implementations.local import LocalFileSystem

    def put_file(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(LocalFileSystem, "put_file", put_file)
        with pytest.raises(UserError, match="No space left on device"):
            upload(release, str(target), run / "publish")
    assert not (target / "dataset.json").exists()
    upload(release, str(target), run / "publish")
    assert tree(target) == tree(release)


def test_killed_uploads_to_a_bucket_end_identical(run, release, s3):
    target = "s3://bucket/killed"
    command = [ECHAT, "publish", run, target, "--licence", "CC-BY-4.0", "--anyway", "--workers", "1"]
    complete = "bucket/killed/dataset.json"
    for wanted in (2, 9):  # kill it once that many files are there
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
        assert process.stdout
        for count, _ in enumerate(process.stdout, 1):
            if count >= wanted:
                break
        process.kill()
        process.wait()
        s3.invalidate_cache()
        assert not s3.exists(complete)
    result = echat_process(*command[1:])
    assert result.returncode == 0, result.stderr
    assert "were there" in result.stdout
    s3.invalidate_cache()
    got = {path.removeprefix("bucket/killed/"): s3.cat_file(path) for path in s3.find("bucket/killed")}
    assert got == {name: (release / name).read_bytes() for name in tree(release)}
    assert list(verify_remote(target)) == []


def test_a_corrupted_or_missing_object_is_found(run, release, s3):
    target = "s3://bucket/corrupt"
    upload(release, target, run / "publish")
    s3.pipe_file("bucket/corrupt/train-1turn-00000.tar", b"not a tar")
    s3.rm_file("bucket/corrupt/README.md")
    result = echat_process("verify", target)
    assert result.returncode == 1
    assert "train-1turn-00000.tar: the sha256 is not the listed one" in result.stdout
    assert "README.md: is missing" in result.stdout
    s3.rm_file("bucket/corrupt/dataset.json")
    result = echat_process("verify", target)
    assert result.returncode == 1
    assert "has no dataset.json" in result.stdout


def test_wrong_places_and_missing_credentials_are_said_in_a_sentence(run, s3, monkeypatch):
    options = ("--licence", "CC-BY-4.0", "--anyway")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    endpoint = {"AWS_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL"], "AWS_EC2_METADATA_DISABLED": "true"}
    for target, env, words in (
        ("s3://no-such-bucket/x", None, "does not exist"),
        ("s3://bucket/x", environment | endpoint, "credentials"),
        ("nowhere://bucket/x", None, "cannot be used"),
    ):
        started = time.time()
        result = echat_process("publish", run, target, *options, env=env)
        assert result.returncode == 2, (target, result.stderr)
        assert words in result.stderr
        assert "Traceback" not in result.stderr
        assert "test" not in result.stderr.replace(str(run), "")  # neither key nor secret
        assert time.time() - started < 120


def test_foreign_files_are_never_touched(run, release, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "checksums.sha256").write_text(f"{'0' * 64}  thesis.tex\n")
    (tmp_path / "thesis.tex").write_text("years of work")
    before = tree(tmp_path)
    with pytest.raises(UserError, match="did not publish"):
        upload(release, str(tmp_path), run / "publish")
    assert tree(tmp_path) == before


def test_a_run_is_not_published_into_itself(run, release):
    before = tree(run / "shards")
    for place in (run, release, run / "shards" / "current", run / "x" / "y", run.parent):
        for target in (str(place), f"file://{place}"):
            with pytest.raises(UserError, match="must be apart"):
                upload(release, target, run / "publish")
    assert tree(run / "shards") == before


def test_a_damaged_shard_is_not_published(tmp_path):
    tone(tmp_path, plan={"quotas": {"neutral": 3}})
    tar = next((tmp_path / "out" / "shards" / "current").glob("*.tar"))
    data = bytearray(tar.read_bytes())
    data[700] ^= 1
    tar.write_bytes(data)
    with pytest.raises(UserError, match="is damaged"):
        make_release(tmp_path / "out", TERMS)
    (tar.parent / "checksums.sha256").write_bytes(b"")
    with pytest.raises(UserError, match=r"checksums\.sha256: is damaged"):
        make_release(tmp_path / "out", TERMS)
    assert not any((tmp_path / "out" / "release").iterdir())


def test_a_release_without_its_list_of_files_is_not_published(release, tmp_path):
    damaged = shutil.copytree(release, tmp_path / "run" / "release" / release.name)
    (damaged / "checksums.sha256").write_bytes(b"")
    with pytest.raises(UserError, match=r"checksums\.sha256 is damaged"):
        upload(damaged, str(tmp_path / "target"), tmp_path / "ledger")


def test_publishing_again_repairs_and_follows_the_release_asked_for(run, release, tmp_path):
    target, other = tmp_path / "t", make_release(run, Terms("CC-BY-4.0", "1.0.1", anyway=True))
    upload(release, str(target), run / "publish")
    tar = next(target.glob("train*.tar"))
    data = bytearray(tar.read_bytes())
    data[700] ^= 1
    tar.write_bytes(data)
    assert upload(release, str(target), run / "publish").sent == 2  # the tar, and dataset.json after it
    assert tree(target) == tree(release)
    upload(other, str(target), tmp_path / "another-ledger")
    assert tree(target) == tree(other)
    upload(release, f"{target}/", run / "publish")
    assert tree(target) == tree(release)


def test_tars_that_are_not_listed_are_found(run, release, s3):
    upload(release, "s3://bucket/extra", run / "publish")
    s3.pipe_file("bucket/extra/train-1turn-99999.tar", b"left over")
    s3.invalidate_cache()
    found = [str(finding) for finding in verify_remote("s3://bucket/extra")]
    assert found == ["s3://bucket/extra/train-1turn-99999.tar: is not listed in checksums.sha256"]


def test_a_licence_that_no_hub_knows_stands_in_the_card(run):
    card = (make_release(run, Terms("LicenseRef-Mine", anyway=True)) / "README.md").read_text()
    assert 'license_name: "LicenseRef-Mine"' in card
    assert "Licence: LicenseRef-Mine." in card


def test_passwords_in_a_target_are_not_shown(run):
    result = echat("publish", run, "nowhere://bob:hunter2@host/x?sig=abc", "--licence", "CC0", "--anyway")
    assert result.returncode == 2
    assert "hunter2" not in result.stderr
    assert "abc" not in result.stderr


def test_what_may_not_be_published_is_refused(run, tmp_path):
    with pytest.raises(UserError, match="test engine"):
        make_release(run, Terms("CC-BY-4.0"))
    copy = tmp_path / "half"
    shutil.copytree(run, copy, symlinks=True)
    (copy / "shards" / "current").unlink()
    with pytest.raises(UserError, match="not finished"):
        make_release(copy, TERMS)
    result = echat("publish", run, tmp_path / "x", "--licence", "  ")
    assert result.returncode == 2
    assert "--licence: is empty" in result.stderr
    assert not (tmp_path / "x").exists()
