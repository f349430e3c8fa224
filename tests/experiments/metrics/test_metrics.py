"""Metrics against hand calculations; degenerate inputs score 0 without a warning."""

import math
import warnings

import numpy as np
import pytest

from experiments.metrics import METRICS, as_printed, better, decimals

# 3 true positives, 1 false positive, 1 false negative, 5 true negatives
TRUTH = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
GUESS = [1, 1, 1, 0, 1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("accuracy", 80.0),
        ("f1", 100 * 2 * 3 / (2 * 3 + 1 + 1)),
        ("macro_f1", 100 * (6 / 8 + 10 / 12) / 2),
        ("matthews", 100 * (3 * 5 - 1 * 1) / math.sqrt(4 * 4 * 6 * 6)),
    ],
)
def test_classification_metrics_equal_the_hand_calculation(metric, expected):
    assert as_printed(metric, "classification", GUESS, TRUTH) == pytest.approx(expected)


def test_arrays_do_as_well_as_lists():
    assert as_printed("accuracy", "classification", np.array(GUESS), np.array(TRUTH)) == pytest.approx(80)
    guess = np.array([1, 2, 3], dtype=np.float32)
    assert as_printed("pearson", "regression", guess, guess) == pytest.approx(100)


def test_correlations_equal_the_hand_calculation():
    truth, guess = [1.0, 2.0, 3.0, 4.0], [1.0, 4.0, 9.0, 8.0]
    # deviations -1.5 -.5 .5 1.5 and -4.5 -1.5 3.5 2.5: products sum to 13, squares to 5 and 41
    assert as_printed("pearson", "regression", guess, truth) == pytest.approx(100 * 13 / math.sqrt(5 * 41))
    assert as_printed("spearman", "regression", guess, truth) == pytest.approx(100 * (1 - 6 * 2 / (4 * 15)))


@pytest.mark.parametrize("metric", ["f1", "matthews"])
def test_constant_classes_score_zero_without_a_warning(metric):
    with warnings.catch_warnings(action="error"):
        assert as_printed(metric, "classification", [0] * 10, TRUTH) == 0.0


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
@pytest.mark.parametrize("guess", [[0.3, 0.3, 0.3], [1.0, 1.0, 1.0 + 1e-14], [0.0, 0.0, 0.0]])
def test_constant_numbers_score_zero_without_a_warning(metric, guess):
    with warnings.catch_warnings(action="error"):
        assert as_printed(metric, "regression", guess, [1.0, 2.0, 3.0]) == 0.0
        assert as_printed(metric, "regression", [1.0, 2.0, 3.0], guess) == 0.0


def test_metrics_fetch_nothing_and_leave_no_file(tmp_path, monkeypatch):
    import evaluate.config

    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a metric opened a connection"))
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path / "metrics")
    monkeypatch.chdir(tmp_path)
    for kind, metrics in METRICS.items():
        for metric in metrics:
            best = {"loss": 1, "perplexity": math.e}.get(metric, 100)
            assert as_printed(metric, kind, [0, 1, 1], [0, 1, 1]) == pytest.approx(best)
    assert list(tmp_path.iterdir()) == []


def test_f1_of_three_classes_points_to_macro_f1():
    with pytest.raises(ValueError, match="f1 is for two classes, 0 and 1; use macro_f1 for more"):
        as_printed("f1", "classification", [0, 1, 2], [0, 1, 2])


def test_an_unknown_metric_names_the_nearest():
    message = (
        r"classification metric 'acuracy' is not one of accuracy, f1, macro_f1, matthews; .*'accuracy'\?"
    )
    with pytest.raises(ValueError, match=message):
        as_printed("acuracy", "classification", [0], [0])


def test_loss_and_perplexity_are_per_token_and_not_in_percent():
    assert as_printed("loss", "causal_lm", [6.0, 2.0], [3, 1]) == 2.0  # not the mean of the rows' means
    assert as_printed("perplexity", "causal_lm", [6.0, 2.0], [3, 1]) == pytest.approx(math.exp(2))
    with warnings.catch_warnings(action="error"):
        assert as_printed("perplexity", "causal_lm", [1e4], [1]) == math.inf
    assert math.isnan(as_printed("loss", "causal_lm", [math.nan, 1.0], [1, 1]))


def test_a_metric_knows_which_value_is_better():
    assert better("accuracy", 80, 70)
    assert better("loss", 0.7, 0.8)
    assert not better("loss", 0.8, 0.8)
    assert not better("loss", math.nan, 0.8)
    assert better("perplexity", 2.0, math.inf)


def test_a_loss_has_more_decimals():
    assert [decimals(name) for name in ("loss", "loss_seen", "accuracy", "macro_f1", "")] == [4, 4, 2, 2, 2]
