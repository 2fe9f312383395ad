"""Publishing to the Hub by `huggingface_hub`, against a stand-in for its API on loopback."""

from __future__ import annotations

import shutil

import pytest
from conftest import echat, echat_process, tree
from hub_server import TOKEN, serving
from tone_runs import build_tones

from manifests.errors import UserError, WorkFailedError
from pipeline.publish import hub as publishing
from pipeline.publish.hub import Access, _check_card, publish_hub
from pipeline.publish.release import Terms, make_release
from pipeline.publish.upload import _still_ours, held, upload

TARGET = "hf://datasets/me/tones"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    build_tones(folder)
    return folder / "out"


@pytest.fixture(scope="module")
def release(run):
    return make_release(run, Terms("CC-BY-4.0", anyway=True))


@pytest.fixture
def hub(monkeypatch):
    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")  # it speaks to servers of its own, which have no stand-in
        import huggingface_hub.constants as constants

        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield server


def content(hub, name="me/tones"):
    return {path: data for path, data in hub.repos[name].files.items() if path != ".gitattributes"}


def as_bytes(release):
    return {name: (release / name).read_bytes() for name in tree(release)}


def send(run, release, **access):
    return publish_hub(release, TARGET, run / "publish", Access(**access))


def test_the_command_publishes_verifies_and_has_nothing_to_do_again(run, release, hub):
    options = ("--licence", "CC-BY-4.0", "--anyway", "--private", "--gated", "manual")
    result = echat("publish", run, TARGET, *options)
    assert result.returncode == 0, result.stderr
    assert content(hub) == as_bytes(release)
    repo = hub.repos["me/tones"]
    assert (repo.visibility, repo.gated) == ("private", "manual")
    assert all("dataset.json" not in repo.trees[head] for head in repo.heads[:-1]), "complete with the last commit"
    assert TOKEN not in result.stdout + result.stderr
    assert not any(TOKEN.encode() in path.read_bytes() for path in run.rglob("*") if path.is_file())
    result = echat_process("verify", TARGET)
    assert (result.returncode, result.stdout) == (0, f"{TARGET}: verified\n"), result.stderr
    commits = len(repo.heads)
    done = send(run, release)
    assert (done.sent, done.there, len(repo.heads)) == (0, len(tree(release)), commits)
    assert (repo.visibility, repo.gated) == ("private", "manual"), "what is not asked for stays as it is"


def test_an_interrupted_publish_is_not_complete_and_goes_on(run, release, hub, monkeypatch):
    monkeypatch.setattr(publishing, "_COMMIT_FILES", 3)
    hub.die_at = 4
    with pytest.raises(WorkFailedError, match="publish again to go on"):
        send(run, release)
    there = content(hub)
    assert there and "dataset.json" not in there
    uploads = len(hub.uploads)
    done = send(run, release)
    assert content(hub) == as_bytes(release)
    assert done.there > 0 and len(hub.uploads) == len(set(hub.uploads)) > uploads, "no large file is sent twice"


def test_another_release_replaces_all_of_the_one_before(run, release, hub, tmp_path):
    (tmp_path / "large").mkdir()
    build_tones(tmp_path / "large", plan={"quotas": {"emotion": 14}}, shard={"rows": 2})
    other = make_release(tmp_path / "large" / "out", Terms("CC-BY-4.0", "0.9.0", anyway=True))
    assert set(tree(other)) - set(tree(release))
    send(tmp_path / "large" / "out", other)
    head = len(hub.repos["me/tones"].heads)
    done = send(run, release)
    assert done.removed == len(set(tree(other)) - set(tree(release)))
    assert content(hub) == as_bytes(release)
    repo = hub.repos["me/tones"]
    assert all("dataset.json" not in repo.trees[oid] for oid in repo.heads[head:-1])


def test_what_was_withdrawn_is_gone_though_the_publish_was_interrupted(run, release, hub, tmp_path, monkeypatch):
    (tmp_path / "large").mkdir()
    build_tones(tmp_path / "large", plan={"quotas": {"emotion": 14}}, shard={"rows": 2})
    other = make_release(tmp_path / "large" / "out", Terms("CC-BY-4.0", "0.9.0", anyway=True))
    send(tmp_path / "large" / "out", other)
    monkeypatch.setattr(publishing, "_COMMIT_FILES", 3)
    hub.die_at = hub.commits + 3
    with pytest.raises(WorkFailedError, match="publish again to go on"):
        send(run, release)
    assert "dataset.json" not in content(hub)
    send(run, release)
    assert content(hub) == as_bytes(release)
    repo = hub.repos["me/tones"]
    repo.commit({**repo.files, "left.tar": b"x"})
    with pytest.raises(UserError, match=r"holds left\.tar, which is of no release that it lists; delete it there"):
        send(run, release)


