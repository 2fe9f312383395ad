"""The loss over two heads is that over joined scores; on a GPU, packed attention is masked attention."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny import assembler, dialogue, tiny_model

from model import attention, encoder
from model.batch import collate
from model.echat import EChat, preset


def test_the_loss_is_the_cross_entropy_of_joined_scores():
    model = tiny_model()
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(40, model.speech_head.in_features, generator=generator, requires_grad=True)
    joint = model.vocabulary.text_size + model.speech_head.out_features
    targets = torch.randint(0, joint, (40,), generator=generator)
    targets[:3] = torch.tensor([0, model.vocabulary.text_size, joint - 1])
    wanted = F.cross_entropy(model.logits(hidden), targets, reduction="sum")
    (gradient,) = torch.autograd.grad(wanted, hidden)
    loss = model.loss_of(hidden, targets)
    (other,) = torch.autograd.grad(loss, hidden)
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(other, gradient, rtol=1e-4, atol=1e-6)


def test_few_bounds_for_many_lengths():
    assert {attention.rounded(length) for length in range(1, 4097)} == {2**n for n in range(4, 13)}
    assert all(attention.rounded(length) >= length for length in range(1, 5000, 7))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_packed_attention_is_masked_attention(monkeypatch):
    torch.manual_seed(0)
    model = EChat(preset("nano")).to("cuda").eval()
    items = [assembler(model).assemble(dialogue(number), "think_tag", draw=0.5) for number in range(8)]
    batch = collate(items, packed=True).to("cuda")
    found = {}
    for kind in ("exact", "masked", "packed"):
        with monkeypatch.context() as patch:
            if kind == "masked":
                for module in (attention, encoder):
                    patch.setattr(module, "can_pack", lambda x, heads: False)
            model.zero_grad()
            with torch.autocast("cuda", torch.bfloat16, enabled=kind != "exact"):
                loss, count = model(batch)
            loss.backward()
            gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
            found[kind] = (float(loss) / int(count), gradient)
    exact, masked, packed = (found[kind] for kind in ("exact", "masked", "packed"))
    assert packed[0] == pytest.approx(exact[0], abs=0.01)
    assert (packed[1] - exact[1]).norm() < 1.5 * (masked[1] - exact[1]).norm() + 1e-3 * exact[1].norm()
