for bundle in jobs_for(Distance):

    rule:
        name:
            bundle.name
        input:
            inputs_of(bundle),
        output:
            outputs_of(bundle),
        log:
            f"logs/fid/{bundle.name}.log",
        conda:
            "../../environment.yml"
        threads: CATALOGUE.spec.bundle.threads
        resources:
            gpu=min(GPUS, 1),
        params:
            step=STEP,
        shell:
            "python -m dpmix step distances {output} {params.step} --threads {threads} 2> >(tee {log} >&2)"
