"""The weights in force, and their limited moves."""

import pytest

from ddp.adaptive.loss_balance import LossBalance
from ddp.adaptive.pins import Pins
from ddp.adaptive.state_reader import StateReader
from ddp.adaptive.weights import Values, Weights
from service.config.settings import RunConfig

CONFIG = RunConfig(l1_weight=0.6, ms_weight=0.2, grad_weight=0.2, perceptual_weight=0.1)
OTHER = RunConfig(l1_weight=0.5, ms_weight=0.2, grad_weight=0.3, perceptual_weight=0.1)
FAR = Weights((0.3, 0.2, 0.5), 0.2)


def longest_way(before: Values, after: Values) -> float:
    return max(abs(x - y) for x, y in zip(before, after, strict=True))


def test_it_begins_with_the_configured_weights() -> None:
    assert LossBalance(CONFIG, True).in_force == pytest.approx((0.6 / 1.1, 0.2 / 1.1, 0.2 / 1.1, 0.1 / 1.1))
    assert LossBalance(CONFIG, False).in_force == pytest.approx((0.6, 0.2, 0.2, 0))


@pytest.mark.parametrize("adaptive", [True, False])
def test_a_perceptual_weight_below_the_floor_begins_as_configured(adaptive: bool) -> None:
    config = RunConfig(perceptual_weight=0.01, adaptive_loss_weights=adaptive)

    assert LossBalance(config, True).in_force[3] == pytest.approx(0.01 / 1.01)


def test_a_perceptual_weight_above_the_ceiling_begins_at_the_ceiling() -> None:
    config = RunConfig(l1_weight=0.375, ms_weight=0.125, grad_weight=0.125, perceptual_weight=0.25)

    assert LossBalance(config, True).in_force[3] == 0.25
    assert sum(LossBalance(config, True).in_force) == pytest.approx(1)


def test_a_move_takes_no_weight_farther_than_a_hundredth() -> None:
    balance = LossBalance(CONFIG, True)
    before = balance.in_force

    balance.move(FAR)

    assert longest_way(before, balance.in_force) == pytest.approx(0.01)
    assert sum(balance.in_force) == pytest.approx(1, abs=1e-12)


def test_moves_arrive_exactly() -> None:
    balance = LossBalance(CONFIG, True)

    moves = 0
    while balance.can_move(FAR):
        balance.move(FAR)
        moves += 1

    assert balance.own == FAR
    assert moves == 31  # 0.6 / 1.1 - 0.3 * 0.8 in hundredths, the last one in part


def test_the_way_back_ends_at_the_configured_shares() -> None:
    balance = LossBalance(CONFIG, False)
    for _ in range(10):
        balance.move(Weights((0.3, 0.2, 0.5), 0))

    balance.begin_return()
    assert balance.is_returning
    for _ in range(10):
        balance.move(balance.configured)

    assert not balance.is_returning
    assert balance.own == balance.configured


def test_there_is_no_way_back_from_where_it_is() -> None:
    balance = LossBalance(CONFIG, False)

    balance.begin_return()

    assert not balance.is_returning


def test_a_perceptual_move_leaves_the_shares_exactly_as_they_are() -> None:
    balance = LossBalance(CONFIG, True)
    shares = balance.own.shares

    for _ in range(5):
        balance.move(Weights(shares, 0.2))

    assert balance.own.shares == shares


def test_pinned_weights_stay_and_the_others_move_by_a_hundredth_at_most() -> None:
    balance = LossBalance(CONFIG, True)
    balance.pins = Pins.of({"l1_weight": 0.1})
    before = balance.in_force

    balance.move(FAR)

    assert balance.in_force[0] == 0.1
    assert longest_way(before, balance.in_force) <= 0.01 + 1e-12


def test_other_configured_weights_are_returned_to() -> None:
    balance = LossBalance(CONFIG, False)

    assert balance.configure(OTHER)

    assert balance.is_returning
    assert balance.in_force == pytest.approx((0.6, 0.2, 0.2, 0))
    assert not balance.configure(OTHER)


def test_it_goes_on_from_its_state() -> None:
    balance, other = LossBalance(CONFIG, True), LossBalance(CONFIG, True)
    balance.move(FAR)
    balance.begin_return()

    assert not other.restore(StateReader(balance.state()))

    assert other.state() == balance.state()


def test_a_state_saved_under_other_weights_is_returned_from() -> None:
    saved = LossBalance(CONFIG, True).state()
    balance = LossBalance(OTHER, True)

    assert balance.restore(StateReader(saved))

    assert balance.is_returning
    assert balance.own.shares == pytest.approx((0.6, 0.2, 0.2))


def test_a_term_that_has_gone_has_no_weight_and_a_new_one_its_configured_weight() -> None:
    with_term, without = LossBalance(CONFIG, True), LossBalance(CONFIG, False)
    state, state_without = with_term.state(), without.state()

    without.restore(StateReader(state))
    with_term.restore(StateReader(state_without))

    assert without.in_force[3] == 0
    assert with_term.in_force[3] == pytest.approx(0.1 / 1.1)


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.5, 0.2, 0.2], [1.5, -0.3, -0.2]])
def test_shares_that_cannot_be_are_refused_and_change_nothing(shares: list[float]) -> None:
    balance = LossBalance(CONFIG, True)
    before = balance.state()

    with pytest.raises(ValueError, match="shares"):
        balance.restore(StateReader({**before, "shares": shares}))

    assert balance.state() == before
