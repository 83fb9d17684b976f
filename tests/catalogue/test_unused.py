"""A setting that a table or figure gives and that changes none of its runs is one line; a scale's defaults are not."""

import itertools
from typing import Any

import pytest

from dpmix.artefacts.experiment import Experiment
from dpmix.catalogue.catalogue import Catalogue
from dpmix.errors import ParamsError
from dpmix.params.read import parse
from tests.catalogue.test_settings import raw

# `self` mixes (k_self 3), `plain` does not, `mix` also mixes in synthetic images; all crop.
PLAIN = {"label": "Plain"}

FIXED = {"dataset": "shapes", "model": "eye", "epsilon": 2}


def catalogue(**demo: Any) -> Catalogue:
    params = raw(**demo)
    params["methods"]["plain"] = PLAIN
    return Catalogue(parse(params))


def table(given: dict[str, Any], *methods: str, **changes: Any) -> Catalogue:
    rows = [{"axis": "Method", "method": list(methods)}]
    return catalogue(tables={"12": {"kind": "accuracy", "rows": rows, "fixed": {**FIXED, **given}, **changes}})


def refused(made: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(ParamsError) as caught:
        made(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# A setting, a method for which it changes nothing, why; and a method or further settings with which it does.
CASES: list[tuple[dict[str, Any], str, str, tuple[str, dict[str, Any]]]] = [
    ({"mixup_alpha": 0.5}, "plain", "mixup_alpha: 0.5 changes no run, since nothing is mixed there", ("self", {})),
    ({"mixing": "cutmix"}, "plain", "mixing: cutmix changes no run, since nothing is mixed there", ("self", {})),
    (
        {"mixup_pairs": "independent"},
        "plain",
        "mixup_pairs: independent changes no run, since k_self is 0 or its views are unmixed there",
        ("self", {}),
    ),
    (
        {"transforms": ["flip"]},
        "pure",
        "transforms: [flip] changes no run, since no view is transformed there",
        ("plain", {}),
    ),
    (
        {"padding": 3},
        "uncropped",
        "padding: 3 changes no run, since nothing is cropped there",
        ("uncropped", {"transforms": ["crop"]}),
    ),
    (
        {"augment_synthetic": False},
        "self",
        "augment_synthetic: False changes no run, since no synthetic image is transformed there",
        ("mix", {}),
    ),
    ({"mix_with": "S2", "subset": "S1"}, "self", "mix_with: S2 changes no run, since k_diff is 0 there", ("mix", {})),
    (
        {"clipping": "per-layer"},
        "plain",
        "clipping: per-layer changes no run, since the one layer of a linear head is clipped per layer there",
        ("plain", {"model": "net"}),
    ),
]


def with_methods(given: dict[str, Any], *methods: str) -> Catalogue:
    params = raw()
    params["methods"] |= {
        "plain": PLAIN,
        "pure": {"label": "Pure", "k_base": 0, "k_diff": 4, "augment_synthetic": False},
        "uncropped": {"label": "Uncropped", "transforms": ["flip"]},
    }
    demo = params["scales"]["demo"]
    demo["tables"]["12"]["rows"] = [{"axis": "Method", "method": list(methods)}]
    demo["tables"]["12"]["fixed"] |= given
    return Catalogue(parse(params))


@pytest.mark.parametrize(("given", "method", "words", "matters"), CASES, ids=[next(iter(case[0])) for case in CASES])
def test_what_changes_no_run_of_its_table_is_refused_and_what_changes_one_is_not(
    given: dict[str, Any], method: str, words: str, matters: tuple[str, dict[str, Any]]
) -> None:
    assert refused(with_methods, given, method) == f"params.yaml: table 12: {words}; remove it"
    without = {key: value for key, value in given.items() if key == "subset"}
    assert with_methods(without, method).of(Experiment)  # the remedy works
    other, further = matters
    assert with_methods({**given, **further}, *dict.fromkeys((method, other)) if not further else (other,))


def test_a_value_counts_by_itself() -> None:
    """Of two rows' values one matters; the other is still of no use."""

    def made(alphas: dict[str, float]) -> Catalogue:
        rows = {label: {"method": label, "mixup_alpha": alpha} for label, alpha in alphas.items()}
        axes = [{"axis": "Method", "values": rows}]
        return catalogue(tables={"12": {"kind": "accuracy", "rows": axes, "fixed": FIXED}})

    assert "table 12: mixup_alpha: 0.5 changes no run" in refused(made, {"plain": 0.5, "self": 0.7})
    for methods in (("plain", "self"), ("self", "plain")):
        assert len(made(dict.fromkeys(methods, 0.5)).of(Experiment)) == 4


def test_a_default_said_again_is_no_mistake() -> None:
    given = {"mixup_alpha": 0.2, "mixing": "mixup", "mix_with": "synthetic", "clipping": "flat"}
    assert len(table(given, "plain").of(Experiment)) == 2


def test_defaults_of_a_scale_a_data_set_and_a_method_may_change_nothing() -> None:
    params = raw()
    params["methods"] |= {"plain": {**PLAIN, "mixup_pairs": "independent"}}
    demo = params["scales"]["demo"]
    demo["finetune"]["mixup_alpha"] = 0.5
    demo["datasets"] = {"shapes": {"mixing": "cutmix"}}
    demo["dataset_methods"] = {"shapes": {"plain": {"augment_synthetic": False}}}
    demo["tables"]["12"]["rows"] = [{"axis": "Method", "method": ["plain"]}]
    ((cell,), before) = Catalogue(parse(params)).cells("12"), table({}, "plain").cells("12")[0]
    assert cell.artefacts == before.artefacts


def test_a_ladder_a_figure_and_a_table_of_distances_are_held_to_it_too() -> None:
    ladder = {"method": "plain", "mixup_alpha": 0.5}
    axes = {
        "rows": [{"axis": "Dataset", "dataset": ["shapes"]}, {"axis": "Method", "method": ["self"]}],
        "columns": [{"axis": "Model", "model": ["eye"]}, {"axis": "ε", "epsilon": [2]}],
    }

    def with_ladder(ladder: dict[str, Any]) -> Catalogue:
        return catalogue(tables={"3": {"kind": "accuracy", **axes, "ladder": ladder}})

    assert "table 3, ladder: mixup_alpha: 0.5 changes no run" in refused(with_ladder, ladder)
    assert with_ladder({**ladder, "method": "self"}).of(Experiment)

    def with_figure(number: str, method: str) -> Catalogue:
        fixed = {"epsilon": 2, "mixup_alpha": 0.5}
        figure = {"datasets": ["shapes"], "model": "eye", "methods": [method], "fixed": fixed}
        return catalogue(figures={number: figure})

    for number in ("1", "2"):
        assert f"figure {number}: mixup_alpha: 0.5 changes no run" in refused(with_figure, number, "plain")
        assert with_figure(number, "self").figure_experiments(number)

    def with_distances(method: str) -> Catalogue:
        of = {"kind": "fid-views", "model": "eye", "datasets": ["shapes", "others"], "extractors": ["eye"]}
        return catalogue(tables={"7": {**of, "methods": {"A": {"method": method, "mixup_alpha": 0.5}}}})

    assert "table 7, A: mixup_alpha: 0.5 changes no run" in refused(with_distances, "plain")
    assert len(with_distances("self").cells("7")) == len(list(itertools.product(("shapes", "others"), range(2))))
