CLAIMS = [f"{RESULTS}/claims.{kind}" for kind in ("md", "json")]
JUDGED = "claims" in CATALOGUE.targets


# Only where the scale has cells that the paper's claims compare.
if JUDGED:

    rule claims:
        input:
            sources_of("claims"),
        output:
            report(
                CLAIMS[0],
                caption="../report/claims.rst",
                category="Claims",
                labels={"shows": "the paper's claims, judged"},
            ),
            CLAIMS[1],
            touch(stamp_of("claims")),
        log:
            f"logs/{SCALE}/claims.log",
        localrule: True
        conda:
            "../../environment.yml"
        params:
            step=STEP,
            stamps=stamps_of("claims"),
        shell:
            "rm -f {params.stamps} && python -m dpmix step claims {params.step} 2> >(tee {log} >&2)"
