"""All that a scale of `params.yaml` asks for: cells, artefacts, jobs."""
