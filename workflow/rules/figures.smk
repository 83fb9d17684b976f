FIGURES = list(CATALOGUE.spec.figures)
FIGURE_FILES = ("png", "pdf", "csv")


# `snakemake figure2` makes these files, and whatever they are made from.
for number in FIGURES:

    rule:
        name:
            f"figure{number}"
        input:
            sources_of(f"figure{number}"),
        output:
            expand(f"{RESULTS}/figures/figure{number}.{{kind}}", kind=FIGURE_FILES),
            touch(stamp_of(f"figure{number}")),
        log:
            f"logs/{SCALE}/figure{number}.log",
        localrule: True
        conda:
            "../../environment.yml"
        params:
            number=number,
            step=STEP,
            stamps=stamps_of(f"figure{number}"),
        shell:
            "rm -f {params.stamps} && "
            "python -m dpmix step figure {params.number} {params.step} 2> >(tee {log} >&2)"


rule all_figures:
    input:
        expand(
            f"{RESULTS}/figures/figure{{number}}.{{kind}}",
            number=FIGURES,
            kind=FIGURE_FILES,
        ),
        [stamp_of(f"figure{number}") for number in FIGURES],
