"""The schedule: every cell once, after its needs, downstream first, never too far ahead, and never stuck."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.schedule import Node, Schedule, big_first, relatives

Cell = tuple[str, int]


@dataclass(frozen=True)
class Game:
    """A grid, and what its workers will do."""

    nodes: tuple[Node, ...]
    parts: tuple[int, ...]
    done: frozenset[Cell]
    ahead: int
    workers: int
    seed: int
    losses: float

    @property
    def cells(self) -> set[Cell]:
        """All of the grid."""
        return {(node.name, part) for node in self.nodes for part in self.parts}


@dataclass(frozen=True)
class Move:
    """What happened, and what was done and running just before."""

    kind: str
    cell: Cell | None
    pool: str
    done: frozenset[Cell]
    running: frozenset[Cell]


def play(game: Game) -> list[Move]:
    """Work until the schedule is finished or stuck; cells finish, or are lost, in a random order."""
    draw = random.Random(game.seed)
    schedule = Schedule(game.nodes, game.parts, set(game.done), ahead=game.ahead)
    pools = sorted({node.pool for node in game.nodes})
    moves: list[Move] = []
    busy: list[Cell] = []
    losses = 30

    def move(kind: str, cell: Cell | None, pool: str = "") -> None:
        moves.append(Move(kind, cell, pool, frozenset(schedule.done), frozenset(busy)))

    while not schedule.finished:
        for pool in draw.sample(pools, len(pools)):
            place = {node.name: node.pool for node in game.nodes}
            while sum(place[cell[0]] == pool for cell in busy) < game.workers:
                before = len(moves)
                move("start", None, pool)
                cell = schedule.next(pool)
                if cell is None:
                    break
                moves[before] = Move("start", cell, pool, moves[before].done, moves[before].running)
                busy.append(cell)
        if not busy:
            move("stuck", None)
            break
        cell = busy[-1 if draw.random() < 0.4 else draw.randrange(len(busy))]
        lost = losses > 0 and draw.random() < game.losses
        move("lose" if lost else "finish", cell)
        busy.remove(cell)
        losses -= lost
        (schedule.lose if lost else schedule.finish)(cell)
    else:
        move("end", None)
    return moves


@st.composite
def games(draw: st.DrawFn, max_needs: int = 4, begun: bool = False, ahead: int = 0) -> Game:
    """Random grids; `begun`: some cells are done already, with all that they need; `ahead`: fixed at this."""
    nodes: list[Node] = []
    for number in range(draw(st.integers(1, 5))):
        known = [node.name for node in nodes]
        needs = draw(st.lists(st.sampled_from(known), unique=True, max_size=max_needs)) if known else []
        nodes.append(Node(f"n{number}", tuple(needs), draw(st.sampled_from(["one", "one", "two"]))))
    parts = draw(st.permutations(range(draw(st.integers(1, 8)))))
    done: set[Cell] = set()
    if begun:
        for node in nodes:
            for part in parts:
                if all((name, part) in done for name in node.needs) and draw(st.booleans()):
                    done.add((node.name, part))
    return Game(
        tuple(nodes),
        tuple(parts),
        frozenset(done),
        ahead or draw(st.integers(1, 4)),
        draw(st.integers(1, 3)),
        draw(st.integers(0, 2**32)),
        draw(st.sampled_from([0.0, 0.1, 0.4])),
    )


FRESH = games()
BEGUN = games(begun=True)
bounded = settings(deadline=None, max_examples=60)


@bounded
@given(FRESH | BEGUN)
def test_a_cell_is_handed_out_once_and_once_more_for_each_loss(game: Game) -> None:
    moves = play(game)
    started = Counter(move.cell for move in moves if move.kind == "start" and move.cell)
    lost = Counter(move.cell for move in moves if move.kind == "lose")
    finished = Counter(move.cell for move in moves if move.kind == "finish")
    assert started == lost + finished
    assert set(finished.values()) <= {1}
    assert not set(started) & game.done
    assert set(started) <= game.cells


@bounded
@given(FRESH | BEGUN)
def test_a_cell_waits_for_what_it_needs_and_for_its_pool(game: Game) -> None:
    nodes = {node.name: node for node in game.nodes}
    for move in play(game):
        if move.kind == "start" and move.cell:
            name, part = move.cell
            assert all((need, part) in move.done for need in nodes[name].needs)
            assert nodes[name].pool == move.pool
            assert move.cell not in move.done | move.running


@settings(deadline=None, max_examples=150)
@given(FRESH | games(max_needs=1, begun=True) | games(begun=True, ahead=99))
def test_everything_is_made_in_the_end(game: Game) -> None:
    """Also with cells done before, where no stage waits for two, or where stages may run ahead freely."""
    last = play(game)[-1]
    assert last.kind == "end"
    assert last.done == game.cells


def count(cells: frozenset[Cell], name: str) -> int:
    """How many of some cells are of one stage."""
    return sum(cell[0] == name for cell in cells)


@bounded
@given(FRESH)
def test_no_stage_runs_further_ahead_than_allowed(game: Game) -> None:
    for move in play(game):
        if move.kind == "start" and move.cell:
            name = move.cell[0]
            taken = count(move.done | move.running, name) + 1
            readers = [node.name for node in game.nodes if name in node.needs]
            assert all(taken - count(move.done, reader) <= game.ahead for reader in readers)


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_a_stage_may_run_as_far_ahead_of_its_slowest_reader_as_allowed(ahead: int) -> None:
    nodes = [Node("a", (), "one"), Node("b", ("a",), "two"), Node("c", ("a",), "three")]
    schedule = Schedule(nodes, range(9), set(), ahead=ahead)

    def work(pool: str, most: int = 99) -> list[int]:
        made = []
        while len(made) < most and (cell := schedule.next(pool)):
            schedule.finish(cell)
            made.append(cell[1])
        return made

    assert work("one") == list(range(ahead))
    assert work("two") == list(range(ahead))
    assert work("one") == [], "c has made nothing yet"
    assert work("three", 1) == [0]
    assert work("one") == [ahead]


@bounded
@given(games(ahead=99) | games(begun=True, ahead=99))
def test_the_furthest_stage_that_can_run_runs_its_biggest_part(game: Game) -> None:
    for move in play(game):
        if move.kind == "start":
            can = [
                (node.name, part)
                for node in reversed(game.nodes)
                if node.pool == move.pool
                for part in game.parts
                if (node.name, part) not in move.done | move.running
                and all((need, part) in move.done for need in node.needs)
            ]
            assert move.cell == (can[0] if can else None)


@bounded
@given(BEGUN)
def test_it_is_finished_when_all_is_committed_and_nothing_runs(game: Game) -> None:
    schedule = Schedule(game.nodes, game.parts, set(game.done), ahead=game.ahead)
    assert schedule.total == len(game.cells)
    assert schedule.finished == (game.done == game.cells)
    assert Schedule(game.nodes, game.parts, set(game.cells)).next("one") is None


def test_it_is_not_finished_while_a_cell_runs() -> None:
    schedule = Schedule([Node("a", (), "main")], [0], set())
    cell = schedule.next("main")
    assert cell == ("a", 0)
    assert not schedule.finished
    assert schedule.next("main") is None
    schedule.lose(cell)
    assert not schedule.finished
    assert schedule.next("main") == cell
    schedule.finish(cell)
    assert schedule.finished


def test_needs_outside_the_grid_are_taken_as_met() -> None:
    assert Schedule([Node("script", ("plan",), "main")], [4], set()).next("main") == ("script", 4)


GRID = (
    Node("script", ("plan",), "main"),
    Node("speak_query", ("script", "plan"), "main"),
    Node("speak_reply", ("script", "plan"), "main"),
    Node("transcribe", ("script", "speak_query", "speak_reply", "plan"), "main"),
    Node("annotate", ("speak_query",), "main"),
    Node("rate", ("speak_query", "speak_reply"), "main"),
    Node("tokenize", ("speak_reply",), "main"),
)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**32), st.floats(0, 0.5))
def test_the_real_grid_is_made_from_nothing(parts: int, ahead: int, workers: int, seed: int, losses: float) -> None:
    game = Game(GRID, tuple(range(parts)), frozenset(), ahead, workers, seed, losses)
    assert play(game)[-1].kind == "end"


@pytest.mark.parametrize("ahead", [1, 16])
def test_a_replay_of_rows_that_failed_in_either_voice_is_made(ahead: int) -> None:
    """Queries failed in `ahead` parts and replies in as many others; their cells were set aside."""
    queries, replies = range(ahead), range(ahead, 2 * ahead)
    gone = {(name, part) for name in ("speak_query", "annotate") for part in queries}
    gone |= {(name, part) for name in ("speak_reply", "tokenize") for part in replies}
    gone |= {(name, part) for name in ("transcribe", "rate") for part in (*queries, *replies)}
    parts = tuple(range(2 * ahead + 8))
    done = {(node.name, part) for node in GRID for part in parts} - gone
    assert play(Game(GRID, parts, frozenset(done), ahead, 2, 0, 0.0))[-1].kind == "end"


def test_a_long_chain_beside_a_short_one_is_made_from_nothing() -> None:
    """Two slow cells of the chain a0, a1, a2, c keep parts 0 and 1 back, and c makes 2 and 3 meanwhile."""
    chain = [Node("a0", (), "main"), Node("a1", ("a0",), "main"), Node("a2", ("a1",), "main")]
    ends = [Node("e", (), "main"), Node("c", ("a2",), "main"), Node("b", ("c", "e"), "main")]
    schedule = Schedule([*chain, *ends], range(5), set(), ahead=2)
    busy: list[Cell] = []
    slow = [("a2", 1), ("a0", 0)]
    while not schedule.finished:
        while len(busy) < 3 and (cell := schedule.next("main")):
            busy.append(cell)
        assert busy, "stuck"
        quick = [cell for cell in busy if cell not in slow]
        cell = quick[0] if quick else next(cell for cell in slow if cell in busy)
        busy.remove(cell)
        schedule.finish(cell)


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 2**32 - 1), st.integers(0, 7), st.integers(0, 7))
def test_relatives_hold_a_row_wherever_it_was_under_another_number_of_parts(row: int, now: int, then: int) -> None:
    parts, before = 2**now, 2**then
    found = relatives(row % parts, parts, range(before))
    assert row % before in found
    assert row % parts in found
    assert list(found) == sorted(set(found))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 6), st.integers(0, 63), st.sets(st.integers(0, 200)))
def test_relatives_are_the_part_its_ancestors_and_its_descendants(power: int, part: int, known: set[int]) -> None:
    parts = 2**power
    part %= parts
    ancestors = {part % 2**smaller for smaller in range(power)}
    expected = {part} | {other for other in known if other in ancestors or other % parts == part}
    assert set(relatives(part, parts, known)) == expected


def test_strangers_are_no_relatives() -> None:
    assert relatives(5, 8, range(32)) == (0, 1, 5, 13, 21, 29)
    assert relatives(5, 8, []) == (5,)


def test_big_parts_go_first_and_equal_ones_by_number() -> None:
    assert big_first({0: 3, 1: 9, 2: 3, 3: 0, 4: 9}) == [1, 4, 0, 2, 3]
