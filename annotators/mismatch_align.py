"""Whether every word of a text is in a clip, and nothing else: gains of leaving its text, in log likelihood.

The text is a chain of phones with optional pauses between words. `forward` and `backward` scores of all word
boundaries tell, in one pass, what the clip would gain if a word were not there, or if anything at all (a loop of
phones) stood in its place or between two words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from annotators.mismatch_acoustics import NUM_STATES, AcousticModel

_NEVER = -1e30
_STEP = float(np.log(0.5))  # staying in a state and leaving it are taken to be equally likely
_PAUSE = -1.0  # for each pause, so that none is put where there is no sound of one
# The loop of phones may say anything and so always fits well; slow speech gives it time to fit better still.
_LOOP_PHONE = -8.0  # for each of its phones
_LOOP_FRAME = -1.5  # for each of its frames
_SILENCE = "SIL"

Pronunciations = Sequence[Sequence[Sequence[str]]]
"""Of each word the pronunciations, each a sequence of phones."""


@dataclass(frozen=True)
class Evidence:
    """What a clip says about each word of its text. Gains are natural logarithms of likelihood ratios.

    Attributes:
        absent: Gain if a word is left out, (num_words,); negative where the word is heard.
        replaced: Gain if any phones stand in a word's place, (num_words,).
        inserted: Gain if any phones stand before a word or at the end, (num_words + 1,).
        num_frames: Duration of each word, a pause beside it included or not, in frames, (num_words,).
        pace: Frames per phone of the middle word. Gains grow with it.
    """

    absent: np.ndarray
    replaced: np.ndarray
    inserted: np.ndarray
    num_frames: np.ndarray
    pace: float


@dataclass(frozen=True)
class _Chain:
    """States of a text. A state may be several senones, of which the best counts.

    Attributes:
        senones: Of each state, int (num_states, most), short ones filled with their first.
        first, last: States that begin and end each pronunciation.
        word: Word of each pronunciation.
    """

    senones: np.ndarray
    first: np.ndarray
    last: np.ndarray
    word: np.ndarray

    def mirrored(self) -> _Chain:
        """The same chain from its end."""
        top, words = len(self.senones) - 1, self.word[-1]
        return _Chain(self.senones[::-1], top - self.last[::-1], top - self.first[::-1], words - self.word[::-1])


def _chain(model: AcousticModel, words: Pronunciations) -> _Chain:
    """The chain of a text. Across words, phones take either a pause or the neighbouring word as context."""
    states: list[list[int]] = []
    first, last, owner = [], [], []
    for number, variants in enumerate(words):
        before = {_SILENCE} | ({variant[-1] for variant in words[number - 1]} if number else set())
        after = {_SILENCE} | ({variant[0] for variant in words[number + 1]} if number + 1 < len(words) else set())
        for variant in variants:
            first.append(len(states))
            owner.append(number)
            for at, phone in enumerate(variant):
                begins, ends = at == 0, at == len(variant) - 1
                left = before if begins else {variant[at - 1]}
                right = after if ends else {variant[at + 1]}
                triples = [model.states(phone, x, y, begins, ends) for x in sorted(left) for y in sorted(right)]
                states += [sorted(set(choice)) for choice in zip(*triples, strict=True)]
            last.append(len(states) - 1)
    most = max(map(len, states))
    senones = np.array([choice + choice[:1] * (most - len(choice)) for choice in states])
    return _Chain(senones, np.array(first), np.array(last), np.array(owner))


def _boundaries(chain: _Chain, fits: np.ndarray, silence: np.ndarray, trace: np.ndarray | None = None) -> np.ndarray:
    """Best score of having said the first words within the first frames.

    Args:
        chain: Of the text.
        fits: Log likelihood of every frame in every state of the chain, (num_frames, num_states).
        silence: And in silence, (num_frames,).
        trace: Filled with the best score of being in each state, and in any pause, at each frame, if given;
            (num_frames, num_states + 1).

    Returns:
        (num_frames + 1, num_words + 1); pauses before and after a word may be included.
    """
    num_words = int(chain.word[-1]) + 1
    starts = np.searchsorted(chain.word, np.arange(num_words))
    scores = np.full((len(fits) + 1, num_words + 1), _NEVER)
    scores[0, 0] = 0.0
    state, pause = np.full(fits.shape[1], _NEVER), np.full(num_words + 1, _NEVER)
    entering = np.empty_like(state)
    for frame in range(len(fits)):
        boundary = scores[frame]
        entering[1:] = state[:-1]
        entering[chain.first] = boundary[chain.word]
        state = np.maximum(state, entering) + (fits[frame] + _STEP)
        pause = np.maximum(pause, boundary + _PAUSE) + (silence[frame] + _STEP)
        if trace is not None:
            trace[frame, :-1], trace[frame, -1] = state, pause.max()
        scores[frame + 1, 1:] = np.maximum.reduceat(state[chain.last], starts)
        np.maximum(scores[frame + 1], pause, out=scores[frame + 1])
    return scores


def _after_loop(entry: np.ndarray, phones: np.ndarray) -> np.ndarray:
    """Best score of ending a loop of phones, entered at any earlier boundary score.

    Args:
        entry: (num_frames + 1, num_boundaries).
        phones: Log likelihood of every frame in the states of every phone, (num_frames, 3, num_phones).

    Returns:
        (num_frames + 1, num_boundaries).
    """
    state = np.full((*phones.shape[1:], entry.shape[1]), _NEVER)
    entering = np.empty_like(state)
    scores = np.full(entry.shape, _NEVER)
    for frame, fits in enumerate(phones):
        entering[0] = np.maximum(entry[frame], scores[frame]) + _LOOP_PHONE
        entering[1:] = state[:-1]
        np.maximum(state, entering, out=state)
        state += (fits + (_STEP + _LOOP_FRAME))[:, :, None]
        scores[frame + 1] = state[-1].max(axis=0)
    return scores


def align(model: AcousticModel, features: np.ndarray, words: Pronunciations) -> np.ndarray:
    """The senone of every frame in the best way to say a text.

    Args:
        model: The acoustic model.
        features: Of the clip, (3, num_frames, 13).
        words: As for `weigh`; the clip must be long enough for them.

    Returns:
        int (num_frames,).
    """
    chain = _chain(model, words)
    senones = np.concatenate([chain.senones, np.repeat(model.silence_states[None, :1], chain.senones.shape[1], 1)])
    known, columns = np.unique(np.concatenate([senones.ravel(), model.silence_states]), return_inverse=True)
    fits = model.log_likelihoods(features, known).astype(np.float64)
    choices = fits[:, columns[: senones.size].reshape(senones.shape)]
    pauses = fits[:, columns[senones.size :]]
    states, silence = choices[:, :-1].max(axis=2), pauses.max(axis=1)
    before, after = (np.empty((len(fits), len(senones))) for _ in range(2))
    _boundaries(chain, states, silence, before)
    _boundaries(chain.mirrored(), states[::-1, ::-1], silence[::-1], after)
    after = np.column_stack([after[::-1, -2::-1], after[::-1, -1]])
    # Both count the frame itself.
    best = (before + after - np.column_stack([states, silence])).argmax(axis=1)
    frames = np.arange(len(fits))
    spoken = senones[best, choices[frames, best].argmax(axis=1)]
    return np.where(best == len(senones) - 1, model.silence_states[pauses.argmax(axis=1)], spoken)


def weigh(model: AcousticModel, features: np.ndarray, words: Pronunciations) -> Evidence | None:
    """Weigh every word of a text against a clip.

    Args:
        model: The acoustic model.
        features: Of the clip, (3, num_frames, 13).
        words: Pronunciations of each word, at least one word with one pronunciation of one phone.

    Returns:
        The evidence; none when the clip has fewer frames than the text has states, so that it cannot say it.
    """
    chain = _chain(model, words)
    shortest = [min(map(len, variants)) for variants in words]
    if NUM_STATES * sum(shortest) > features.shape[1]:
        return None
    senones, columns = np.unique(
        np.concatenate([model.loop_states.ravel(), model.silence_states, chain.senones.ravel()]), return_inverse=True
    )
    fits = model.log_likelihoods(features, senones).astype(np.float64)
    size = model.loop_states.size
    phones = fits[:, columns[:size].reshape(model.loop_states.shape).T]
    silence = fits[:, columns[size : size + NUM_STATES]].max(axis=1)
    states = fits[:, columns[size + NUM_STATES :].reshape(chain.senones.shape)].max(axis=2)
    begun = _boundaries(chain, states, silence)
    left = _boundaries(chain.mirrored(), states[::-1, ::-1], silence[::-1])[::-1, ::-1]
    looped = _after_loop(begun, phones)
    whole = begun[-1, -1]
    num_frames = np.diff((begun + left).argmax(axis=0))
    return Evidence(
        absent=(begun[:, :-1] + left[:, 1:]).max(axis=0) - whole,
        replaced=(looped[:, :-1] + left[:, 1:]).max(axis=0) - whole,
        inserted=(looped + left).max(axis=0) - whole,
        num_frames=num_frames,
        pace=float(np.median(num_frames / shortest)),
    )
