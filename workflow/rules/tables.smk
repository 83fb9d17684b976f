TABLES = list(CATALOGUE.spec.tables)
TABLE_FILES = ("csv", "md", "tex", "json")


rule table:
    input:
        made_for("table{number}"),
    output:
        multiext(f"{RESULTS}/tables/table{{number}}", ".csv", ".md", ".tex", ".json"),
    log:
        f"logs/{SCALE}/table{{number}}.log",
    wildcard_constraints:
        number="|".join(TABLES),
    conda:
        "../../environment.yml"
    params:
        step=STEP,
    shell:
        "python -m dpmix step table {wildcards.number} {params.step} 2> >(tee {log} >&2)"


# `snakemake table9` is `snakemake results/<scale>/tables/table9.csv`.
for number in TABLES:

    rule:
        name:
            f"table{number}"
        input:
            expand(
                f"{RESULTS}/tables/table{{number}}.{{kind}}",
                number=number,
                kind=TABLE_FILES,
            ),
        localrule: True


rule all_tables:
    input:
        expand(
            f"{RESULTS}/tables/table{{number}}.{{kind}}",
            number=TABLES,
            kind=TABLE_FILES,
        ),
