"""The study of epochs: more of them at the same ε take more noise, and a head without privacy stands beside them."""

import csv
import sys

from benchmarks import epochs, learning_rate
from tests.test_benchmarks import archive


def test_the_epochs_study_in_miniature(tmp_path, monkeypatch):
    archive(tmp_path / "two-apart.npz")
    monkeypatch.setattr(learning_rate, "SEEDS", (1,))
    monkeypatch.setattr(learning_rate, "EPSILONS", (8.0,))
    monkeypatch.setattr(epochs, "TIMES", (1, 2))
    monkeypatch.setattr(sys, "argv", ["epochs", str(tmp_path), "--out", str(tmp_path / "epochs.csv")])
    epochs.main()
    with (tmp_path / "epochs.csv").open(encoding="utf-8") as file:
        one, two, without = csv.DictReader(file)
    assert abs(2 * int(one["T"]) - int(two["T"])) <= 1
    # The same ε from twice the steps takes more noise in each.
    assert float(two["sigma"]) > 1.2 * float(one["sigma"])
    assert float(one["accuracy"]) > 90
    assert (without["epsilon"], float(without["accuracy"])) == ("inf", 100.0)
