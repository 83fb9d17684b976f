def title_of(name):
    """What a table is called below its number."""
    return CATALOGUE.spec.tables[name].layout(name).title


# By name: the paper's by number, and whatever else the params hold.
TABLES = CATALOGUE.tables
TABLE_FILES = ("csv", "md", "tex", "json")


# `snakemake table2` makes these files, and whatever they are made from.
for target, name in TABLES.items():

    rule:
        name:
            target
        input:
            sources_of(target),
        output:
            report(
                f"{RESULTS}/tables/{target}.csv",
                caption="../report/table.rst",
                category="Tables",
                labels={"table": name, "shows": title_of(name)},
            ),
            expand(f"{RESULTS}/tables/{target}.{{kind}}", kind=TABLE_FILES[1:]),
            touch(stamp_of(target)),
        log:
            f"logs/{SCALE}/{target}.log",
        localrule: True
        conda:
            "../../environment.yml"
        params:
            number=name,
            step=STEP,
            stamps=stamps_of(target),
        shell:
            "rm -f {params.stamps} && "
            "python -m dpmix step table {params.number} {params.step} 2> >(tee {log} >&2)"


rule all_tables:
    input:
        expand(
            f"{RESULTS}/tables/{{target}}.{{kind}}",
            target=TABLES,
            kind=TABLE_FILES,
        ),
        [stamp_of(target) for target in TABLES],
