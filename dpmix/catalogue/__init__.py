"""Everything that one scale of `params.yaml` asks for: cells of tables, their artefacts, and the jobs for them."""
