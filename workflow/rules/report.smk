rule report:
    input:
        ancient([files_of(target) for target in CATALOGUE.targets]),
    output:
        report(
            files_of("report")[0],
            caption="../report/page.rst",
            category="The page",
            labels={"shows": "all tables, figures and claims"},
        ),
        files_of("report")[1:],
    log:
        f"logs/{SCALE}/report.log",
    conda:
        "../../environment.yml"
    params:
        step=STEP,
    shell:
        "python -m dpmix step report {params.step} 2> >(tee {log:q} >&2)"
