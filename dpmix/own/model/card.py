"""The model card, `README.md` of a model's folder: YAML for the Hugging Face hub, then a page for people.

Both are written from `privacy.json` and `config.json` alone, so that the card says what these say.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpmix.files import write_text
from dpmix.privacy.discrete_laplace import noise_deviation
from dpmix.wording import argument, counted

TAGS = ("differential-privacy", "dp-sgd", "dp-mix", "image-classification")


def write(path: Path, name: str, config: Mapping[str, Any], privacy: Mapping[str, Any]) -> None:
    """Write the card, whole or not at all.

    Args:
        path: the file.
        name: the model's name, that of its folder.
        config: what `config.json` says.
        privacy: what `privacy.json` says.
    """
    write_text(path, text(name, config, privacy))


def text(name: str, config: Mapping[str, Any], privacy: Mapping[str, Any]) -> str:
    """The card as Markdown; arguments as of `write`."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dpmix.own.model", "."),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown; names of classes are shown as code
    )
    environment.filters["code"] = _code
    environment.filters["argument"] = argument
    return environment.get_template("card.md.j2").render(
        name=name,
        front=_front(name, config, privacy),
        config=config,
        privacy=privacy,
        classes=f"{config['num_classes']} classes",
        epsilon=tightest(privacy),
        left_out=_left_out(privacy),
        deviation=accuracy_deviation(privacy["evaluation"]) if privacy["evaluation"] else None,
        accountants={"pld": "privacy loss distributions", "prv": "privacy random variables", "rdp": "Rényi"},
    )


def tightest(privacy: Mapping[str, Any]) -> float:
    """The smallest of the accountants' ε, all of which are upper bounds."""
    return min(privacy["guarantee"]["epsilon"].values())


def accuracy_deviation(evaluation: Mapping[str, Any]) -> float:
    """The standard deviation of the noise in a released accuracy, in points: without it the number says little."""
    return 100 * noise_deviation(evaluation["epsilon"]) / int(evaluation["images"])


def _left_out(privacy: Mapping[str, Any]) -> str:
    """The runs on the same images that no ε here counts, in words; empty if there are none."""
    together = privacy["together"] or {}
    other = "image" if privacy["definition"]["unit"] == "person" else "person"
    parts = []
    if models := together.get("other_unit"):
        parts.append(f"{counted(models, 'model')} that protect{'s' if models == 1 else ''} one {other}")
    if research := together.get("research"):
        parts.append(counted(research, "research run"))
    return " and ".join(parts)


def _front(name: str, config: Mapping[str, Any], privacy: Mapping[str, Any]) -> str:
    """The YAML front matter; no licence, because that is the choice of whoever publishes the model."""
    from huggingface_hub import EvalResult, ModelCardData

    evaluation = privacy["evaluation"]
    results = None
    if evaluation:  # an accuracy that was released with a budget of its own
        results = [
            EvalResult(
                task_type="image-classification",
                dataset_type="imagefolder",
                dataset_name=privacy["population"]["name"],
                dataset_split="test",
                metric_type="accuracy",
                metric_value=round(evaluation["accuracy"] / 100, 4),
                metric_name=f"Accuracy, released with epsilon {evaluation['epsilon']:g}",
            )
        ]
    data = ModelCardData(
        library_name="dpmix",
        pipeline_tag="image-classification",
        tags=list(TAGS),
        base_model=privacy["base_model"],
        metrics=["accuracy"] if results else None,
        model_name=name if results else None,
        eval_results=results,
    )
    return data.to_yaml()


def _code(value: object) -> str:
    """A text as code in Markdown, on one line, whatever is in it."""
    line = " ".join(str(value).split())
    ticks = "`"
    while ticks in line:
        ticks += "`"
    space = " " if line.startswith("`") or line.endswith("`") or len(ticks) > 1 else ""
    return f"{ticks}{space}{line}{space}{ticks}"
