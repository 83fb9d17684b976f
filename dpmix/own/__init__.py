"""The verbs for private images of one's own: a folder of images in, a model that may be handed out, its use."""
