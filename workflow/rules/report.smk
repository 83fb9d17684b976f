rule report:
    input:
        rules.all_tables.input,
        rules.all_figures.input,
    output:
        f"{RESULTS}/report/index.html",
    log:
        f"logs/{SCALE}/report.log",
    conda:
        "../../environment.yml"
    params:
        step=STEP,
    shell:
        "python -m dpmix step report {params.step} 2> >(tee {log} >&2)"
