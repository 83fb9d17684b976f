"""How artefacts are made, a file for each subject. To add a kind of artefact, register its maker; see `registry`."""
