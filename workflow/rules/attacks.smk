for job in jobs_for(CanaryAttack):

    rule:
        name:
            job.name
        output:
            job.paths,
        log:
            f"logs/attacks/{job.name}.log",
        conda:
            "../../environment.yml"
        resources:
            **GROWING,
        params:
            step=STEP,
        shell:
            "python -m dpmix step attacks {output:q} {params.step} 2> >(tee {log:q} >&2)"
