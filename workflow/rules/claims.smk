JUDGED = "claims" in CATALOGUE.targets


# Only where the scale has cells that the paper's claims compare.
if JUDGED:

    rule claims:
        input:
            sources_of("claims"),
        output:
            report(
                files_of("claims")[0],
                caption="../report/claims.rst",
                category="Claims",
                labels={"shows": "the paper's claims, judged"},
            ),
            files_of("claims")[1:],
        log:
            f"logs/{SCALE}/claims.log",
        localrule: True
        conda:
            "../../environment.yml"
        params:
            step=STEP,
        shell:
            "python -m dpmix step claims {params.step} 2> >(tee {log:q} >&2)"
