TABLES = list(CATALOGUE.spec.tables)
TABLE_FILES = ("csv", "md", "tex", "json")


# `snakemake table2` makes these files, and whatever they are made from.
for number in TABLES:

    rule:
        name:
            f"table{number}"
        input:
            sources_of(f"table{number}"),
        output:
            expand(f"{RESULTS}/tables/table{number}.{{kind}}", kind=TABLE_FILES),
            touch(stamp_of(f"table{number}")),
        log:
            f"logs/{SCALE}/table{number}.log",
        localrule: True
        conda:
            "../../environment.yml"
        params:
            number=number,
            step=STEP,
            stamps=stamps_of(f"table{number}"),
        shell:
            "rm -f {params.stamps} && "
            "python -m dpmix step table {params.number} {params.step} 2> >(tee {log} >&2)"


rule all_tables:
    input:
        expand(
            f"{RESULTS}/tables/table{{number}}.{{kind}}",
            number=TABLES,
            kind=TABLE_FILES,
        ),
        [stamp_of(f"table{number}") for number in TABLES],