def test_what_was_changed_on_the_hub_is_repaired_and_found(run, release, hub):
    send(run, release)
    repo, name = hub.repos["me/tones"], next(path for path in tree(release) if path.endswith(".tar"))
    repo.commit({**repo.files, name: repo.files[name][:-1] + b"x", "statistics.json": b"{}"})
    result = echat_process("verify", TARGET)
    assert result.returncode == 1
    assert f"{name}: the sha256 is not the listed one" in result.stdout and "statistics.json" in result.stdout
    done = send(run, release)
    assert done.sent == 3  # both, and dataset.json after them
    assert content(hub) == as_bytes(release)


def test_of_two_publishes_at_once_one_is_refused(run, release, hub):
    def another(server, repo):
        if server.commits == 2:
            repo.commit({**repo.files, "release.json": b"theirs"})

    hub.before_commit = another
    with pytest.raises(WorkFailedError, match="somebody else has published there in between"):
        send(run, release)
    assert "dataset.json" not in content(hub)
    with held(run / "publish", TARGET):
        result = echat("publish", run, TARGET, "--licence", "CC-BY-4.0", "--anyway")
    assert result.returncode == 2 and "is being published there by another process" in result.stderr


def test_foreign_files_are_never_touched(run, release, hub):
    send(run, release)
    repo = hub.repos["me/tones"]
    repo.commit({".gitattributes": b"", "thesis.tex": b"years of work"})
    with pytest.raises(UserError, match="did not publish"):
        send(run, release)
    assert set(repo.files) == {".gitattributes", "thesis.tex"}


def test_wrong_tokens_owners_and_targets_are_said_in_a_sentence(run, hub, monkeypatch):
    command = ("publish", run, TARGET, "--licence", "CC-BY-4.0", "--anyway")
    for changes, target, words in (
        ({"HF_TOKEN": "hf_wrongToken"}, TARGET, "the Hub refuses the token in HF_TOKEN"),
        ({}, "hf://datasets/others/tones", "the token in HF_TOKEN may not write there"),
        ({"HF_TOKEN": ""}, TARGET, "needs a token that may write; set HF_TOKEN in the environment"),
        ({}, "hf://datasets/tones", "write hf://datasets/OWNER/NAME"),
        ({}, "hf://datasets/me/../x", "write hf://datasets/OWNER/NAME"),
    ):
        monkeypatch.setenv("HF_TOKEN", changes.get("HF_TOKEN", TOKEN))
        result = echat(*command[:2], target, *command[3:])
        assert result.returncode == 2, (target, result.stderr)
        assert words in result.stderr
        assert "hf_wrongToken" not in result.stderr and TOKEN not in result.stderr and "Traceback" not in result.stderr
    assert not hub.repos


def test_flags_of_the_hub_are_refused_elsewhere(run, tmp_path):
    for options, words in ((("--private",), "are of hf:// targets"), (("--gated", "maybe"), "hf:// targets")):
        result = echat("publish", run, tmp_path / "x", "--licence", "CC0-1.0", "--anyway", *options)
        assert result.returncode == 2 and words in result.stderr


def test_a_card_that_the_hub_refuses_stops_before_anything_is_complete(run, release, hub, tmp_path):
    card = tmp_path / "README.md"
    card.write_text("---\nlicense: [\n---\n")
    with pytest.raises(UserError, match="header that the Hub cannot read"):
        _check_card(card)
    card.write_text("---\nlicense: mit\nlanguage: [en]\n---\n")
    with pytest.raises(UserError, match="has no configs in its header"):
        _check_card(card)
    _check_card(release / "README.md")
    hub.repos.clear()
    import hub_server

    hub_server.LICENCES, known = ("none-known",), hub_server.LICENCES
    try:
        with pytest.raises(WorkFailedError, match=r"Invalid metadata in README\.md\. - \"license\" must be one of"):
            send(run, release)
    finally:
        hub_server.LICENCES = known
    assert "dataset.json" not in content(hub)


def test_a_place_that_another_release_has_begun_to_fill_is_not_called_complete(run, release, tmp_path):
    from fsspec.implementations.local import LocalFileSystem

    target = tmp_path / "place"
    upload(release, str(target), run / "publish")
    system = LocalFileSystem(use_listings_cache=False)
    _still_ours(system, str(target), release)
    (target / "release.json").write_text("{}")
    with pytest.raises(WorkFailedError, match="another release there"):
        _still_ours(system, str(target), release)
    shutil.rmtree(target)
    with held(run / "publish", str(target)), pytest.raises(UserError, match="by another process"):
        upload(release, str(target), run / "publish")
    assert not target.exists()
