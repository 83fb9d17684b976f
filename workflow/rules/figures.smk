from dpmix.tables.captions import FIGURES as FIGURE_TITLES

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
            report(
                f"{RESULTS}/figures/figure{number}.png",
                caption="../report/figure.rst",
                category="Figures",
                labels={"figure": number, "shows": FIGURE_TITLES[int(number)][0]},
            ),
            expand(f"{RESULTS}/figures/figure{number}.{{kind}}", kind=FIGURE_FILES[1:]),
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
