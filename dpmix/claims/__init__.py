"""The paper's claims as data (`claims.yaml`), and what this scale's runs and the paper's own numbers say of each."""
