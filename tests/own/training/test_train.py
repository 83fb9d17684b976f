"""`train`: what is written (`own.training.written`), shown and recorded, and mistakes in one line."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from dpmix.data.listing import read_listing
from dpmix.errors import DataError, DpmixError, ParamsError
from dpmix.files import read_json
from dpmix.own.training import following, spent, totals
from dpmix.own.training.plan import plan
from dpmix.own.training.signal import REMEDY, WORDS
from dpmix.own.training.train import train
from dpmix.own.use.evaluate import evaluate
from dpmix.privacy.accounting import Steps, composed_epsilons, rounded_up
from dpmix.release.statement import read_statement
from dpmix.training import embedded_views
from tests.own.drawn import by_person, draw
from tests.own.training.test_spent import a_run

pytestmark = pytest.mark.filterwarnings("ignore")
LEDGER = Path("my-images.dpmix-spent.json")
# What has no noise, in the words of any progress that this program shows.
PRIVATE = re.compile(r"accura|loss|clipped|correct|%|gradient|sampled \d", flags=re.IGNORECASE)
# All that a run for release says. Its settings follow from N, the number of classes and what was asked for.
SIZES = r"[^:]+: [\d,]+ training images and [\d,]+ test images of \d+ classes( \([\d,]+ files? (is|are) not .*\))?"
SETTINGS = r"ε = [\d.]+ for one image at δ = [\de-]+: σ = .* views each; .* at \d+ px, learning rate [\d.]+"
ONCE = r"once for all steps; their features take [\d.,]+ [MG]B of (memory|disk) meanwhile"
VIEWS = rf"[\d,]+ views are encoded, ({ONCE}|in each step those that it shows)"
SPENT = r"spent so far on these images: ε = [\d.]+ at δ = [\de-]+ \(\d runs?\); together with this one ε = .*"
ONE_DIGIT = r"[1-9]?[0,]*"
STEP = rf"step \d+ of \d+, ε = [\d.]+ of [\d.]+, about {ONE_DIGIT} images/s, about {ONE_DIGIT} s left"
WORK = r"[a-z][\w /,.-]*: \d+( of \d+)? \w+ in \d+ s(, about \d+ s left)?"
END = r"\S+: ε = [\d.]+ for one image at δ = [\de-]+"
SIGNAL = rf"signal of the images against the noise: ({'|'.join(re.escape(words) for _, words in WORDS)}); {REMEDY}"
SAID = re.compile("|".join((SIZES, SIGNAL, SETTINGS, VIEWS, SPENT, STEP, WORK, END)))


def test_a_model_is_made_and_its_statement_is_of_the_steps_on_record(
    images: Path, quick: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    made = train(images, epsilon=4, **quick)
    assert made == Path("my-images-model")
    (run,) = spent.Record(LEDGER).runs()
    (row,) = read_statement(made / "model.safetensors").mechanism
    assert (run.state, run.unit, run.steps) == ("finished", "image", run.planned)
    assert row.steps == run.steps > 20
    # By an accountant, from the record alone.
    again = composed_epsilons([Steps(run.noise_multiplier, run.sampling_rate, run.steps)], delta=run.delta)
    stated = read_statement(made / "model.safetensors").epsilons
    assert stated == pytest.approx(again, abs=2e-6)
    assert 3.9 < stated["pld"] <= 4
    # Nothing else is left: no decoded image, no accuracy.
    assert sorted(path.name for path in Path().iterdir()) == ["my-images", "my-images-model", LEDGER.name]
    assert {path.name for path in made.iterdir()} == {
        "README.md", "config.json", "encoder", "model.safetensors", "privacy.json",
    }  # fmt: skip
    assert read_json(made / "privacy.json")["evaluation"] is None
    assert "accuracy" not in (made / "config.json").read_text(encoding="utf-8")
    shown = "".join(capsys.readouterr())
    assert "training images" in shown
    assert PRIVATE.findall(shown.replace("training tiny-vit", "")) == []


def test_the_screen_of_a_release_shows_what_the_pages_say_and_no_more(
    images: Path,
    tiny: dict[str, Any],
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for module in ("dpmix.own.training.following", "dpmix.progress"):
        monkeypatch.setattr(f"{module}._EVERY_SECONDS", 0.0)
    (images / "blood" / "note.txt").write_text("no image", encoding="utf-8")
    for output in ("one", "two"):
        train(images, epsilon=4, output=output, **tiny)
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if not SAID.fullmatch(line)] == []
    kinds = {kind: sum(bool(re.fullmatch(kind, line)) for line in lines) for kind in (SIZES, VIEWS, SPENT, STEP, END)}
    assert kinds[STEP] > 10
    assert [kinds[kind] for kind in (SIZES, VIEWS, SPENT, END)] == [2, 2, 1, 2]
    # Of so few images noise leaves little, as `plan` says it, and training begins after that.
    assert [line for line in lines if line.startswith("signal ")] == [plan(images, epsilon=4, **tiny).signal] * 2
    assert "1 file is not used" in lines[0]
    # On a terminal a bar shows the same, and no speed of its own, which would have all digits.
    assert set(re.findall(r"{(\w+)", following._BAR)) == {"desc", "percentage", "bar", "n_fmt", "total_fmt", "postfix"}
    for page in ("README.md", "docs/own-images/README.md"):
        text = " ".join((repository / page).read_text(encoding="utf-8").split())
        assert (
            "The screen shows sizes, steps, the ε spent so far, and how fast it goes; no loss and no accuracy. ε "
            "covers the model's folder; it does not cover sizes and times on the screen."
        ) in text


def test_sample_and_noise_are_new_each_time_and_what_is_spent_adds_up(
    images: Path, quick: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    first = train(images, epsilon=4, **quick)
    capsys.readouterr()
    # By another door to the same images.
    lines = [f"{path.relative_to(images)},{path.parent.name}" for path in sorted(images.rglob("*.png"))]
    (images / "labels.csv").write_text("\n".join(["file_name,label", *lines]), encoding="utf-8")
    # Neither research nor what protects somebody else adds up with them.
    for other in (a_run(state="research", steps=9), a_run(unit="person", steps=9)):
        spent.Record(LEDGER).begin(other)
    second = train(images / "labels.csv", epsilon=2, output="other", **quick)
    assert [path.name for path in Path().rglob("*.dpmix-spent.json")] == [LEDGER.name]
    rows = [row for folder in (first, second) for row in read_statement(folder / "model.safetensors").mechanism]
    joint = composed_epsilons(rows, delta=1e-5)["pld"]
    told = capsys.readouterr().err
    before, after = re.findall(r"ε = ([\d.]+) at", told)
    assert "spent so far on these images" in told
    assert float(before) == pytest.approx(4, abs=0.05)
    assert float(after) == pytest.approx(joint, abs=0.011)
    assert 4 < joint < 6
    assert read_json(second / "privacy.json")["together"]["models"] == 2
    assert read_json(second / "privacy.json")["together"]["epsilon"] == pytest.approx(joint, abs=1e-3)
    assert (first / "model.safetensors").read_bytes() != (second / "model.safetensors").read_bytes()


def test_of_two_runs_at_once_each_accounts_for_the_other(
    images: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second one begins, and ends, in the sixth step of the first."""
    original, here, steps = embedded_views.make_views, Path.cwd(), []

    def make_views(*arguments: Any) -> Any:
        steps.append(1)
        if len(steps) == 6:
            there = Path.cwd()
            os.chdir(here)
            train(images, epsilon=2, output="second", **tiny)
            os.chdir(there)
        return original(*arguments)

    monkeypatch.setattr(embedded_views, "make_views", make_views)
    train(images, epsilon=4, output="first", **tiny)
    rows = [row for name in ("first", "second") for row in read_statement(Path(name, "model.safetensors")).mechanism]
    joint = composed_epsilons(rows, delta=1e-5)["pld"]
    for name in ("first", "second"):
        together = read_json(Path(name, "privacy.json"))["together"]
        assert (together["models"], together["epsilon"]) == (2, pytest.approx(joint, abs=1e-3))
    told = capsys.readouterr().err
    # Before the second one begins, all steps of the first are spent.
    assert re.findall(r"ε = ([\d.]+) at", told)[0] == rounded_up(composed_epsilons(rows[:1], delta=1e-5)["pld"], 2)
    assert "1 of them unfinished" in told


