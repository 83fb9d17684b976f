# One rule for each bundle of artefacts that do not exist yet: a job trains the heads that share a stream of views (on a
# cluster) or an encoder (in the demo), and no job touches a run that is already there.
for bundle in jobs_for(PlanFile):

    rule:
        name:
            bundle.name
        output:
            outputs_of(bundle),
        log:
            f"logs/plans/{bundle.name}.log",
        priority: FIRST
        conda:
            "../../environment.yml"
        params:
            step=STEP,
        shell:
            "python -m dpmix step plans {output} {params.step} 2> >(tee {log} >&2)"


for bundle in jobs_for(Selection) + jobs_for(Experiment, GradientRecord):

    rule:
        name:
            bundle.name
        input:
            inputs_of(bundle),
        output:
            outputs_of(bundle),
        log:
            f"logs/train/{bundle.name}.log",
        priority: priority_of(bundle)
        conda:
            "../../environment.yml"
        threads: CATALOGUE.spec.bundle.threads
        resources:
            gpu=GPUS,
        params:
            launch=LAUNCH,
            step=STEP,
        shell:
            "{params.launch} step train {output} {params.step} --threads {threads} 2> >(tee {log} >&2)"


for bundle in jobs_for(ZeroShot):

    rule:
        name:
            bundle.name
        input:
            inputs_of(bundle),
        output:
            outputs_of(bundle),
        log:
            f"logs/train/{bundle.name}.log",
        conda:
            "../../environment.yml"
        threads: CATALOGUE.spec.bundle.threads
        resources:
            gpu=min(GPUS, 1),
        params:
            step=STEP,
        shell:
            "python -m dpmix step zero-shot {output} {params.step} --threads {threads} 2> >(tee {log} >&2)"
