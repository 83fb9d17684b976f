"""What is measured without training: zero-shot accuracy and Fréchet distances."""
