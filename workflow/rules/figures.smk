from dpmix.tables.captions import FIGURES as FIGURE_TITLES

FIGURES = list(CATALOGUE.spec.figures)


# `snakemake figure2` makes these files, and whatever they are made from.
for number in FIGURES:

    rule:
        name:
            f"figure{number}"
        input:
            sources_of(f"figure{number}"),
        output:
            report(
                files_of(f"figure{number}")[0],
                caption="../report/figure.rst",
                category="Figures",
                labels={"figure": number, "shows": FIGURE_TITLES[int(number)][0]},
            ),
            files_of(f"figure{number}")[1:],
        log:
            f"logs/{SCALE}/figure{number}.log",
        localrule: True
        conda:
            "../../environment.yml"
        params:
            number=number,
            step=STEP,
        shell:
            "python -m dpmix step figure {params.number:q} {params.step} 2> >(tee {log:q} >&2)"


rule all_figures:
    input:
        [files_of(f"figure{number}") for number in FIGURES],
