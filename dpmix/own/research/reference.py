"""What the features of an encoder would give without any privacy: a logistic regression by scikit-learn."""

from typing import TYPE_CHECKING

from dpmix.execution import Execution

if TYPE_CHECKING:
    from dpmix.artefacts.experiment import Experiment

# Inverse strengths of the penalty, of which one is chosen on held-out training images; features have norm 1 or so.
_STRENGTHS = (1.0, 10.0, 100.0, 1000.0)
_HELD_OUT = 0.2


def logistic_regression(run: "Experiment", scale: str, execution: Execution) -> float:
    """The test accuracy of a regression on all training images as they are, neither clipped nor with noise.

    Args:
        run: whose images and encoder are taken; both must exist.
        scale: the name of the scale.
        execution: how to compute.

    Returns:
        Per cent of the test images.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    from dpmix.training.data import load_data
    from dpmix.training.heads_job import featurizer

    data = load_data(run, scale)
    featurize = featurizer(run, data, scale, execution)
    train, test = (featurize.of(images, execution.where()).cpu().numpy() for images in (data.private, data.evaluation))
    labels, truth = (np.asarray(images.labels) for images in (data.private, data.evaluation))

    def fitted(strength: float, kept: "np.ndarray") -> "LogisticRegression":
        return LogisticRegression(C=strength, max_iter=500).fit(train[kept], labels[kept])

    everybody = np.random.default_rng(0).permutation(len(labels))
    held_out, kept = np.split(everybody, [round(_HELD_OUT * len(labels))])
    strength = _STRENGTHS[0]
    if len(held_out) and len(set(labels[kept])) > 1:
        strength = max(_STRENGTHS, key=lambda one: float(fitted(one, kept).score(train[held_out], labels[held_out])))
    return 100 * float(fitted(strength, everybody).score(test, truth))
