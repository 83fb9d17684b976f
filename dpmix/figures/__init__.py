"""The paper's two figures."""
