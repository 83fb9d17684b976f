# One rule for each job, of what does not exist yet: it trains the heads that share a stream of samples (on a cluster) or
# an encoder (in the demo), and no job touches a run that is already there.
for job in jobs_for(PlanFile, PublishedPrivacy):

    rule:
        name:
            job.name
        output:
            job.paths,
        log:
            f"logs/plans/{job.name}.log",
        priority: FIRST
        conda:
            "../../environment.yml"
        resources:
            **GROWING,
        params:
            step=STEP,
        shell:
            "python -m dpmix step plans {output:q} {params.step} 2> >(tee {log:q} >&2)"


for job in jobs_for(Selection) + jobs_for(Experiment, GradientRecord):

    rule:
        name:
            job.name
        input:
            inputs_of(job),
        output:
            job.paths,
        log:
            f"logs/train/{job.name}.log",
        priority: job.priority
        conda:
            "../../environment.yml"
        threads: CATALOGUE.spec.bundle.threads
        resources:
            **GROWING,
            gpu=GPUS,
        params:
            launch=LAUNCH,
            step=STEP,
        shell:
            "{params.launch} step train {output:q} {params.step} --threads {threads} 2> >(tee {log:q} >&2)"


for job in jobs_for(ZeroShot):

    rule:
        name:
            job.name
        input:
            inputs_of(job),
        output:
            job.paths,
        log:
            f"logs/train/{job.name}.log",
        conda:
            "../../environment.yml"
        threads: CATALOGUE.spec.bundle.threads
        resources:
            **GROWING,
            gpu=min(GPUS, 1),
        params:
            step=STEP,
        shell:
            "python -m dpmix step zero-shot {output:q} {params.step} --threads {threads} 2> >(tee {log:q} >&2)"
