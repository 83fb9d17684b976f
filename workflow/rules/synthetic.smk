rule diffusion_model:
    output:
        "data/diffusion/{name}/model_index.json",
    log:
        "logs/diffusion/{name}.log",
    priority: FIRST
    conda:
        "../../environment.yml"
    threads: CATALOGUE.spec.bundle.threads
    params:
        step=STEP,
    shell:
        "python -m dpmix step diffusion {output:q} {params.step} --threads {threads} 2> >(tee {log:q} >&2)"


rule synthetic:
    input:
        made_from("data/synthetic/{name}/manifest.json"),
    output:
        "data/synthetic/{name}/manifest.json",
    log:
        "logs/synthetic/{name}.log",
    priority: FIRST
    conda:
        "../../environment.yml"
    threads: CATALOGUE.spec.bundle.threads
    resources:
        **GROWING,
        gpu=min(GPUS, 1),
    params:
        step=STEP,
    shell:
        "python -m dpmix step synthetic {output:q} {params.step} --threads {threads} 2> >(tee {log:q} >&2)"


rule synthetic_images:
    input:
        made_from("data/images/{name}/meta.json"),
    output:
        "data/images/{name}/meta.json",
    log:
        "logs/images/{name}.log",
    wildcard_constraints:
        name=folders_of(SyntheticStore),
    priority: FIRST
    conda:
        "../../environment.yml"
    resources:
        **GROWING,
    params:
        step=STEP,
    shell:
        "python -m dpmix step synthetic-images {output:q} {params.step} 2> >(tee {log:q} >&2)"
