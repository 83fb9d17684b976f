for job in jobs_for(Distance):

    rule:
        name:
            job.name
        input:
            inputs_of(job),
        output:
            job.paths,
        log:
            f"logs/fid/{job.name}.log",
        conda:
            "../../environment.yml"
        threads: CATALOGUE.spec.bundle.threads
        resources:
            **GROWING,
            gpu=min(GPUS, 1),
        params:
            step=STEP,
        shell:
            "python -m dpmix step distances {output:q} {params.step} --threads {threads} 2> >(tee {log:q} >&2)"
