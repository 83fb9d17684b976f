FIGURES = list(CATALOGUE.spec.figures)
FIGURE_FILES = ("png", "pdf", "csv")


rule figure:
    input:
        made_for("figure{number}"),
    output:
        multiext(f"{RESULTS}/figures/figure{{number}}", ".png", ".pdf", ".csv"),
    log:
        f"logs/{SCALE}/figure{{number}}.log",
    wildcard_constraints:
        number="|".join(FIGURES),
    conda:
        "../../environment.yml"
    params:
        step=STEP,
    shell:
        "python -m dpmix step figure {wildcards.number} {params.step} 2> >(tee {log} >&2)"


for number in FIGURES:

    rule:
        name:
            f"figure{number}"
        input:
            expand(
                f"{RESULTS}/figures/figure{{number}}.{{kind}}",
                number=number,
                kind=FIGURE_FILES,
            ),
        localrule: True


rule all_figures:
    input:
        expand(
            f"{RESULTS}/figures/figure{{number}}.{{kind}}",
            number=FIGURES,
            kind=FIGURE_FILES,
        ),
