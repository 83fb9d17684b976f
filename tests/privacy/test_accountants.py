"""What an accountant cannot evaluate is one line; tests of what they say are in test_accounting.py."""

import pytest

from dpmix.errors import PrivacyError
from dpmix.privacy import accountants
from dpmix.privacy.accounting import epsilon, epsilons


def test_corners_where_accountants_fail():
    corner = {"noise_multiplier": 0.01, "sampling_rate": 0.1, "steps": 10}
    for accountant in ("prv", "pld"):
        with pytest.raises(PrivacyError, match="add noise"):
            epsilon(accountant, delta=1e-5, **corner)
    assert set(epsilons(delta=1e-5, **corner)) == {"rdp"}


def test_a_failure_inside_an_accountant_is_one_line(monkeypatch):
    def fail(history, delta):
        raise RuntimeError("Discrete mean differs significantly from continuous mean.")

    monkeypatch.setitem(accountants._BACKENDS, "prv", fail)
    with pytest.raises(PrivacyError, match=r"the prv accountant failed at noise multiplier 7,.*; use pld or rdp$"):
        epsilon("prv", noise_multiplier=7, sampling_rate=0.1, steps=3, delta=1e-5)
    monkeypatch.setitem(accountants._BACKENDS, "pld", fail)
    with pytest.raises(PrivacyError, match=r"the pld accountant failed at noise multiplier 7,.*; use rdp$"):
        epsilon("pld", noise_multiplier=7, sampling_rate=0.1, steps=3, delta=1e-5)
