"""Differentially private training of a model: what to clip, whom to sample, how much noise, and what ε that makes.

The package takes tensors, modules and numbers, and knows no images, data sets or parameter files: it could be used in
any training loop. Functions have examples that run. In reading order:

- `plan`: everything that ε depends on, fixed before the run. Start here: the module defines the unit that is sampled,
  the sensitivity and the adjacency, and `Plan` hands out the sampler and the noise.
- `sampling`: who takes part in a step (Poisson sampling).
- `clipping`: the sum of clipped per-example gradients, `clipped_sum`, by one of four backends (Eq. 4).
  - `backend_choice`: which of them is the fastest for a network, its images and a device.
  - `modes`: how a gradient is scaled or changed, and the sensitivity that follows; each mode is a class.
  - `per_example`: per-example gradients of a network; `ghost`: their norms and sum without them.
  - `layers`: the rules for linear, convolutional, norm and embedding layers; `weight_gradients` is their GPU kernel for
    convolutions.
  - `loss`: what is differentiated, the mean loss over the views of one example.
  - `linear_heads`: the clipped sum of linear heads on frozen features, in closed form.
  - `precision`: number formats of passes, norms and sums.
- `noise`: Gaussian noise, from a seed for experiments or from the operating system's entropy for release.
- `accounting`: ε of a history of steps under three accountants; `accountants`: these, by Opacus and dp-accounting;
  `calibration`: the noise for a given ε.
- `ledger`: what a run really executed, and its ε; `noise_measurement` and
  `sample_measurement` have the statistical tests of its noise and samples.

Beside the plain algorithm:

- `matrix_factorization`: noise that is correlated over steps, and how much of it cancels; `banded_noise` and
  `cyclic_sampling`: its noise source and sampler; `banded_plan`: its plan.
- `model_mix`: steps that mix the last two released states; `model_mix_plan`: its plan; `model_mix_accounting`: its ε,
  which counts that mixing; `model_mix_measurement`: tests that it was added.
- `audit`: lower bounds on ε from attacks on what a run released.
- `model_checks`: whether a network's gradients can be clipped example by example, tried on random images.

Two rules hold throughout. What a seed determines can be subtracted by whoever knows the seed, so it is for experiments;
a `seed` of None is for release. And whatever depends on private records and has no noise, such as a sample, a norm or a
loss, must not leave the process of a run for release.
"""