def test_images_in_an_archive_are_trained_on_and_the_model_finds_its_test_images_again(
    images: Path, tiny: dict[str, Any]
) -> None:
    shutil.make_archive("my-images", "zip", ".", "my-images")
    shutil.rmtree(images)
    made = train("my-images.zip", epsilon=4, **tiny)
    assert sorted(path.name for path in Path().iterdir()) == ["my-images-model", LEDGER.name, "my-images.zip"]
    listing = read_listing("my-images.zip")
    statement = read_statement(made / "model.safetensors")
    assert (statement.population, statement.unit) == (len(listing.of("train")), "image")
    assert read_json(made / "config.json")["label_names"] == ["bile", "blood", "water"]
    assert [run.state for run in spent.Record(LEDGER).runs()] == ["finished"]
    assert evaluate(made, "my-images.zip").measures["images"] == len(listing.of("test"))


def test_research_shows_accuracies_and_leaves_nothing_to_release(
    images: Path, quick: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    made = train(images, epsilon=4, research=True, **quick)
    assert made == Path("my-images-research")
    assert [path.name for path in made.iterdir()] == ["metrics.json"]
    metrics = read_json(made / "metrics.json")
    told = capsys.readouterr().err
    assert "ε covers nothing of it; the result is not for release" in told
    for number, accuracy in enumerate(metrics["accuracy_by_epoch"], 1):
        assert f"epoch {number}: accuracy {accuracy:.2f} %" in told
    assert [run.state for run in spent.Record(LEDGER).runs()] == ["research"]
    # The same seed is the same run.
    again = train(images, epsilon=4, research=True, output="again", **quick)
    assert read_json(again / "metrics.json")["accuracy_by_epoch"] == metrics["accuracy_by_epoch"]
    assert "2 for research, which no ε covers" in (totals.so_far(spent.Record(LEDGER).runs(), "image") or "")


def test_a_test_accuracy_is_released_with_an_epsilon_of_its_own(images: Path, quick: dict[str, Any]) -> None:
    made = train(images, epsilon=4, evaluate_epsilon=0.5, **quick)
    found = read_json(made / "privacy.json")["evaluation"]
    assert found["epsilon"] == 0.5
    assert 0 <= found["accuracy"] <= 100
    # It is a whole number of test images.
    assert found["accuracy"] * found["images"] / 100 == pytest.approx(
        round(found["accuracy"] * found["images"] / 100), abs=1e-3
    )
    (measured,) = spent.Record(LEDGER).measured()
    assert (measured.epsilon, measured.model, measured.unit) == (0.5, "my-images-model", "image")


def test_public_images_are_mixed_in_and_no_file_says_where_anything_lay(
    images: Path, quick: dict[str, Any], encoder_folder: Path
) -> None:
    draw(Path("public"), 4, seed=9)
    shutil.copytree(encoder_folder, "far/eye")
    made = train(
        images, epsilon=4, synthetic="public", k_diff=1, ledger="far/l.json", **{**quick, "encoder": "far/eye"}
    )
    config, privacy = (read_json(made / name) for name in ("config.json", "privacy.json"))
    assert config["method"] == "dp-mix-diff"
    assert [config["settings"][name] for name in ("k_base", "k_self", "k_diff")] == [2, 1, 1]
    assert "12 public images" in " ".join(privacy["public_data"])
    assert "--encoder eye " in privacy["command"]
    files = [path for path in made.rglob("*") if path.is_file()]
    assert len(files) > 5
    for place in (Path.cwd(), "far/"):
        assert [path.name for path in files if str(place).encode() in path.read_bytes()] == []


def test_a_person_is_protected_with_all_their_images(images: Path, quick: dict[str, Any]) -> None:
    people = by_person(Path("people"), images)
    listing = read_listing(people, persons=True)
    made = train(people, epsilon=4, unit="person", evaluate_epsilon=1.0, **quick)
    statement = read_statement(made / "model.safetensors")
    assert (statement.unit, statement.population) == ("person", len(listing.persons("train")))
    assert 3 < statement.epsilons["pld"] <= 4
    record = spent.Record(Path("people.dpmix-spent.json"))
    assert [(run.unit, run.state) for run in record.runs()] == [("person", "finished")]
    assert [one.unit for one in record.measured()] == ["person"]
    assert read_json(made / "privacy.json")["evaluation"]["images"] == len(listing.persons("test"))
    planned = plan(people, epsilon=4, unit="person", **quick)
    assert (planned.population, planned.epsilon_of_several) == (statement.population, {})
    assert planned.together is not None


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"epsilon": None}, ParamsError, "how much ε the model may spend is not given; say it: `epsilon=4`"),
        ({"epsilon": -1}, ParamsError, "epsilon should be greater than 0, not -1"),
        ({"epsilon": float("inf")}, ParamsError, "epsilon should be less than or equal to 100"),
        ({"method": "dpmix-self"}, ParamsError, "did you mean 'dp-mix-self'"),
        ({"method": "dp-mix-diff"}, ParamsError, "name a folder of them: `synthetic='FOLDER'`"),
        ({"seed": 3}, ParamsError, "leave out `seed`, or add `research=True`"),
        ({"synthetic": "my-images/blood"}, DataError, "is said to be public"),
        ({"output": "my-images/model"}, ParamsError, "would lie among the images"),
        ({"batch_size": 1000}, ParamsError, "batch_size 1000 exceeds the"),
        ({"ledger": "my-images/blood/0.png/spent.json"}, DpmixError, "`ledger='FILE'`"),
        ({"resume": True}, DataError, "holds no unfinished run; leave out `resume`"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    options: dict[str, Any], error: type[DpmixError], words: str, images: Path, quick: dict[str, Any]
) -> None:
    with pytest.raises(error, match=re.escape(words)) as caught:
        train(images, **{"epsilon": 4, **quick, **options})
    assert len(str(caught.value).splitlines()) == 1
    assert not Path("my-images-model").exists()
    assert spent.Record(LEDGER).runs() == ()
    assert not Path("my-images-model.work").exists()


