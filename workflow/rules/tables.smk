# By name: the paper's by number, and whatever else the params hold.
TABLES = CATALOGUE.tables


# `snakemake table2` makes these files, and whatever they are made from.
for target, name in TABLES.items():

    rule:
        name:
            target
        input:
            sources_of(target),
        output:
            report(
                files_of(target)[0],
                caption="../report/table.rst",
                category="Tables",
                labels={"table": name, "shows": title_of(name)},
            ),
            files_of(target)[1:],
        log:
            f"logs/{SCALE}/{target}.log",
        localrule: True
        conda:
            "../../environment.yml"
        params:
            number=name,
            step=STEP,
        shell:
            "python -m dpmix step table {params.number:q} {params.step} 2> >(tee {log:q} >&2)"


rule all_tables:
    input:
        [files_of(target) for target in TABLES],
