"""Run manifests: what is wrong is said with file, place and what is allowed; what is right survives a round trip."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, merged
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.errors import UserError
from manifests.labels import family_of
from manifests.run import RunManifest, dump_run, load_run, shipped_runs

BASE: dict[str, Any] = yaml.safe_load((ROOT / "manifests" / "runs" / "tone.yaml").read_text())


def written(folder: Path, **changes: Any) -> Path:
    """The tone manifest with some keys changed."""
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(merged(BASE, changes)))
    return path


def refusal(path: Path) -> str:
    """The sentence with which a manifest is refused; it names the file."""
    with pytest.raises(UserError) as error:
        load_run(path)
    assert str(path) in str(error.value)
    return str(error.value)


def refused_text(folder: Path, text: str | bytes) -> str:
    """Likewise, for a file of this content."""
    path = folder / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return refusal(path)


def test_a_manifest_is_read(tmp_path: Path) -> None:
    manifest = load_run(written(tmp_path, seed=5))
    assert (manifest.name, manifest.seed, manifest.plan.quotas["age"]) == ("tone", 5, 6)
    assert manifest.select.agree == ("age", "gender", "emotion", "event")


def test_a_syntax_error_is_placed_by_file_line_and_column(tmp_path: Path) -> None:
    message = refused_text(tmp_path, "name: tone\nseed: 1\nplan: {quotas: [1\nlanguage: en\n")
    assert f"{tmp_path / 'mine.yaml'}:4:9: " in message
    assert "YAML" in message


def test_a_tab_is_placed_too(tmp_path: Path) -> None:
    assert ":2:1: " in refused_text(tmp_path, "plan:\n\tquotas: {}\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "mapping"),
        ("- a\n- b\n", "mapping"),
        ("just words", "mapping"),
        ("a: 1\n---\nb: 2\n", ":2:1: "),
        ("a: *nobody\n", ":1:4: "),
        (b"name: caf\xe9\n", "UTF-8"),
        ("a: 1".encode("utf-16"), "UTF-8"),
        ("a: \x07\n", "YAML"),
        ("1: 2\n", "should be strings"),
    ],
)
def test_what_is_no_mapping_in_yaml_is_refused(tmp_path: Path, text: str | bytes, told: str) -> None:
    assert told in refused_text(tmp_path, text)


@pytest.mark.parametrize("text", ["seed: 2001-99-99\n", "seed: 0x_\n", "a: " + "[" * 3000])
def test_what_yaml_itself_cannot_make_a_value_of_is_refused(tmp_path: Path, text: str) -> None:
    refused_text(tmp_path, text)


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    assert "seed" in refused_text(tmp_path, written(tmp_path).read_text() + "seed: 2\n")


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object:manifests.run.Pool {}",
        "!!python/object/apply:os.getpid []",
        "!!python/name:os.system",
        "!!python/tuple [a]",
    ],
)
def test_yaml_cannot_make_python_objects(tmp_path: Path, value: str) -> None:
    assert "python/" in refused_text(tmp_path, f"name: tone\nplugins: {value}\n")


@pytest.mark.parametrize(
    ("changes", "path", "told"),
    [
        ({"sped": 1}, "sped", "not a key"),
        ({"plan": {"qotas": {}}}, "plan.qotas", "not a key"),
        ({"select": {"wer_max": 0.1}}, "select.wer_max", "not a key"),
        ({"executor": {"kind": "inline", "deadline": 5}}, "executor.deadline", "not a key"),
        ({"workers": [{"name": "a"}, {"name": "b", "gpu": 1}]}, "workers[1].gpu", "not a key"),
        ({"plan": {"quotas": {"weather": 3}}}, "plan.quotas", "use one of emotion, age, gender"),
        ({"plan": {"quotas": {"emotion": -1}}}, "plan.quotas", "emotion is negative"),
        ({"plan": {"quotas": {"emotion": {"sad": -1, "happy": 5}}}}, "plan.quotas", "emotion is negative"),
        ({"plan": {"quotas": {"emotion": "many"}}}, "plan.quotas.emotion", "many"),
        ({"plan": {"quotas": {"emotion": 2.5}}}, "plan.quotas.emotion", "2.5"),
        ({"plan": {"splits": {"train": 0.8, "test": 0.1}}}, "plan", "sum to 1, not 0.9"),
        (
            {"plan": {"splits": {"train": 1.2, "test": -0.2}}},
            "plan.splits.test",
            "greater than or equal to 0",
        ),
        ({"plan": {"splits": {"training": 1.0}}}, "plan", "use train, validation, test"),
        ({"plan": {"splits": {"train": float("nan")}}}, "plan.splits.train", "nan"),
        ({"plan": {"intensity": [0.9, 0.2]}}, "plan", "smaller number first"),
        ({"plan": {"contrastive": 1.5}}, "plan.contrastive", "less than or equal to 1"),
        ({"plan": {"part_rows": 0}}, "plan.part_rows", "greater than 0"),
        ({"plan": {"yields": 0}}, "plan.yields", "greater than 0"),
        ({"plan": {"yields": 1.5}}, "plan.yields", "less than or equal to 1"),
        ({"plan": {"yields": {"weather": 0.5}}}, "plan.yields", "use one of emotion, age, gender"),
        ({"plan": {"yields": {"emotion": {"sad": 0}}}}, "plan.yields.emotion.sad", "greater than 0"),
        ({"plan": {"retries": -1}}, "plan.retries", "greater than or equal to 0"),
        ({"select": {"precision": 1}}, "select.precision", "less than 1"),
        ({"select": {"calibration_share": 2}}, "select.calibration_share", "less than or equal to 1"),
        ({"select": {"confidence_min": {"accent": 0.5}}}, "the document", "'accent': use one of age, emotion"),
        ({"select": {"confidence_min": {"age_2": 0.5}}}, "the document", "'age_2': use one of age, emotion"),
        ({"select": {"mos_min": 3}}, "the document", "threshold on a sample"),
        ({"select": {"mos_min": 3}, "mos": {"engine": "x", "share": 0.5}}, "the document", "set mos.share: 1"),
        ({"select": {"mos_min": 3}, "mos": {"engine": "x"}}, "the document", "set mos.share: 1"),
        ({"annotate": {"age": []}}, "the document", "annotate.age names no engine"),
        ({"annotate": {"age": 5}}, "annotate.age", "should be a list"),
        ({"plan": {"multi": ["age"]}}, "plan.multi", "two or more"),
        ({"plan": {"multi": ["age", "age"]}}, "plan.multi", "different"),
        ({"plan": {"multi": ["age", "accent"]}}, "plan.multi", "age, gender, emotion, event"),
        ({"language": "fr"}, "language", "use one of en, zh"),
        ({"language": False}, "language", "False"),
        ({"name": "My Run"}, "name", "pattern"),
        ({"name": "x/../../y"}, "name", "pattern"),
        ({"annotate": {"accent": {"engine": "tone"}}}, "the document", "use one of age, gender"),
        (
            {"select": {"confidence_min": {"age": 1.5}}},
            "select.confidence_min.age",
            "less than or equal to 1",
        ),
        ({"shard": {"rows": 0}}, "shard.rows", "greater than 0"),
        ({"executor": {"kind": "slurm"}}, "executor.kind", "'inline' or 'ray'"),
    ],
)
def test_a_wrong_value_is_named_by_its_key_path(tmp_path: Path, changes: dict, path: str, told: str) -> None:
    document = dict(BASE)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(document.get(key), dict)
        document[key] = {**document[key], **value} if both else value
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(document))
    message = refusal(file)
    assert f" {path}" in message
    assert told in message


@pytest.mark.parametrize("quotas", [{}, {"emotion": 0}, {"emotion": {"sad": 0}, "age": 0}])
def test_a_plan_of_nothing_is_refused(tmp_path: Path, quotas: dict) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({**BASE, "plan": {"quotas": quotas}}))
    assert "plan.quotas" in refusal(file)


def test_agreement_needs_an_annotator(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({**BASE, "annotate": {"gender": {"engine": "tone"}}}))
    message = refusal(file)
    assert "select.agree names age" in message
    assert "annotate.age" in message


def test_a_family_has_one_annotator_or_several(tmp_path: Path) -> None:
    one, other = {"engine": "tone"}, {"engine": "f0_formants"}
    manifest = load_run(written(tmp_path, annotate={"gender": [one, other], "age": one, "speakers": [other]}))
    assert manifest.annotate["gender"] == (one, other)
    assert manifest.annotate["age"] == (one,)
    assert manifest.slots == ("age", "emotion", "event", "gender", "gender_2", "speakers")
    assert manifest.slots_of("gender") == ("gender", "gender_2")
    assert manifest.slots_of("nobody") == ()
    assert [family_of(slot) for slot in manifest.slots] == ["age", "emotion", "event", "gender", "gender", "speakers"]
    select = {"select": {"agree": ["gender", "speakers"], "confidence_min": {"gender_2": 0.7}}}
    assert load_run(written(tmp_path, annotate=manifest.model_dump()["annotate"], **select)).slots == manifest.slots


def test_every_row_may_be_held_to_an_opinion_score(tmp_path: Path) -> None:
    manifest = load_run(written(tmp_path, select={"mos_min": 3}, mos={"engine": "dnsmos", "share": 1}))
    assert manifest.select.mos_min == 3.0


def test_frozen_thresholds_are_those_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path, select={"thresholds": "mine/thresholds.json"})
    monkeypatch.chdir("/")
    assert load_run(file).select.thresholds == tmp_path / "mine" / "thresholds.json"


@pytest.mark.parametrize("key", ["name", "plan", "speak_query", "speak_reply", "transcribe", "rate", "tokenize"])
def test_what_has_no_default_must_be_there(tmp_path: Path, key: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({name: value for name, value in BASE.items() if name != key}))
    assert f"{key}: is missing" in refusal(file)


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    message = refusal(written(tmp_path, sped=1, language="fr", shard={"rows": -1}))
    assert all(f"{key}: " in message for key in ("sped", "language", "shard.rows"))


@pytest.mark.parametrize("key", ["query_wer_max", "snr_db_min"])
def test_a_threshold_that_switches_itself_off_is_refused(tmp_path: Path, key: str) -> None:
    assert f"select.{key}" in refusal(written(tmp_path, select={key: float("nan")}))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.yaml")
    assert "directory" in refusal(tmp_path)


def test_paths_are_those_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    paths = {
        "scenarios": "mine/bank.yaml",
        "voices": "../voices.csv",
        "openers": str(tmp_path / "openers.yaml"),
    }
    file = written(tmp_path / "deep", plan=paths)
    monkeypatch.chdir("/")
    plan = load_run(file).plan
    assert plan.scenarios == tmp_path / "deep" / "mine" / "bank.yaml"
    assert plan.voices == tmp_path / "voices.csv"
    assert plan.openers == tmp_path / "openers.yaml"


def test_a_resolved_manifest_means_the_same_in_another_folder(tmp_path: Path) -> None:
    manifest = load_run(written(tmp_path, plan={"scenarios": "bank.yaml"}))
    other = tmp_path / "other"
    other.mkdir()
    (other / "run.yaml").write_text(dump_run(manifest))
    assert load_run(other / "run.yaml") == manifest


@pytest.mark.parametrize("name", shipped_runs())
def test_shipped_manifests_are_found_by_name_from_anywhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_run(Path(name)) == load_run(shipped_runs()[name])


def test_an_own_file_goes_before_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path).rename(tmp_path / "demo")
    assert load_run(Path("demo")).name == "tone"


RATIOS = st.floats(0, 1)
COUNTS = st.integers(0, 500)
MANIFESTS = st.fixed_dictionaries(
    {
        "seed": st.integers(),
        "plan": st.fixed_dictionaries(
            {
                "quotas": st.fixed_dictionaries(
                    {"neutral": st.integers(1, 9)},
                    optional={
                        "emotion": COUNTS,
                        "gender": st.fixed_dictionaries({}, optional={"male": COUNTS, "female": COUNTS}),
                    },
                ),
                "contrastive": RATIOS,
                "intensity": st.tuples(RATIOS, RATIOS).map(sorted),
                "splits": st.sampled_from([{"train": 1.0}, {"test": 0.5, "train": 0.5}]),
                "part_rows": st.integers(1, 10**6),
            },
            optional={"scenarios": st.sampled_from(["bank.yaml", "ü n/b.yaml", "/abs/b.yaml"])},
        ),
        "select": st.fixed_dictionaries(
            {
                "query_wer_max": st.floats(0),
                "agree": st.lists(st.sampled_from(["age", "event"]), unique=True),
            },
            optional={"confidence_min": st.dictionaries(st.sampled_from(["age", "event"]), RATIOS)},
        ).filter(lambda select: set(select.get("confidence_min", ())) <= set(select["agree"])),
        "rate": st.fixed_dictionaries(
            {"engine": st.text(max_size=9)},
            optional={"x": st.integers() | st.none() | st.text(st.characters(exclude_categories=("Cs", "Cc")))},
        ),
        "executor": st.fixed_dictionaries({"kind": st.sampled_from(["inline", "ray"]), "ahead": st.integers(1, 99)}),
        "workers": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from("ab"), "gpus": st.floats(0, 1) | st.integers(0, 8)}),
            min_size=1,
            max_size=2,
        ),
    }
)


@settings(deadline=None, max_examples=40)
@given(MANIFESTS)
def test_what_is_dumped_loads_as_it_was(changes: dict) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder).resolve() / "run.yaml"
        file.write_text(yaml.safe_dump({**BASE, **changes}))
        manifest = load_run(file)
        file.write_text(dump_run(manifest))
        assert load_run(file) == manifest


def test_a_dump_writes_defaults_out(tmp_path: Path) -> None:
    document = yaml.safe_load(dump_run(load_run(written(tmp_path))))
    assert document["select"]["query_seconds"] == [0.2, 30.0]
    assert set(document) == set(RunManifest.model_fields)


def test_a_manifest_cannot_be_changed(tmp_path: Path) -> None:
    manifest = load_run(written(tmp_path))
    with pytest.raises(ValueError, match="frozen"):
        manifest.seed = 2


def test_an_annotator_may_be_named_alone(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    annotate = {"emotion": ["emotion2vec", {"engine": "cues"}], "age": "voice"}
    file.write_text(yaml.safe_dump({**BASE, "annotate": annotate, "select": {}}))
    found = load_run(file).annotate
    assert found == {"emotion": ({"engine": "emotion2vec"}, {"engine": "cues"}), "age": ({"engine": "voice"},)}
