rule report:
    input:
        rules.all_tables.input,
        rules.all_figures.input,
        rules.claims.output if JUDGED else [],
    output:
        report(
            f"{RESULTS}/report/index.html",
            caption="../report/page.rst",
            category="The page",
            labels={"shows": "all tables, figures and claims"},
        ),
        touch(stamp_of("report")),
    log:
        f"logs/{SCALE}/report.log",
    conda:
        "../../environment.yml"
    params:
        step=STEP,
        stamps=stamps_of("report"),
    shell:
        "rm -f {params.stamps} && python -m dpmix step report {params.step} 2> >(tee {log} >&2)"
