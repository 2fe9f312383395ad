"""The ablations that ship: whoever builds the runs that they name can train them, under one budget."""

import pytest

from manifests.run import load_run, shipped_runs
from model.ablation.checks import budget
from model.ablation.design import load_ablation, shipped_ablations, training_of
from model.ablation.job import reply_task


@pytest.mark.parametrize("name", shipped_ablations())
def test_variants_are_trainings_of_one_budget_on_runs_that_ship(name: str) -> None:
    ablation = load_ablation(shipped_ablations()[name])
    trainings = {variant: training_of(ablation, variant, 0) for variant in ablation.variants}
    assert len({budget(train) for train in trainings.values()}) == 1
    sources = [train.data.shards for train in trainings.values()] + [s.shards for s in ablation.evaluate.values()]
    for shards in sources:
        assert shards is not None
        run = shards.parent.parent
        assert load_run(shipped_runs()[run.name]).name == run.name


def test_the_papers_variants_leave_out_what_they_say() -> None:
    ablation = load_ablation(shipped_ablations()["ablation_paper"])
    full, words, deaf, prompt = (
        training_of(ablation, name, 0) for name in ("full", "words-only", "no-understanding", "no-think")
    )
    assert [stage.name for stage in full.stages] == ["understanding", "generation", "empathy"]
    assert reply_task(full) == reply_task(words) == reply_task(deaf) == "think_tag"
    assert reply_task(prompt) == "s2s"
    assert not any("understand" in stage.tasks for stage in deaf.stages)
    assert {stage.wanted for stage in words.stages} == {("transcript",)}
    assert [stage.steps for stage in words.stages] == [stage.steps for stage in full.stages]
