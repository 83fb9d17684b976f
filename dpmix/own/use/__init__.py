"""What a trained model says of images: predictions, and how good they are."""
