rule images:
    input:
        [],
    output:
        "data/images/{name}/meta.json",
    log:
        "logs/images/{name}.log",
    wildcard_constraints:
        name=rf"(?!(?:{folders_of(SyntheticStore)})/).*",
    priority: FIRST
    conda:
        "../../environment.yml"
    params:
        step=STEP,
    shell:
        "python -m dpmix step images {output:q} {params.step} 2> >(tee {log:q} >&2)"


rule encoder:
    output:
        "data/encoders/{name}/{config}",
    log:
        "logs/encoders/{name}-{config}.log",
    wildcard_constraints:
        config="|".join(
            sorted({re.escape(one.config_file) for one in encoder_libraries()})
        ),
    priority: FIRST
    conda:
        "../../environment.yml"
    threads: CATALOGUE.spec.bundle.threads
    params:
        step=STEP,
    shell:
        "python -m dpmix step encoder {output:q} {params.step} --threads {threads} 2> >(tee {log:q} >&2)"


rule inception:
    output:
        "data/inception/{name}/weights.pth",
    log:
        "logs/inception/{name}.log",
    priority: FIRST
    conda:
        "../../environment.yml"
    params:
        step=STEP,
    shell:
        "python -m dpmix step inception {output:q} {params.step} 2> >(tee {log:q} >&2)"
