"""The libraries that frozen encoders come from, one file each; `dpmix.params.registries` has their names."""
