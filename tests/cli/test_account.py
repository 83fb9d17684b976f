import pytest
import typer
from typer.testing import CliRunner

from dpmix.cli import main
from dpmix.cli.account import account
from dpmix.errors import ParamsError, PrivacyError
from dpmix.privacy.accounting import epsilons
from dpmix.privacy.plan import Plan

app = typer.Typer()
app.command()(account)


def run(*arguments: str) -> dict[str, str]:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return dict(line.split("  ", 1) for line in result.stdout.splitlines())


def value(text: str) -> float:
    return float(text.split()[0])


def test_calibrates():
    rows = run("--n", "50000", "--batch", "4096", "--epochs", "200", "--epsilon", "8", "--delta", "1e-5")
    shown = {label.strip(): text.strip() for label, text in rows.items()}
    assert value(shown["noise multiplier σ"]) == pytest.approx(2.548, rel=2e-3)
    assert shown["steps T"] == "2441"
    assert shown["sampling rate q"] == "0.08192"
    assert "calibrated" in shown["epsilon, pld"]
    assert 7.98 < value(shown["epsilon, pld"]) <= 8
    assert value(shown["epsilon, pld"]) < value(shown["epsilon, prv"]) < value(shown["epsilon, rdp"])


@pytest.mark.parametrize(("chosen", "others"), [("rdp", "prv and pld"), ("prv", "rdp and pld"), ("pld", "rdp and prv")])
def test_says_which_accountant_calibrates_and_which_are_beside_it(chosen: str, others: str):
    rows = run("--n", "3680", "--batch", "1000", "--epochs", "10", "--epsilon", "4", "--accountant", chosen)
    shown = {label.strip(): text.strip() for label, text in rows.items()}
    assert shown["calibrated by"] == f"{chosen}, to ε = 4; {others} bound the ε of the same noise, for comparison"
    assert [label for label, text in shown.items() if "(calibrated)" in text] == [f"epsilon, {chosen}"]


def test_accounts_for_given_noise():
    rows = run(
        *("--n", "3680", "--batch", "1000", "--epochs", "10", "--noise-multiplier", "2", "--microbatch-size", "2")
    )
    shown = {label.strip(): text.strip() for label, text in rows.items()}
    assert shown["noise on the sum"] == "4 (sensitivity 2)"
    assert "calibrated" not in "".join(shown.values())
    assert shown["calibrated by"].startswith("none, the noise was given")
    assert 1 < value(shown["epsilon, pld"]) < 8


def test_the_noise_that_is_printed_meets_the_target_when_it_is_copied():
    given = ("--n", "3680", "--batch", "1000", "--epochs", "10")
    for epsilon in (0.7, 1, 2.5, 4, 8):
        rows = run(*given, "--epsilon", str(epsilon))
        shown = {label.strip(): text.strip() for label, text in rows.items()}
        plan = Plan.calibrated(population=3680, batch_size=1000, epochs=10, delta=1e-5, clip_norm=1.0, epsilon=epsilon)
        assert plan.noise_multiplier <= value(shown["noise multiplier σ"]) < plan.noise_multiplier + 1e-5
        assert plan.noise_std <= value(shown["noise on the sum"]) < plan.noise_std + 1e-5


def test_without_privacy_is_said():
    rows = run("--n", "100", "--batch", "10", "--epochs", "1", "--epsilon", "inf")
    shown = {label.strip(): text.strip() for label, text in rows.items()}
    assert value(shown["noise multiplier σ"]) == 0
    assert shown["epsilon, rdp"] == "∞"
    assert shown["calibrated by"] == "none, there is no noise"


def test_a_large_delta_is_remarked_on():
    arguments = ["--n", "100", "--batch", "10", "--epochs", "1", "--epsilon", "inf", "--delta", "0.1"]
    assert "delta is not below 1 / N" in CliRunner().invoke(app, arguments).stderr


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ([], ParamsError, "either --epsilon"),
        (["--epsilon", "1", "--noise-multiplier", "1"], ParamsError, "either --epsilon"),
        (["--epsilon", "-1"], ParamsError, "not above 0"),
        (["--epsilon", "200"], PrivacyError, "above 100"),
        (["--epsilon", "1", "--accountant", "moments"], ParamsError, "there are rdp, prv, pld"),
        (["--epsilon", "1", "--batch", "101"], ParamsError, "lower the batch size"),
    ],
)
def test_errors_reach_the_command_line_as_they_are(arguments, error, words):
    with pytest.raises(error, match=words):
        CliRunner().invoke(app, ["--n", "100", "--batch", "10", "--epochs", "1", *arguments], catch_exceptions=False)


@pytest.mark.parametrize("option", ["--n", "--batch", "--microbatch-size"])
def test_a_number_that_cannot_be_is_called_as_it_was_written(option, monkeypatch, capsys):
    arguments = ["--n", "100", "--batch", "10", "--epochs", "1", "--epsilon", "1", option, "0"]
    monkeypatch.setattr("sys.argv", ["dpmix", "account", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert f"'{option}'" in line


def test_an_epsilon_is_rounded_up():
    rows = run("--n", "3680", "--batch", "1000", "--epochs", "10", "--noise-multiplier", "2", "--delta", "1e-5")
    spent = epsilons(noise_multiplier=2, sampling_rate=1000 / 3680, steps=36, delta=1e-5)
    shown = {label.strip().removeprefix("epsilon, "): text.strip() for label, text in rows.items()}
    assert {name: float(shown[name]) - value for name, value in spent.items()} == pytest.approx(
        dict.fromkeys(("rdp", "prv", "pld"), 5e-5), abs=5e-5
    )