def test_refused_before_it_began_leaves_no_folder(
    images: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not even those around the model's, that were made for it.
    with pytest.raises(ParamsError, match="batch_size 1000 exceeds the"):
        train(images, epsilon=4, output="models/of mine/m", **{**tiny, "batch_size": 1000})
    before = {"my-images"}
    assert {path.name for path in Path().iterdir()} == before

    def stopped(*_: Any) -> Any:
        raise KeyboardInterrupt

    def no_room(*_: Any, **__: Any) -> Any:
        raise DpmixError("no room for features; free some")

    with monkeypatch.context() as patch:
        patch.setattr("dpmix.own.training.train.listed", stopped)  # nothing is known to go on with
        with pytest.raises(KeyboardInterrupt):
            train(images, epsilon=4, **tiny)
    assert {path.name for path in Path().iterdir()} == before
    with monkeypatch.context() as patch:  # after it was entered into the record, and before its first step
        patch.setattr("dpmix.training.heads.EmbeddedViews.keep", no_room)
        with pytest.raises(DpmixError, match="no room for features"):
            train(images, epsilon=4, **tiny)
    assert {path.name for path in Path().iterdir()} == before | {LEDGER.name}
    assert spent.Record(LEDGER).runs() == ()
    made = train(images, epsilon=4, output="models/of mine/m", **tiny)
    assert [path.name for path in Path("models/of mine").iterdir()] == ["m"]
    assert read_json(made / "privacy.json")["together"]["models"] == 1


def test_what_is_decoded_before_a_stop_is_kept_for_the_run_that_goes_on(
    images: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dpmix.own.training.trained.learning_rate_of", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(images, epsilon=4, **tiny)
    assert list(Path("my-images-model.work").rglob("train_images.npy"))
    assert not LEDGER.exists()
    assert train(images, resume=True).name == "my-images-model"


def test_a_folder_that_is_there_is_not_overwritten(images: Path, quick: dict[str, Any]) -> None:
    Path("my-images-model").mkdir()
    with pytest.raises(
        DataError, match=r"my-images-model exists and is not overwritten; name another: `output='FOLDER'`$"
    ):
        train(images, epsilon=4, **quick)
    assert not LEDGER.exists()
    with pytest.raises(DataError, match=r"no-images does not exist; name the folder"):
        train("no-images", epsilon=4)
