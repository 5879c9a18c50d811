"""A start for a new projector, fitted to the features it will read."""

from typing import Any

PICTURES = 256  # enough to know the mean and spread of each feature


def fit(weights: dict[str, Any], features: list[Any], spread: float) -> None:
    """Rescale a random projector, linear-GELU-linear or linear, in place, as a function of the data (Mishkin & Matas
    2016, LSUV).

    A vision tower's features share a large constant part, a few of them dwarfing the rest, and a random projector
    passes on that constant: all pictures look alike to the language model, and most of the training is spent on
    undoing it. So each feature is brought to mean 0 and deviation 1, and each output to mean 0 and deviation `spread`.

    weights: linear_1.weight and .bias, and linear_2.weight and .bias where there are two; features: of pictures,
    [tokens, width] each.
    """
    import torch

    first, first_bias = weights["linear_1.weight"], weights["linear_1.bias"]
    with torch.no_grad():
        seen = torch.cat(features[:PICTURES]).to(first)  # [tokens of all pictures, width]
        mean, deviation = seen.mean(0), seen.std(0) + 1e-6
        first.div_(first.std() * first.shape[1] ** 0.5 * deviation)
        if "linear_2.weight" not in weights:
            first.mul_(spread / (seen @ first.T).std(0)[:, None])
            first_bias.copy_(-first @ mean)
            return
        first_bias.copy_(-first @ mean)
        second, second_bias = weights["linear_2.weight"], weights["linear_2.bias"]
        hidden = torch.nn.functional.gelu(seen @ first.T + first_bias)
        second.mul_(spread / (hidden @ second.T).std(0)[:, None])
        second_bias.copy_(-second @ hidden.mean(0))
