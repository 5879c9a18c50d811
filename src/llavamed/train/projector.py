"""A start for a new projector, fitted to the features it will read."""

from typing import Any

PICTURES = 256  # enough to know the mean and spread of each feature


def fit(weights: dict[str, Any], features: list[Any], spread: float) -> None:
    """Rescale a random linear-GELU-linear projector in place, as a function of the data (Mishkin & Matas 2016, LSUV).

    A vision tower's features share a large constant part, a few of them dwarfing the rest, and a random projector
    passes on that constant: all pictures look alike to the language model, and most of the training is spent on
    undoing it. So each feature is brought to mean 0 and deviation 1, and each output to mean 0 and deviation `spread`.

    weights: linear_1.weight and .bias, linear_2.weight and .bias; features: of pictures, [tokens, width] each.
    """
    import torch

    first, first_bias, second, second_bias = (
        weights[name] for name in ("linear_1.weight", "linear_1.bias", "linear_2.weight", "linear_2.bias")
    )
    with torch.no_grad():
        seen = torch.cat(features[:PICTURES]).to(first)  # [tokens of all pictures, width]
        mean, deviation = seen.mean(0), seen.std(0) + 1e-6
        first.div_(first.std() * first.shape[1] ** 0.5 * deviation)
        first_bias.copy_(-first @ mean)
        hidden = torch.nn.functional.gelu(seen @ first.T + first_bias)
        second.mul_(spread / (hidden @ second.T).std(0)[:, None])
        second_bias.copy_(-second @ hidden.mean(0))
